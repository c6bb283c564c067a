"""Importance → level labels, a split without leakage, and dataset.yaml: a dataset that PaddleSeg trains on."""

import argparse
from contextlib import suppress
from pathlib import Path
from typing import get_args

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from regenhance_data import cli, console
from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.levels import Kind
from regenhance_data.dataset.split import Ratios
from regenhance_data.dataset.warnings import split_warnings
from regenhance_data.stages.make_seg_dataset import make_seg_dataset

EXAMPLES = """
python tools/make_seg_dataset.py --data my_dataset
python tools/make_seg_dataset.py --data my_dataset --levels 5 --normalize rank --split 0.8 0.1 0.1
python tools/make_seg_dataset.py --data flat_dataset --importance my_importance.npy --normalize none
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with origin_images/")
    parser.add_argument("--importance", type=Path, help=".npz, .npy, .pth or .pkl to use instead of importance/")
    parser.add_argument("--levels", type=int, default=10, help="levels (classes) of importance")
    parser.add_argument("--mb_size", type=int, help="macroblock size in LR pixels (default: the dataset's)")
    parser.add_argument("--normalize", choices=get_args(Kind), default="log", help="fitted on training frames only")
    parser.add_argument("--split", nargs=3, type=float, default=[0.7, 0.15, 0.15], metavar=("TRAIN", "VAL", "TEST"))
    parser.add_argument(
        "--split_by",
        choices=["block", "clip"],
        default="block",
        help="cut each clip into blocks, or assign whole clips",
    )
    parser.add_argument(
        "--gap",
        type=int,
        help="unused frames between the blocks of a clip (default: as long as 10 frames of its video)",
    )
    return parser


def main(args: argparse.Namespace) -> None:
    with Dataset.writing(args.data) as dataset:
        is_new = make_seg_dataset(
            dataset,
            args.importance,
            args.levels,
            args.mb_size,
            args.normalize,
            Ratios(*args.split),
            args.gap,
            args.split_by,
        )
    print("pixels by level, %   " + " ".join(f"{level:5d}" for level in range(args.levels)))
    frames = dataset.record.split.frames
    for name, pixels in dataset.record.level_pixels.items():
        shares = " ".join(f"{100 * p / max(sum(pixels), 1):5.1f}" for p in pixels)
        print(f"{name:5s} {frames[name]:6d} frames  {shares}")
    if frames["unused"]:
        gap = dataset.record.split.gap
        size = "each as long as 10 frames of the video; " if gap is None else f"of {gap} frames; "
        print(f"unused{frames['unused']:6d} frames in the gaps between blocks ({size}--gap)")
    for warning in split_warnings(frames):
        console.warn(str(warning))
    print(f"{args.data}/labels, train.txt, val.txt, test.txt, dataset.yaml: {'written' if is_new else 'up to date'}")
    train = ["paddleseg", "train", "--use_ema", "--config", "paddleseg_configs/mb_nano.yml"]
    cli.suggest(
        ["python", "tools/check_dataset.py", "--data", args.data],
        [*train, "--dataset_root", args.data, "--save_dir", "runs/predictor"],
    )


if __name__ == "__main__":
    cli.run(main, make_parser())
