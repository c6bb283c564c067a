"""Export a detector for the run-time loop: HR frames in, boxes and scores of all rows (or the class of each pixel) out.

The graph holds all that the detector does up to thresholds and NMS, which its metadata records and which follow at run
time. It is compared with PyTorch in every installed engine before it is written. A run with it needs no PyTorch.
"""

import argparse
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

import numpy as np

from regenhance_data import cli
from regenhance_data.detectors.arguments import add_detector_arguments, detector_settings_from
from regenhance_data.errors import InputError
from regenhance_data.io.files import alone

EXAMPLES = """
python deploy/export_detector.py --detector onnx:yolox_nano.onnx --frame_size 1080 1920 --save_dir runs/detector
python deploy/export_detector.py --detector onnx:yolov8n.onnx --classes person,car --frame_size 720 1280 --save_dir S
python deploy/export_detector.py --detector builtin --video hr.mp4 --batch_size 4 --save_dir S
"""
MOST_SIDE = 8192
COMPARED_FRAMES = 4


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--frame_size", nargs=2, type=int, metavar=("H", "W"), help="height and width of the HR frames")
    parser.add_argument("--video", type=Path, help="with HR frames to compare on, and their size (default: noise)")
    parser.add_argument("--batch_size", type=int, default=1, help="frames the graph takes at once")
    parser.add_argument("--save_dir", type=Path, required=True, help="folder for the ONNX file and its parity report")
    add_detector_arguments(parser)
    return parser


@alone("export_detector")
def main(args: argparse.Namespace) -> None:
    if not hasattr(args, "spec"):
        raise InputError("--detector is missing: which one to export")
    if args.frame_size is None and args.video is None:
        raise InputError("--frame_size or --video is missing; a graph has one frame size")
    if not min(args.batch_size, *(args.frame_size or [1])) >= 1 or max(args.frame_size or [1]) > MOST_SIDE:
        raise InputError(f"--batch_size and --frame_size: expected at least 1, and frames of at most {MOST_SIDE}")
    from regenhance_data.detectors.loading import load_detector

    detector = load_detector(detector_settings_from(args))
    # these import PyTorch and engines
    from deploy.backends.registry import installed_backends
    from deploy.export.detector import noise_frames, write_detector
    from regenhance_data.detectors.onnx_export import DetectorGraph

    frames = video_frames(args.video, args.frame_size) if args.video else noise_frames(args.frame_size)
    height, width = frames.shape[1:3]
    graph = DetectorGraph(detector, (height, width))
    batch = "" if args.batch_size == 1 else f"_batch{args.batch_size}"
    path = args.save_dir / f"{name_of(args.spec)}_{width}x{height}{batch}.onnx"
    write_detector(path, graph, args.batch_size, frames, installed_backends())


def video_frames(video: Path, size_hw: Sequence[int] | None) -> np.ndarray:
    """The first frames of a video, uint8 [n, H, W, 3] RGB. InputError where they have another size than asked for."""
    from regenhance_data.io.video import read_video

    frames = np.stack([*islice(read_video(video), COMPARED_FRAMES)])
    height, width = frames.shape[1:3]
    if size_hw is not None and tuple(size_hw) != (height, width):
        raise InputError(f"{video}: has frames of {width}x{height}; leave out --frame_size, or --video")
    return frames


def name_of(spec: str) -> str:
    """How the file's name begins: that of the detector's file, or its spec."""
    kind, _, argument = spec.partition(":")
    return re.sub(r"[^\w.-]+", "_", Path(argument).stem or kind)


if __name__ == "__main__":
    cli.run(main, make_parser())
