"""What region enhancement costs and brings at run time, beside every alternative: accuracy against throughput.

On each frame, in turn: nothing enhanced, whole-frame super-resolution, the same on every n-th frame, slices of the
upsampled frame, boxes found in a first pass, difference, random, the static map (the mean importance of the training
frames), the predictor's regions without and with the cache of enhanced macroblocks, and the oracle. Accuracy is
measured against detections on the original HR frames, or --truth, where there are any, else against those of
whole-frame super-resolution; the table says which. Difference and oracle need what a running camera does not have.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from deploy.backends.registry import load_predictor, local_backends, refuse_missing_predictor
from deploy.online.arguments import add_region_arguments, plan_from
from regenhance_data import cli, console
from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.learnt_frames import warn_of_learnt_frames
from regenhance_data.dataset.split import SPLITS
from regenhance_data.defaults import MB_SIZE, ORIGINAL_HEIGHT_PX, SCALE
from regenhance_data.detectors.arguments import add_detector_arguments, detector_settings_from, given_settings
from regenhance_data.errors import InputError, refuse_below_one, refuse_jpeg_quality, refuse_unless_shares
from regenhance_data.evaluation.inputs import refuse_without_detector
from regenhance_data.grid import MacroblockGrid
from regenhance_data.importance.static_map import static_maps
from regenhance_data.io.files import alone, refuse_missing, write_json
from regenhance_data.upscalers.arguments import add_upscaler_flags, given_upscaler, in_words_of_upscaler_flags

if TYPE_CHECKING:
    import numpy as np

    from deploy.backends.base import Predictor
    from deploy.online.comparison import Comparison, MeasuredFrame
    from deploy.online.detectors import OnlineDetector
    from deploy.online.strategies import KnownFrame, Parts
    from regenhance_data.detections import Detections

WRITING_S = 60.0  # after Ctrl-C, for the frame on its way and the plot of what is done
EXAMPLES = """
python tools/evaluate_online.py --data my_dataset --predictor P.onnx --upscaler general --save_dir runs/online
python tools/evaluate_online.py --data D --predictor P.onnx --upscaler onnx:SR.onnx --budgets 0.05 0.1 0.2 --save_dir S
python tools/evaluate_online.py --data D --split all --clips gate --upscaler edsr:EDSR.pt --save_dir S
python tools/evaluate_online.py --video original_540p.mp4 --jpeg_quality 75 --every 5 --max_frames 40 \\
    --upscaler general --detector onnx:yolox_nano.onnx --save_dir S
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="dataset folder; its frames are taken one after the other")
    source.add_argument("--video", nargs="+", type=Path, help="videos instead, from 480 lines on as originals")
    add("--predictor", type=Path, help="the predictor's file (default: baselines alone)")
    add_upscaler_flags(parser)
    add("--save_dir", type=Path, required=True, help="for evaluate_online.json, .png and .svg")
    add("--budgets", nargs="+", type=float, default=(0.05, 0.1, 0.2), help="shares of macroblocks")
    add("--truth", type=Path, help="true boxes on HR frames, as tools/evaluate.py takes them")
    add("--split", choices=(*SPLITS, "all"), default="test", help="which frames of --data")
    add("--clips", nargs="+", metavar="CLIP", help="only these clips of --data (default: all)")
    add("--every", type=int, default=1, help="take only every n-th of each clip")
    add("--max_frames", type=int, help="the first frames of each clip (default: all)")
    add("--jpeg_quality", type=int, help="compress LR frames that are made of --video as JPEG, as a camera would")
    add("--backend", choices=["auto", *local_backends()], default="auto", help="runs the predictor")
    add("--threads", type=int, help="threads of each engine (default: its own choice)")
    add_region_arguments(parser, ("regions", "atlas"))
    add_detector_arguments(parser)
    return parser


@dataclass(frozen=True)
class Material:
    """What strategies are compared on. lr_hw: the size of LR frames. knows: see `strategies`. static: see `Parts`.
    clip, numbers: the first clip of a dataset, and the numbers of all frames.
    """

    frames: "Iterable[KnownFrame]"
    total: int | None
    lr_hw: tuple[int, int]
    scale: int
    mb_size: int
    knows: list[str]
    recorded: Mapping[str, Any] | None = None  # settings of a detector
    static: Mapping[str, "np.ndarray"] = field(default_factory=dict)
    clip: str = ""
    numbers: Sequence[int] = ()


