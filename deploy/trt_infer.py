"""Run a predictor over videos: the importance of every macroblock of every frame, and a video that shows it.

Writes importance.npz (`importance` float32 [T, rows, cols] in [0, 1], `frames` int64 [T]) and overlay.mp4 (a heatmap
over the frame, the macroblocks within --budget outlined); with several videos, in a folder for each. Decoding,
inference and drawing overlap, and a batch takes frames of all videos in turn. Frames are streamed. Importance is kept
as it is predicted: after an interrupt, the same command goes on where it was, unless a server predicts it, which may
change its model meanwhile. A video that turns out to be broken does not stop the others.
"""

import argparse
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from deploy.backends.registry import load_predictor, local_backends
from regenhance_data import cli, console
from regenhance_data.errors import InputError, refuse_below_one, resumable
from regenhance_data.io.files import locked, refuse_overwriting, refuse_unwritable

if TYPE_CHECKING:
    from deploy.backends.base import Predictor
    from deploy.online.video_results import VideoResult
    from regenhance_data.regions.reuse import ClipReuse, ReusePolicy

EXAMPLES = """
python deploy/trt_infer.py --model runs/predictor/pp_mobileseg_tiny.onnx --video camera.mp4 --save_dir runs/camera
python deploy/trt_infer.py --model M.engine --video A.mp4 B.mp4 C.mp4 D.mp4 --batch_size 4 --save_dir S
python deploy/trt_infer.py --model M.onnx --video V.mp4 --save_dir S --backend onnxruntime --budget 0.05
python deploy/trt_infer.py --model M.onnx --video V.mp4 --save_dir S --every 25 --change 0.01 --no_overlay
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument(
        "--model",
        required=True,
        help="M.onnx, M.engine, a folder of Paddle Inference, or http://HOST:8000/v2/models/NAME",
    )
    parser.add_argument(
        "--video", type=Path, nargs="+", required=True, help="frames of another size are resized to the model's"
    )
    parser.add_argument("--save_dir", type=Path, required=True, help="folder for importance.npz and overlay.mp4")
    parser.add_argument("--backend", choices=["auto", *local_backends()], default="auto")
    parser.add_argument("--budget", type=float, default=0.1, help="share of the macroblocks to outline")
    parser.add_argument("--max_frames", type=int, help="number of frames of each video (default: all)")
    parser.add_argument("--every", type=int, help="predict every n-th frame, keep its importance in between")
    parser.add_argument("--change", type=float, help="predict when brightness changes by more than this share")
    parser.add_argument("--batch_size", type=int, help="frames at once, for a model with a dynamic batch")
    parser.add_argument("--streams", type=int, default=1, help="batches in parallel")
    parser.add_argument("--threads", type=int, help="threads of the engine (default: its own choice)")
    parser.add_argument("--no_overlay", action="store_true", help="write importance.npz only")
    parser.add_argument("--allow_cut", action="store_true", help="accept a video that is cut short")
    return parser


def folders(save_dir: Path, videos: Sequence[Path]) -> list[Path]:
    """The result folder of each video: save_dir for a single one, else a folder in it with the video's name."""
    if len(videos) == 1:
        return [save_dir]
    from regenhance_data.dataset.folder import clip_id

    names = [clip_id(video.stem) for video in videos]
    if len(set(names)) < len(names):
        raise InputError(f"--video: two are called {max(names, key=names.count)}; rename one")
    return [save_dir / name for name in names]


def main(args: argparse.Namespace) -> None:
    if not 0 < args.budget <= 1:
        raise InputError(f"--budget {args.budget}: expected a share of the macroblocks, more than 0 and at most 1")
    refuse_below_one(max_frames=args.max_frames, threads=args.threads, streams=args.streams)
    refuse_unwritable(args.save_dir, "--save_dir")
    from deploy.online.video_results import OVERLAY
    from regenhance_data.io.video import inspect_video
    from regenhance_data.regions.reuse import ReusePolicy

    every = 1 if args.every is None and args.change is None else args.every
    policy = ReusePolicy(every, args.change)
    where = folders(args.save_dir, args.video)
    refuse_overwriting(args.video, [folder / OVERLAY for folder in where])
    read_as = [inspect_video(video) for video in args.video]
    for video, info in zip(args.video, read_as, strict=True):
        console.tell(f"{video}: read as {info}")
    with ExitStack() as held:  # before the model is loaded
        for folder in where:
            held.enter_context(locked(folder / ".lock"))
        infer_into(args, where, [info.frame_rate for info in read_as], policy)


