"""LR and HR frames → the importance of every macroblock for a detector."""

import argparse
from contextlib import suppress
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from regenhance_data import cli, errors
from regenhance_data.dataset.folder import HR_FOLDERS, Dataset
from regenhance_data.defaults import MOST_MB_SIZE
from regenhance_data.detectors.arguments import add_detector_arguments
from regenhance_data.evaluation.inputs import load_given_detector
from regenhance_data.importance.formula_spec import DEFAULT_FORMULA, FORMULAS, POINTS, WITH_POINTS, formula_spec
from regenhance_data.parallel.executors import add_executor_arguments, executor_from

EXAMPLES = """
python tools/make_importance.py --data my_dataset --detector builtin
python tools/make_importance.py --data my_dataset --detector onnx:yolox_nano.onnx --classes person car bus truck
python tools/make_importance.py --data my_dataset --detector onnx:yolov8n.onnx --formula path --points 0.1 0.5
python tools/make_importance.py --data my_dataset --detector builtin --executor ray --address 10.0.0.1:6379
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with HR frames")
    parser.add_argument(
        "--clear", choices=HR_FOLDERS, help="HR frames (default: hr_images if it exists, else sr_images)"
    )
    parser.add_argument("--formula", choices=FORMULAS, default=DEFAULT_FORMULA, help="how importance is computed")
    parser.add_argument(
        "--points",
        nargs="+",
        type=float,
        help="where path and gain take the gradient: 0 is the upsampled frame, 1 the HR frame; each point costs a "
        "forward and a backward pass (default: "
        + ", ".join(f"{' '.join(map(str, POINTS[name]))} for {name}" for name in WITH_POINTS)
        + ")",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace importance that this tool did not make")
    parser.add_argument("--mb_size", type=int, help="macroblock size in LR pixels (default: the dataset's)")
    add_detector_arguments(parser)
    add_executor_arguments(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    formula = formula_spec(args.formula, args.points)
    executor = executor_from(args)
    if args.mb_size is not None and not 1 <= args.mb_size <= MOST_MB_SIZE:
        raise errors.InputError(f"--mb_size {args.mb_size}: expected 1 to {MOST_MB_SIZE}")
    with Dataset.writing(args.data) as dataset:
        # loaded here too: a bad one is refused at once, and its settings then include its task
        settings = load_given_detector(args, dataset).settings
        # these import PyTorch
        from regenhance_data.detectors.diagnosis import warn_of_empty_frames, why_nothing
        from regenhance_data.stages.make_importance import make_importance, sampled_hr_frames

        hr_folder = dataset.hr_folder(args.clear)
        frames, made, empty = make_importance(
            dataset, settings, formula, hr_folder, executor, args.overwrite, args.mb_size
        )
    kept = "" if made == frames else f", {frames - made} of them existed already"
    print(f"{args.data}/importance: {frames} frames{kept}; {empty / frames:.1%} of them without a detection (all zero)")
    warn_of_empty_frames(empty, frames, lambda: why_nothing(settings, sampled_hr_frames(dataset, hr_folder)))
    cli.suggest(["python", "tools/make_seg_dataset.py", "--data", args.data])


if __name__ == "__main__":
    cli.run(main, make_parser())
