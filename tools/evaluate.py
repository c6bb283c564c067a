"""How much detector accuracy a budget of enhanced macroblocks recovers, for predictors and for baselines."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import _environment  # noqa: F401 (checks the installation)

from deploy.backends.registry import load_predictor, local_backends
from regenhance_data import cli, console, errors
from regenhance_data.dataset.staleness import without_words
from regenhance_data.dataset.statistics import FEWEST_TEST_FRAMES
from regenhance_data.defaults import BUDGETS
from regenhance_data.evaluation.inputs import add_input_arguments, read_inputs
from regenhance_data.evaluation.record import EvaluatedModel, EvaluationRecord, EvaluationSettings, write_evaluation
from regenhance_data.io.files import refuse_missing, sha256

EXAMPLES = """
python tools/evaluate.py --data my_dataset --model predictor.onnx --save_dir runs/evaluation
python tools/evaluate.py --data my_dataset --model predictor.onnx --budgets 0.05 0.1 --every 5 --save_dir runs/quick
python tools/evaluate.py --data my_dataset --model predictor.onnx accmodel.onnx --save_dir runs/comparison
python tools/evaluate.py --data my_dataset --split all --save_dir runs/baselines
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with importance files")
    parser.add_argument("--save_dir", type=Path, required=True, help="for evaluation.json, .png and .svg")
    parser.add_argument(
        "--model",
        nargs="+",
        type=Path,
        help="the predictor's ONNX file, then others to compare it with, like AccModel (default: baselines alone)",
    )
    parser.add_argument("--backend", default="auto", choices=("auto", *local_backends()), help="runs the model")
    parser.add_argument("--budgets", nargs="+", type=float, default=BUDGETS, help="shares of macroblocks")
    parser.add_argument(
        "--truth",
        type=Path,
        help="JSON of true boxes on HR frames, not for segmentation: "
        '{"classes": ["car"], "frames": {"0": [[x1, y1, x2, y2, label]]}}',
    )
    add_input_arguments(parser, split="test")
    return parser


def named(paths: Sequence[Path]) -> dict[str, Path]:
    """{curve: model}: the first is the predictor, the others are named after their files, with folders where equal."""
    from regenhance_data.evaluation.curves import CURVE_STYLES  # matplotlib

    stems = [path.stem for path in paths]
    names = [f"{path.parent.name}/{path.stem}" if stems.count(path.stem) > 1 else path.stem for path in paths]
    models = dict(zip(["predictor", *names[1:]], paths, strict=True)) if paths else {}
    if len(models) < len(paths) or models.keys() & ({*CURVE_STYLES, "none", "all"} - {"predictor"}):
        raise errors.InputError(f"--model {' '.join(map(str, paths))}: give each once, and none named like a baseline")
    return models


def main(args: argparse.Namespace) -> None:
    if not all(0 < budget < 1 for budget in args.budgets):
        raise errors.InputError("--budgets: expected shares between 0 and 1")
    for path in args.model or ():
        refuse_missing(path, "predictor; make one with deploy/export_onnx.py")
    if args.truth:
        refuse_missing(args.truth)
    inputs = read_inputs(args)
    # these import PyTorch and matplotlib
    from regenhance_data.evaluation.curves import curves_figure, curves_table
    from regenhance_data.evaluation.evaluate import evaluate
    from regenhance_data.evaluation.truth import read_truth
    from regenhance_data.plots import save_figure

    dataset, frames = inputs.dataset, inputs.frames
    if without_words(inputs.settings.detector) != without_words(dataset.record.detector or {}):
        console.warn(
            f"{args.data}: importance was computed with another detector or other settings, and so is the oracle"
        )
    if len(frames) < FEWEST_TEST_FRAMES:
        console.warn(
            f"{len(frames)} frames are few, so intervals are wide; use --split all, a smaller --every or more video"
        )
    truth = read_truth(args.truth, inputs.detector) if args.truth else None
    models = named(args.model or [])
    predictors = {curve: load_predictor(path, args.backend) for curve, path in models.items()}
    predicts = {curve: predictor.predict_one for curve, predictor in predictors.items()}

    result = evaluate(dataset, frames, inputs.detector, inputs.hr_folder, args.budgets, predicts, truth)
    evaluated = {
        curve: EvaluatedModel(str(path), sha256(path) if path.is_file() else "", predictors[curve].backend)
        for curve, path in models.items()
    }
    settings = EvaluationSettings(**vars(inputs.settings), models=evaluated)
    write_evaluation(args.save_dir / "evaluation.json", EvaluationRecord(result, settings))
    save_figure(curves_figure(result), args.save_dir / "evaluation")
    print(curves_table(result))
    print(f"{args.save_dir}/evaluation.json, evaluation.png, evaluation.svg: {len(frames)} frames")
    if args.model:
        evaluation = ["--evaluation", args.save_dir / "evaluation.json", "--save_dir", args.save_dir]
        cli.suggest(["python", "deploy/benchmark.py", "--models", *args.model, "--data", args.data, *evaluation])


if __name__ == "__main__":
    cli.run(main, make_parser())