def infer_into(args: argparse.Namespace, where: Sequence[Path], rates: Sequence[float], policy: "ReusePolicy") -> None:
    """Predict the videos, of these frame rates, each into its folder."""
    from deploy.online.video_results import VideoResult, job_of
    from regenhance_data.io.video import CutShort

    predictor = load_predictor(args.model, args.backend, args.threads, args.batch_size, args.streams)
    if predictor.metadata.get("weights") == "random":
        console.warn(f"{args.model}: has random weights; its importance means nothing")
    if predictor.is_flat:
        console.warn(f"{args.model}: is a flat map: all macroblocks are alike, so none is outlined")
    reuses = [policy.start() for _ in args.video]
    started = time.monotonic()
    with ExitStack() as opened:
        results = [
            opened.enter_context(
                VideoResult(
                    folder,
                    predictor,
                    job_of(predictor, video, policy),
                    args.budget,
                    None if args.no_overlay else rate,
                )
            )
            for folder, video, rate in zip(where, args.video, rates, strict=True)
        ]
        failed = infer(args, predictor, reuses, results)
    count, due = (sum(getattr(reuse, name) for reuse in reuses) for name in ("seen", "predicted"))
    reused = f" ({due} predicted, the rest reused)" if due < count else ""
    rate = count / (time.monotonic() - started)
    work = "decoding" if args.no_overlay else "decoding and drawing"
    if count:
        print(f"{count} frames with {predictor.backend}{reused}, {rate:.1f} a second with {work}")
    for folder in (folder for number, folder in enumerate(where) if number not in failed):
        print(f"wrote {folder}/importance.npz" + ("" if args.no_overlay else f", {folder}/overlay.mp4"))
    if failed:
        others = "; the others are done" if len(failed) < len(where) else ""
        is_cut = any(isinstance(error, CutShort) for error in failed.values())
        how = "; --allow_cut takes what decodes" if is_cut else ""
        raise InputError("; ".join(map(str, failed.values())) + others + how)
    if predictor.backend in local_backends():
        benchmark = ["--models", args.model, "--backends", predictor.backend, "--video", args.video[0]]
        cli.suggest(["python", "deploy/benchmark.py", *benchmark, "--save_dir", args.save_dir])


def infer(
    args: argparse.Namespace, predictor: "Predictor", reuses: "list[ClipReuse]", results: "list[VideoResult]"
) -> dict[int, InputError]:
    """Predict all videos and finish their results; what is wrong with those that end in an error, by their number.

    An interrupt tells how much is kept, if anything is.
    """
    from deploy.online.video_frames import frames_in_turn, predict_frames
    from deploy.online.video_results import kept_frames
    from regenhance_data.io.video import promised_frames

    failed: dict[int, InputError] = {}
    total = promised_frames(args.video, args.max_frames)
    known = [result.kept for result in results]
    if kept := kept_frames(results):
        console.tell(f"{kept} frames are kept from an interrupted run, and go on from there")
    size_hw, is_drawn = predictor.input_hw, not args.no_overlay
    frames = frames_in_turn(args.video, reuses, size_hw, args.max_frames, args.allow_cut, is_drawn, known, failed)
    try:
        for frame, importance in console.progress(predict_frames(predictor, frames, args.streams), "infer", total):
            results[frame.video].add(frame, importance)
    except KeyboardInterrupt:
        if not all(result.is_kept for result in results):
            raise KeyboardInterrupt("nothing is kept, since a server may change its model meanwhile") from None
        of = f" of {total}" if total else ""
        raise resumable(f"kept {kept_frames(results)}{of} frames") from None
    for number, result in enumerate(results):
        if number not in failed:
            result.finish()
    return failed


if __name__ == "__main__":
    cli.run(main, make_parser())
