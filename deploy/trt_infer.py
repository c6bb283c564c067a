"""Run a predictor over a video: the importance of every macroblock of every frame, and a picture of it.

Writes importance.npz (`importance` float32 [T, rows, cols] in [0, 1], `frames` int64 [T]) and overlay.mp4 (heat over
the frame, the macroblocks a budget would enhance outlined). Frames are streamed; what grows with the video is the
result alone, 4 bytes a macroblock.
"""

import argparse
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from deploy.runtime import BACKENDS, Predictor, load_predictor
from regenhance_data import cli
from regenhance_data.cli import InputError
from regenhance_data.dataset import write_importance
from regenhance_data.enhancement import choose
from regenhance_data.overlay import heat, outline
from regenhance_data.reuse import Reuse
from regenhance_data.video import VideoWriter, frame_rate, read_video

EXAMPLES = """
python deploy/trt_infer.py --model runs/predictor/pp_mobileseg_tiny.onnx --video camera.mp4 --save_dir runs/camera
python deploy/trt_infer.py --model M.onnx --video V.mp4 --save_dir S --backend onnxruntime --budget 0.05
python deploy/trt_infer.py --model M.onnx --video V.mp4 --save_dir S --every 25 --change 0.01
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--model", type=Path, required=True, help="a predictor of deploy/export_onnx.py, .onnx")
    parser.add_argument("--video", type=Path, required=True, help="frames of another size are resized to the model's")
    parser.add_argument("--save_dir", type=Path, required=True, help="folder for importance.npz and overlay.mp4")
    parser.add_argument("--backend", choices=["auto", *BACKENDS], default="auto")
    parser.add_argument("--budget", type=float, default=0.1, help="share of the macroblocks to outline")
    parser.add_argument("--max_frames", type=int, help="stop after so many frames")
    parser.add_argument("--every", type=int, help="predict every n-th frame, carry the map along in between")
    parser.add_argument("--change", type=float, help="predict when the mean brightness of 8x8 pixels changed so much")
    parser.add_argument("--threads", type=int, help="of the engine (default: its own choice)")
    return parser


def fitted(frame: np.ndarray, size_hw: tuple[int, int], video: Path) -> np.ndarray:
    """The frame at the model's size. InputError when it has another shape, which resizing would distort."""
    height, width = size_hw
    # the height that goes with the model's width, to the pixel that rounding may cost
    if abs(frame.shape[0] * width / frame.shape[1] - height) > 1:
        raise InputError(
            f"{video}: has {frame.shape[1]}x{frame.shape[0]} frames, the model takes {width}x{height}, which is "
            "another aspect; export the model with --input_size for this video"
        )
    if frame.shape[:2] == size_hw:
        return frame
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


def batches(
    predictor: Predictor, video: Path, max_frames: int | None, reuse: Reuse
) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """(decoded RGB frames, their importance float32 [n, rows, cols]), as many at once as the graph takes."""
    frames = islice(read_video(video), max_frames)
    last = np.zeros((0, *predictor.grid.shape), np.float32)
    while batch := list(islice(frames, predictor.batch)):
        origin = np.stack([fitted(frame, predictor.input_hw, video) for frame in batch])
        is_due = np.array([reuse.is_due(frame) for frame in origin])
        maps = np.concatenate([last, predictor.predict(origin[is_due][..., ::-1])])
        # each frame has the map of the last one that was due, itself or one before it
        importance = maps[np.cumsum(is_due) - 1 + len(last)]
        last = maps[-1:]
        yield batch, importance


def main(args: argparse.Namespace) -> None:
    if not 0 < args.budget <= 1:
        raise InputError(f"--budget {args.budget}: expected a share of the macroblocks, more than 0 and at most 1")
    for name in ("max_frames", "threads"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise InputError(f"--{name} {getattr(args, name)}: expected at least 1")
    reuse = Reuse(1 if args.every is None and args.change is None else args.every, args.change)
    predictor = load_predictor(args.model, args.backend, args.threads)
    # drawn as large as the clear frame, so that an eye can tell what is in a macroblock
    grid = predictor.grid.scaled(int(predictor.metadata["scale"]))
    overlay_path, importance_path = args.save_dir / "overlay.mp4", args.save_dir / "importance.npz"
    collected: list[np.ndarray] = []
    started = time.monotonic()
    with VideoWriter(overlay_path, frame_rate(args.video)) as video:
        found = batches(predictor, args.video, args.max_frames, reuse)
        for frames, importance in cli.progress(found, "infer", unit="batch"):
            for frame, cells in zip(frames, importance, strict=True):
                picture = cv2.resize(frame, (grid.width, grid.height), interpolation=cv2.INTER_LINEAR)
                video.write(outline(heat(picture, cells, grid), choose(cells, args.budget), grid))
            collected.append(importance)
    result = np.concatenate(collected)
    write_importance(importance_path, result, np.arange(len(result)))
    rate = len(result) / (time.monotonic() - started)
    carried = f" ({reuse.predicted} predicted, the rest carried along)" if reuse.predicted < reuse.seen else ""
    print(f"{len(result)} frames with {predictor.backend}{carried}, {rate:.1f} a second with decoding and drawing")
    print(f"wrote {importance_path}, {overlay_path}")
    where = ["--video", args.video, "--save_dir", args.save_dir]
    cli.suggest(["python", "deploy/benchmark.py", "--models", args.model, *where])


if __name__ == "__main__":
    cli.run(main, make_parser())
