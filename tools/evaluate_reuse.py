"""What it costs to predict some frames only and carry the map along: F1 of the detector over predictions a second."""

import argparse
from pathlib import Path

from deploy.backends.registry import load_predictor
from regenhance_data import cli, errors
from regenhance_data.dataset.folder import HR_FOLDERS, Dataset
from regenhance_data.dataset.split import SPLITS
from regenhance_data.detectors.arguments import add_detector_arguments, detector_settings_from
from regenhance_data.detectors.registry import load_detector
from regenhance_data.evaluation.reuse import evaluate_reuse, reuse_figure, reuse_table
from regenhance_data.io.files import write_json
from regenhance_data.plots import save_figure
from regenhance_data.regions.reuse import Reuse

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
        "--change", nargs="*", type=float, default=(0.005, 0.01, 0.02), help="predict when brightness changed so much"
    )
    parser.add_argument("--backend", default="auto", choices=("auto", "openvino", "onnxruntime"), help="runs the model")
    parser.add_argument("--clear", choices=HR_FOLDERS, help="(default: what importance was made from)")
    parser.add_argument("--split", choices=(*SPLITS, "all"), default="test", help="which frames; they are a clip's own")
    add_detector_arguments(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    if not 0 < args.budget < 1:
        raise errors.InputError(f"--budget {args.budget}: expected a share between 0 and 1")
    policies = {f"every {n}": Reuse(n) for n in args.every}
    policies |= {f"change {share:g}": Reuse(None, share) for share in args.change}
    dataset = Dataset.open(args.data)
    frames = [f for clip in dataset.clips() for f in dataset.frames(clip)]
    frames = frames if args.split == "all" else dataset.split_frames(args.split)
    folder = dataset.hr_folder(args.clear or dataset.record.importance.hr_folder)
    detector = load_detector(detector_settings_from(args, dataset.record.detector))
    predict = load_predictor(args.model, args.backend).predict_one
    result = evaluate_reuse(dataset, frames, detector, folder, args.budget, predict, policies)
    write_json(args.save_dir / "reuse.json", result)
    save_figure(reuse_figure(result), args.save_dir / "reuse")
    print(reuse_table(result))
    print(f"{args.save_dir}/reuse.json, reuse.png, reuse.svg: {result['frames']} frames")


if __name__ == "__main__":
    cli.run(main, make_parser())
