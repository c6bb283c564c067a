"""Cost of reusing predictions on later frames: F1 of the detector over predictions per second."""

import argparse
from contextlib import suppress
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from deploy.backends.registry import load_predictor, local_backends, refuse_missing_predictor
from regenhance_data import cli, errors
from regenhance_data.dataset.learnt_frames import warn_of_learnt_frames
from regenhance_data.evaluation.inputs import add_input_arguments, load_evaluated, read_frames
from regenhance_data.evaluation.record import EvaluatedModel
from regenhance_data.io.files import alone, sha256, write_json
from regenhance_data.io.journal import journal
from regenhance_data.regions.reuse import ReusePolicy

EXAMPLES = """
python tools/evaluate_reuse.py --data my_dataset --model predictor.onnx --save_dir runs/reuse
python tools/evaluate_reuse.py --data D --model M.onnx --budget 0.05 --every 1 5 25 --change 0.01 0.05 --save_dir S
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with importance files")
    parser.add_argument("--model", type=Path, required=True, help="the predictor's ONNX file")
    parser.add_argument("--save_dir", type=Path, required=True, help="for reuse.json, reuse.png and reuse.svg")
    parser.add_argument("--budget", type=float, default=0.1, help="share of the macroblocks that are enhanced")
    parser.add_argument("--every", nargs="+", type=int, default=(1, 2, 5, 10, 25), help="predict every n-th frame")
    parser.add_argument(
        "--change",
        nargs="*",
        type=float,
        default=(0.005, 0.01, 0.02),
        help="predict when brightness has changed by this share",
    )
    parser.add_argument("--backend", default="auto", choices=("auto", *local_backends()), help="runs the model")
    add_input_arguments(parser, split="test", sampled=False)
    return parser


@alone("evaluate_reuse")
def main(args: argparse.Namespace) -> None:
    if not 0 < args.budget < 1:
        raise errors.InputError(f"--budget {args.budget}: expected a share between 0 and 1")
    policies = {f"every {n}": ReusePolicy(n) for n in args.every}
    policies |= {f"change {share:g}": ReusePolicy(None, share) for share in args.change}
    refuse_missing_predictor(args.model)
    chosen = read_frames(args, sampled=False)
    chosen.refuse_without_importance()
    predictor = load_predictor(args.model, args.backend)
    chosen.refuse_unless_fitting(args.model, predictor.input_hw)
    detector, settings = load_evaluated(args, chosen)
    # these import PyTorch and matplotlib
    from regenhance_data.evaluation.kept import FrameCounts, frame_key, inputs_digest
    from regenhance_data.evaluation.reuse import evaluate_reuse, reuse_figure, reuse_table
    from regenhance_data.plots import save_figure

    dataset, frames = chosen.dataset, chosen.frames
    warn_of_learnt_frames(dataset, frames)
    model = EvaluatedModel(str(args.model), sha256(args.model) if args.model.is_file() else "", predictor.backend)
    # what a policy does on a frame depends on the frames before it
    more = [{name: vars(policy) for name, policy in policies.items()}, [frame_key(frame) for frame in frames]]
    same = inputs_digest(dataset, frames, settings, [args.budget], {"predictor": model}, more=more)
    with journal(args.save_dir, "evaluate_reuse", same, FrameCounts.to_json, FrameCounts.from_json) as kept:
        result = evaluate_reuse(
            *(dataset, frames, detector, chosen.hr_folder),
            *(args.budget, predictor.predict_one, policies, kept),
        )
        write_json(args.save_dir / "reuse.json", result)
        save_figure(reuse_figure(result), args.save_dir / "reuse")
    print(reuse_table(result))
    print(f"{args.save_dir}/reuse.json, reuse.png, reuse.svg: {result['frames']} frames")


if __name__ == "__main__":
    cli.run(main, make_parser())
