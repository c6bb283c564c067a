"""Origin and clear frames → the importance of every macroblock for a detector."""

import argparse
from pathlib import Path

from regenhance_data import cli, detectors, formulas, importance
from regenhance_data.dataset import Dataset

EXAMPLES = """
python tools/make_importance.py --data my_dataset --detector builtin
python tools/make_importance.py --data my_dataset --detector onnx:yolox_nano.onnx --classes person car bus truck
python tools/make_importance.py --data my_dataset --detector onnx:yolov8n.onnx --clear hr_images --formula path
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with clear frames")
    parser.add_argument("--clear", choices=importance.CLEAR_FOLDERS, help="(default: hr_images where there is one)")
    parser.add_argument("--formula", choices=formulas.FORMULAS, default="product", help="what importance is")
    parser.add_argument("--mb_size", type=int, help="macroblock size in origin pixels (default: the dataset's)")
    detectors.add_detector_arguments(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    dataset = Dataset.open(args.data)
    recorded = dataset.info.get("detector")
    if recorded is None and not hasattr(args, "spec"):
        raise cli.InputError(f"--detector is missing; there are: {detectors.EXISTING}")
    if args.mb_size is not None:
        if args.mb_size < 1:
            raise cli.InputError(f"--mb_size {args.mb_size}: expected at least 1")
        dataset.save(mb_size=args.mb_size)
    clear = importance.clear_folder(dataset, args.clear)
    detector = detectors.load_detector(detectors.settings_from(args, recorded))
    frames, empty = importance.make_importance(dataset, detector, args.formula, clear)
    print(f"{args.data}/importance: {frames} frames, {empty / frames:.1%} of them without a detection (all zero)")
    print(f"next: python tools/make_seg_dataset.py --data {args.data}")


if __name__ == "__main__":
    cli.run(main, make_parser())
