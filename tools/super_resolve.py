"""LR frames → HR frames (sr_images/), with an upscaler."""

import argparse
from contextlib import suppress
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from regenhance_data import cli
from regenhance_data.dataset.folder import SR_IMAGES, Dataset
from regenhance_data.dataset.next_steps import importance_command
from regenhance_data.parallel.executors import add_executor_arguments, executor_from
from regenhance_data.stages.super_resolve import super_resolve
from regenhance_data.upscalers.arguments import add_upscaler_arguments, upscaler_settings_from

EXAMPLES = """
python tools/super_resolve.py --data my_dataset --model general
python tools/super_resolve.py --data my_dataset --model bicubic --scale 4
python tools/super_resolve.py --data my_dataset --model edsr:edsr_baseline_x3.pt --scale 3
python tools/super_resolve.py --data my_dataset --model spandrel:4x-realesrgan.pth --scale 4 --tile_size 128
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with LR frames")
    parser.add_argument("--scale", type=int, help="(default: the dataset's, 3 if it records none)")
    parser.add_argument("--batch_size", type=int, default=1, help="frames per batch")
    parser.add_argument("--overwrite", action="store_true", help="replace sr_images/ that this tool did not make")
    add_upscaler_arguments(parser)
    add_executor_arguments(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    executor = executor_from(args)
    with Dataset.writing(args.data) as dataset:
        scale = dataset.scale if args.scale is None else args.scale
        settings = upscaler_settings_from(args, scale)
        frames, made = super_resolve(dataset, settings, args.batch_size, args.overwrite, executor)
    kept = "" if made == frames else f", {frames - made} of them existed already"
    print(f"{args.data}/sr_images: {frames} frames at {scale} times the LR size, by {args.model}{kept}")
    cli.suggest(importance_command(dataset, SR_IMAGES))


if __name__ == "__main__":
    cli.run(main, make_parser())
