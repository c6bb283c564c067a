"""Predict the importance of every frame of a video or dataset, of any size, with AccModel: <save_dir>/<clip>.npz.

`importance` float32 [T, rows, cols] in [0, 1] is the probability that a macroblock is worth enhancing, `frames`
int64 [T] the frame numbers. Frames are streamed; only the result stays in memory.
"""

import argparse
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

import numpy as np

from regenhance_data import cli, console, errors
from regenhance_data.dataset.folder import FLAT_CLIP, IMPORTANCE, LR_FRAMES, Dataset, clip_id
from regenhance_data.dataset.importance_file import write_importance
from regenhance_data.io.files import alone, others_like
from regenhance_data.parallel.threads import bounded_map

EXAMPLES = """
python tools/predict_importance.py --model runs/accmodel/accmodel.pth --video camera.mp4 --save_dir runs/camera
python tools/predict_importance.py --model runs/accmodel/accmodel.pth --data my_dataset --save_dir runs/predicted
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--model", type=Path, required=True, help="accmodel.pth of tools/train_accmodel.py")
    frames = parser.add_mutually_exclusive_group(required=True)
    frames.add_argument("--video", type=Path, help="a video of LR frames")
    frames.add_argument("--data", type=Path, help="a dataset folder: its LR frames")
    parser.add_argument("--save_dir", type=Path, required=True, help="folder for one .npz per clip")
    parser.add_argument("--batch_size", type=int, default=8, help="frames in one batch")
    return parser


def clips(args: argparse.Namespace) -> Iterator[tuple[str, Path, Iterator[np.ndarray], np.ndarray | None]]:
    """(id, the video or folder, the frames, their numbers or None for 0, 1, 2 …) of each clip."""
    if args.video:
        from regenhance_data.io.video import inspect_video, read_video  # PyAV

        console.tell(f"{args.video}: read as {inspect_video(args.video)}")
        yield clip_id(args.video.stem), args.video, read_video(args.video), None
        return
    dataset = Dataset.open(args.data)
    if args.save_dir.resolve() == (args.data / IMPORTANCE).resolve():
        raise errors.InputError(
            f"{args.save_dir}: has the importance that predictors learn from; give another --save_dir"
        )
    for clip in dataset.clips():
        frames = dataset.frames(clip)
        images = bounded_map(lambda frame: dataset.read(LR_FRAMES, frame), frames)
        yield clip or FLAT_CLIP, args.data / LR_FRAMES / clip, images, np.array([frame.number for frame in frames])


def check_inputs(args: argparse.Namespace) -> None:
    """InputError where the model or the frames are missing, before PyTorch is imported, which takes seconds."""
    if not args.model.is_file():
        raise errors.InputError(
            f"{args.model}: no such model{others_like(args.model)}; train one with tools/train_accmodel.py"
        )
    if args.video and not args.video.exists():
        raise errors.InputError(f"{args.video}: no such video")
    if args.data:
        Dataset.open(args.data)


@alone("predict_importance")
def main(args: argparse.Namespace) -> None:
    errors.refuse_below_one(batch_size=args.batch_size)
    check_inputs(args)
    from regenhance_data.predictors.accmodel.checkpoint import load_accmodel

    model = load_accmodel(args.model)
    written = 0
    try:
        for clip, source, frames, numbers in clips(args):
            shown = console.progress(frames, f"predict {clip}", None if numbers is None else len(numbers))
            importance = model.clip_importance(shown, source, args.batch_size)
            path = args.save_dir / f"{clip}.npz"
            write_importance(path, importance, np.arange(len(importance)) if numbers is None else numbers)
            count, rows, cols = importance.shape
            print(f"wrote {path}: {count} frames of {rows}x{cols} macroblocks")
            written += 1
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"kept {written} clips in {args.save_dir}") from None
    onnx_path = args.model.with_suffix(".onnx")
    if args.video:
        next_command = ["python", "deploy/trt_infer.py", "--model", onnx_path, "--video", args.video]
    else:
        next_command = ["python", "tools/evaluate.py", "--data", args.data, "--model", onnx_path]
    cli.suggest([*next_command, "--save_dir", args.save_dir])


if __name__ == "__main__":
    cli.run(main, make_parser())