def material_of_dataset(args: argparse.Namespace) -> Material:
    """The frames of --data. InputError for frames that are not there, or of several sizes."""
    from deploy.online.compared_frames import frames_of_dataset, frames_to_compare
    from deploy.online.strategies import DIFFERENCE, ORACLE

    dataset = Dataset.open(args.data)
    chosen, lr_hw, has_originals = frames_to_compare(
        dataset, args.split, args.clips, args.every, args.max_frames, args.truth is not None
    )
    every_frame = [frame for some in chosen.values() for frame in some]
    warn_of_learnt_frames(dataset, every_frame)
    has_oracle = all(dataset.importance_path(clip).is_file() for clip in chosen)
    frames = frames_of_dataset(dataset, chosen, has_originals, dataset.mb_size, args.every)
    knows = [DIFFERENCE] * has_originals + [ORACLE] * has_oracle
    static = static_maps(dataset, chosen)
    recorded = dataset.record.detector
    return Material(
        frames,
        len(every_frame),
        lr_hw,
        dataset.scale,
        dataset.mb_size,
        knows,
        recorded,
        static,
        every_frame[0].clip,
        [frame.number for frame in every_frame],
    )


def material_of_videos(args: argparse.Namespace, predictor: "Predictor | None") -> Material:
    """The frames of --video: originals, or LR frames, by their height. InputError for a video without frames."""
    from deploy.online.cameras import cameras_of_videos
    from deploy.online.compared_frames import frames_of_videos, refuse_unfit_videos
    from deploy.online.strategies import DIFFERENCE
    from regenhance_data.io.video import inspect_video

    cameras = cameras_of_videos([str(video) for video in args.video])
    sizes = {video: inspect_video(video).upright_hw for video in args.video}
    are_originals = min(height for height, _ in sizes.values()) >= ORIGINAL_HEIGHT_PX
    scale = int(predictor.metadata["scale"]) if predictor else SCALE
    first = next(iter(sizes.values()))
    height, width = (side // scale for side in first) if are_originals else first
    lr_hw = predictor.input_hw if predictor else (height, width)
    compressed = "not compressed" if args.jpeg_quality is None else f"JPEG {args.jpeg_quality}"
    made = f"originals; LR frames of {lr_hw[1]}x{lr_hw[0]}, {compressed}, are made of them"
    what = made if are_originals else "LR frames"
    if args.jpeg_quality is not None and not are_originals:
        raise InputError("--jpeg_quality: --video has LR frames, which are compressed already; omit it")
    refuse_unfit_videos(sizes, lr_hw, scale, are_originals)
    console.tell(f"--video: taken as {what} (from {ORIGINAL_HEIGHT_PX} lines on: originals)")
    total = len(cameras) * args.max_frames if args.max_frames else None
    frames = frames_of_videos(cameras, lr_hw, scale, are_originals, args.every, args.max_frames, args.jpeg_quality)
    mb_size = predictor.grid.mb_size if predictor else MB_SIZE
    return Material(frames, total, lr_hw, scale, mb_size, [DIFFERENCE] * are_originals)


@alone("evaluate_online")
def main(args: argparse.Namespace) -> None:
    check(args)
    predictor = load_predictor(args.predictor, args.backend, args.threads) if args.predictor else None
    material = material_of_dataset(args) if args.data else material_of_videos(args, predictor)
    refuse_without_detector(args, material.recorded)
    if predictor:
        from deploy.online.compared_frames import refuse_unless_fitting

        refuse_unless_fitting(args.predictor, predictor, material.lr_hw, material.scale, material.mb_size)
    from deploy.online.comparison import ORIGINALS, TRUTH, UPSCALED, compare, measure, metric_by, reference_by
    from deploy.online.strategies import DIFFERENCE, strategies
    from regenhance_data.evaluation.verdict import FEWEST_FRAMES

    parts, detector, about = make_parts(args, material, predictor)
    truth = read_truth_of(args, material, detector)
    has_originals = DIFFERENCE in material.knows
    metric = metric_by(detector)
    is_boxes = detector.task == "detection"
    reference = TRUTH if truth is not None else ORIGINALS if has_originals else UPSCALED
    if material.total and material.total < FEWEST_FRAMES:
        console.warn(f"a verdict needs {FEWEST_FRAMES} frames, and there are {material.total} at most")
    in_turn = measure(
        console.progress(material.frames, "evaluate", material.total),
        lambda: strategies(parts, args.budgets, material.knows, is_boxes),
        partial(reference_by(truth), by=detector),
        metric.count,
    )
    measured, ended_by = taken_from(in_turn)
    about = {"interrupted": ended_by is not None, "settings": about}
    write_results(args.save_dir, compare(measured, metric, reference), about)
    kept = f"kept the results of {len(measured)} frames, in {args.save_dir}"
    if isinstance(ended_by, InputError):
        raise InputError(f"{ended_by}; {kept}")
    if ended_by:
        raise KeyboardInterrupt(kept)


def taken_from(
    in_turn: "Iterable[MeasuredFrame]",
) -> "tuple[list[MeasuredFrame], InputError | KeyboardInterrupt | None]":
    """(the frames, what ended them before the last one); raises what comes before the first one."""
    taken: list[MeasuredFrame] = []
    try:
        for frame in in_turn:
            taken.append(frame)
            cli.lengthen_grace(WRITING_S)
    except (InputError, KeyboardInterrupt) as error:
        if taken:
            return taken, error
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt("no frame was done, so nothing is written") from None
        raise
    return taken, None


def check(args: argparse.Namespace) -> None:
    """InputError now for flags out of range and files that are missing."""
    refuse_unless_shares(args.budgets)
    refuse_below_one(max_frames=args.max_frames, threads=args.threads, every=args.every)
    refuse_jpeg_quality(args.jpeg_quality, args.video is not None)
    if args.feedback and not args.predictor:
        raise InputError(
            "--feedback: goes with --predictor (deploy/export_static_map.py --flat makes one without a training); the "
            "boxes of the last frame are compared without both"
        )
    if args.video and (args.truth or args.clips):
        raise InputError("--truth and --clips are for --data; with --video the reference is the detector's own result")
    if args.predictor:
        refuse_missing_predictor(args.predictor)
    if args.truth:
        refuse_missing(args.truth)


def read_truth_of(
    args: argparse.Namespace, material: Material, detector: "OnlineDetector"
) -> "Mapping[int, Detections] | None":
    """The true boxes of --truth."""
    if not args.truth:
        return None
    from regenhance_data.evaluation.truth import read_truth

    return read_truth(args.truth, detector, Dataset.open(args.data), material.clip, material.numbers)


def make_parts(
    args: argparse.Namespace,
    material: Material,
    predictor: "Predictor | None",
) -> "tuple[Parts, OnlineDetector, dict[str, Any]]":
    """What strategies are made of, the detector, and the settings for the record."""
    from deploy.online.cameras import importance_by
    from deploy.online.detectors import load_online_detector
    from deploy.online.strategies import Parts
    from deploy.online.upscalers import load_online_upscaler
    from regenhance_data.upscalers.enhancement import RegionEnhancer

    settings = detector_settings_from(args, material.recorded)
    grid = MacroblockGrid(*material.lr_hw, material.mb_size)
    hr_grid = grid.scaled(material.scale)
    with in_words_of_upscaler_flags():
        upscaler = load_online_upscaler(given_upscaler(args, material.scale), threads=args.threads)
    hr_hw = hr_grid.height, hr_grid.width
    detector = load_online_detector(settings, hr_hw, threads=args.threads, given=given_settings(args))
    plan = plan_from(args)
    plan.refuse_task(detector.task)
    regions = RegionEnhancer(upscaler, plan.mode, plan.halo_px)
    predict = importance_by(predictor) if predictor else None
    is_flat = predictor is not None and predictor.is_flat
    if is_flat and not plan.feeds_back:
        console.warn(f"{args.predictor}: is a flat map, which chooses at random, so it has no rows; give --feedback 1")
    whole = RegionEnhancer(upscaler, "whole")
    parts = Parts(plan, grid, regions, whole, detector, predict, material.static, is_flat)
    about = {
        "predictor": predictor and {"file": str(args.predictor), "engine": predictor.backend},
        "upscaler": {"spec": args.upscaler, "read_as": upscaler.read_as, "halo_px": regions.halo_px},
        "detector": {"spec": settings.spec, "read_as": detector.read_as, "engine": detector.engine},
        "lr_size": [grid.width, grid.height],
        "plan": plan.to_dict(),
    }
    console.tell(f"upscaler {upscaler.read_as}; detector {detector.read_as} in {detector.engine}")
    return parts, detector, about


def write_results(folder: Path, result: "Comparison", about: dict[str, Any]) -> None:
    """Write evaluate_online.json, which ends with what `about` says, and the plot; print the table and the verdict."""
    from deploy.online.comparison import comparison_figure, comparison_table
    from regenhance_data.plots import save_figure

    write_json(folder / "evaluate_online.json", {**result.to_dict(), **about})
    save_figure(comparison_figure(result), folder / "evaluate_online")
    print(comparison_table(result))
    of_clips = f" of {', '.join(result.clips)}" if any(result.clips) else ""
    print(f"{folder}/evaluate_online.json, .png, .svg: {result.frames} frames{of_clips}")
    print(result.verdict.text)


if __name__ == "__main__":
    cli.run(main, make_parser())
