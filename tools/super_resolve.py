"""Origin images → clear frames (sr_images/), with an upscaler."""

import argparse
from pathlib import Path

from regenhance_data import cli, super_resolution, upscalers
from regenhance_data.dataset import Dataset

EXAMPLES = """
python tools/super_resolve.py --data my_dataset --model builtin
python tools/super_resolve.py --data my_dataset --model bicubic --scale 4
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with origin images")
    parser.add_argument("--model", required=True, help=f"the upscaler: {upscalers.EXISTING}")
    parser.add_argument("--scale", type=int, help="(default: the dataset's, 3 where it says nothing)")
    parser.add_argument("--batch_size", type=int, default=1, help="frames that go through the network together")
    parser.add_argument("--overwrite", action="store_true", help="replace sr_images/ that this tool did not make")
    return parser


def main(args: argparse.Namespace) -> None:
    dataset = Dataset.open(args.data)
    scale = dataset.scale if args.scale is None else args.scale
    frames = super_resolution.super_resolve(dataset, args.model, scale, args.batch_size, args.overwrite)
    print(f"{args.data}/{super_resolution.SR}: {frames} frames at {scale} times the origin's size, by {args.model}")
    print(f"next: python tools/make_importance.py --data {args.data} --detector builtin")


if __name__ == "__main__":
    cli.run(main, make_parser())
