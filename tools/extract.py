"""Videos → origin images (and, with --keep_hr, the high-resolution originals) of a dataset."""

import argparse
from pathlib import Path

from regenhance_data import cli
from regenhance_data.dataset import Dataset
from regenhance_data.extraction import ExtractionSettings, clip_ids, extract

EXAMPLES = """
python tools/extract.py --video camera.mp4 --data my_dataset
python tools/extract.py --video day.mp4 night.mkv --data my_dataset --fps 5 --max_frames 1000
python tools/extract.py --video original_1080p.mp4 --data my_dataset --height 360 --keep_hr
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--video", nargs="+", type=Path, required=True, help="one or many video files, a clip each")
    parser.add_argument("--data", type=Path, required=True, help="dataset folder, made if it is not there")
    parser.add_argument("--height", type=int, default=360, help="of the origin image; the width follows the aspect")
    parser.add_argument("--fps", type=float, help="frames a second to take, by time stamp (default: every frame)")
    parser.add_argument("--every", type=int, default=1, help="take only every n-th of those frames")
    parser.add_argument("--max_frames", type=int, help="stop after so many frames of a clip")
    parser.add_argument("--keep_hr", action="store_true", help="write hr_images/ too: the clear frames")
    parser.add_argument("--jpeg_quality", type=int, help="send origin images through JPEG, as a camera would")
    parser.add_argument("--overwrite", action="store_true", help="replace clips made from other videos or settings")
    return parser


def main(args: argparse.Namespace) -> None:
    settings = ExtractionSettings(args.height, args.fps, args.every, args.max_frames, args.keep_hr, args.jpeg_quality)
    dataset = Dataset(args.data)
    for clip, video in clip_ids(args.video).items():
        count = extract(dataset, clip, video, settings, args.overwrite)
        height, width = dataset.info["clips"][clip]["origin_hw"]
        print(f"{args.data}/origin_images/{clip}: {count} frames of {width}x{height}")
    if args.keep_hr:
        print(f"{args.data}/hr_images: the originals at {dataset.scale} times that size")
        print(f"next: python tools/make_importance.py --data {args.data} --detector onnx:YOUR_DETECTOR.onnx")
    else:
        print(f"next: python tools/super_resolve.py --data {args.data} --model builtin")


if __name__ == "__main__":
    cli.run(main, make_parser())
