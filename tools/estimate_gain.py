"""Whether enhancement can help your detector on this camera, in about a minute, before anything is made or trained.

Compares the detector's results on some thirty frames spread over a video: with nothing enhanced (bilinear), with
bicubic interpolation, and with everything enhanced by the upscaler. A video of at least 480 lines is taken as
originals: they are shrunk by --scale, and the detector's result on the originals is the reference. A smaller video is
taken as the camera's LR frames: then the reference is the result on what the upscaler makes.
"""

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from regenhance_data import cli, console, errors
from regenhance_data.dataset.folder import HR_FOLDERS, HR_IMAGES, Dataset
from regenhance_data.defaults import ORIGINAL_HEIGHT_PX, SCALE
from regenhance_data.detectors.arguments import add_detector_arguments, detector_settings_from
from regenhance_data.evaluation.inputs import refuse_without_detector, tell_detector
from regenhance_data.evaluation.record import NOT_WORTH_IT
from regenhance_data.io.files import alone, write_json
from regenhance_data.upscalers.arguments import add_upscaler_flags, given_upscaler, in_words_of_upscaler_flags

if TYPE_CHECKING:
    from regenhance_data.evaluation.gain import GainEstimate, GainFrame
    from regenhance_data.upscalers.settings import UpscalerSettings
    from regenhance_data.upscalers.tiling import TiledUpscaler

EXAMPLES = """
python tools/estimate_gain.py --video camera.mp4 --detector onnx:yolox_nano.onnx --classes person car
python tools/estimate_gain.py --video camera.mp4 --detector onnx:yolox_nano.onnx --upscaler onnx:sr.onnx --save_dir S
python tools/estimate_gain.py --data my_dataset --frames 60 --save_dir runs/estimate
"""
TRIED_FRAMES = 3  # of which the upscaler makes a picture that is compared with them
SLOW_FRAME_S = 10  # of a frame that takes longer, a line says what all of them will take


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--video", type=Path, help="a video of the camera")
    source.add_argument(
        "--data", type=Path, help="a dataset instead: its LR frames, and HR frames as far as it has them"
    )
    add("--video_is", choices=("auto", "original", "lr"), default="auto", help="what the video's frames are taken for")
    add("--scale", type=int, help="factor from LR to HR size (default: 3, or the dataset's)")
    add("--jpeg_quality", type=int, help="compress shrunk originals as JPEG, as a camera would")
    add("--frames", type=int, default=30, help="frames to look at, at least 20 for a verdict")
    add("--save_dir", type=Path, help="for estimate.json, estimate.png and .svg (default: print only)")
    add_upscaler_flags(parser, required=False, without="for originals none, else general")
    add_detector_arguments(parser)
    return parser


def load_given_upscaler(settings: "UpscalerSettings | None", frames: Sequence["GainFrame"]) -> "TiledUpscaler | None":
    """The upscaler, told what it was taken for. InputError where it does not load, or makes another picture."""
    if settings is None:
        return None
    from regenhance_data.upscalers.likeness import refuse_unlike_result
    from regenhance_data.upscalers.loading import load_upscaler

    with in_words_of_upscaler_flags():
        upscaler = load_upscaler(settings)
        console.tell(f"{settings.argument or settings.spec}: read as {upscaler.read_as}")
        refuse_unlike_result(settings, upscaler, (frame.lr for frame in frames))
    return upscaler


def is_lr_video(args: argparse.Namespace) -> bool:
    """Whether the frames of --video are LR frames. InputError for a file that is no video."""
    from regenhance_data.io.video import inspect_video, read_video

    console.tell(f"{args.video}: read as {inspect_video(args.video)}")
    height, width = next(iter(read_video(args.video))).shape[:2]
    is_lr = height < ORIGINAL_HEIGHT_PX if args.video_is == "auto" else args.video_is == "lr"
    what = "LR frames; the reference is the detector's result on what the upscaler makes of them"
    if not is_lr:
        what = "originals; the reference is the detector's result on them"
    console.tell(f"{args.video}: its frames of {width}x{height} are taken as {what} (--video_is)")
    return is_lr


def frames_and_upscaler(
    args: argparse.Namespace, dataset: Dataset | None
) -> tuple[Iterable["GainFrame"], "UpscalerSettings | None"]:
    """The frames to look at and the upscaler, not loaded yet. InputError for frames that need one and have none."""
    from regenhance_data.evaluation.gain import gain_frames_of_dataset, gain_frames_of_video

    if dataset is None:
        is_lr = is_lr_video(args)
        scale = args.scale or SCALE
        args.upscaler = args.upscaler or ("general" if is_lr else None)
        settings = given_upscaler(args, scale) if args.upscaler else None
        if is_lr and args.jpeg_quality is not None:
            raise errors.InputError(
                f"--jpeg_quality: {args.video} has LR frames, which are compressed already; omit it"
            )
        return gain_frames_of_video(args.video, args.frames, scale, is_lr, args.jpeg_quality), settings
    if args.scale not in (None, dataset.scale):
        raise errors.InputError(f"--scale {args.scale}: {args.data} has the scale {dataset.scale}; omit the flag")
    folders = [folder for folder in HR_FOLDERS if (dataset.root / folder).is_dir()]
    args.upscaler = args.upscaler or (None if folders else "general")
    settings = given_upscaler(args, dataset.scale) if args.upscaler else None
    originals = "hr_images/" if HR_IMAGES in folders else "what the upscaler makes"
    console.tell(f"{args.data}: the reference is the detector's result on {originals}")
    return gain_frames_of_dataset(dataset, args.frames), settings


def timed(frames: Iterable["GainFrame"], total: int) -> Iterator["GainFrame"]:
    """The frames, with a progress bar; says so where the first one takes long."""
    started = time.monotonic()
    for number, frame in enumerate(console.progress(frames, "estimate", total)):
        taken_s = time.monotonic() - started
        if number == 1 and taken_s > SLOW_FRAME_S:
            console.tell(
                f"a frame takes {taken_s:.0f} s, {total} of them {taken_s * total / 60:.0f} minutes (--frames)"
            )
        yield frame


@alone("estimate_gain")
def main(args: argparse.Namespace) -> None:
    errors.refuse_scale(args.scale)
    errors.refuse_below_one(frames=args.frames)
    errors.refuse_jpeg_quality(args.jpeg_quality, args.video is not None)
    dataset = Dataset.open(args.data) if args.data else None
    recorded = dataset.record.detector if dataset else None
    refuse_without_detector(args, recorded)
    detector_settings = detector_settings_from(args, recorded)
    if args.upscaler:
        given_upscaler(args, args.scale or SCALE)  # refuses unknown ones before PyTorch is imported
    if args.video and not args.video.is_file():
        what = "is a folder, not a video" if args.video.is_dir() else "no such video"
        raise errors.InputError(f"{args.video}: {what}")
    from regenhance_data.detectors.loading import detector_record, load_detector
    from regenhance_data.evaluation.gain import estimate_gain

    frames, upscaler = frames_and_upscaler(args, dataset)
    detector = load_detector(detector_settings)
    tell_detector(detector)
    scale = dataset.scale if dataset else args.scale or SCALE
    frames = iter(frames)
    first = list(islice(frames, TRIED_FRAMES))
    loaded = load_given_upscaler(upscaler, first)
    estimate = estimate_gain(timed(chain(first, frames), args.frames), detector, scale, loaded)
    settings = {
        "video": args.video and str(args.video),
        "data": args.data and str(args.data),
        "scale": scale,
        "jpeg_quality": args.jpeg_quality,
        "upscaler": upscaler and upscaler.spec,
        "detector": detector_record(detector.settings),
    }
    write_results(args, estimate, settings)
    if args.video and estimate.reference == "upscaled":
        print(
            "without originals this says how many detections the upscaler changes, not whether they become right; "
            "--video_is original shrinks these frames and compares with them"
        )
    if not estimate.is_upscaled and estimate.verdict.answer != NOT_WORTH_IT:
        print("an upscaler reaches a part of this: give the same command --upscaler general, or one of yours")
    if args.video and estimate.frames_with_objects and estimate.verdict.answer != NOT_WORTH_IT:
        flags = ["--height", estimate.lr_height]
        flags += ["--keep_hr"] if estimate.reference == "originals" else []
        flags += ["--jpeg_quality", args.jpeg_quality] if args.jpeg_quality is not None else []
        cli.suggest(["python", "tools/extract.py", "--video", args.video, "--data", "my_dataset", *flags])


def write_results(args: argparse.Namespace, estimate: "GainEstimate", settings: dict[str, object]) -> None:
    """Print the table and the verdict; with --save_dir, write estimate.json and a plot."""
    from regenhance_data.detectors.diagnosis import warn_of_empty_frames
    from regenhance_data.evaluation.gain import gain_figure, gain_table
    from regenhance_data.plots import save_figure

    if estimate.scores.all.is_known:
        print(gain_table(estimate))
    print(f"{estimate.frames} frames, {estimate.frames_with_objects} of them with a reference object")
    if args.save_dir:
        write_json(args.save_dir / "estimate.json", {**estimate.to_dict(), "settings": settings})
        save_figure(gain_figure(estimate, (args.video or args.data).stem), args.save_dir / "estimate")
        print(f"{args.save_dir}/estimate.json, estimate.png, estimate.svg")
    empty = estimate.frames - estimate.frames_with_objects
    warn_of_empty_frames(empty, estimate.frames, lambda: where_to_look(estimate))
    print(estimate.verdict.text)


def where_to_look(estimate: "GainEstimate") -> str:
    """What to look at where the detector finds nothing in most frames."""
    if estimate.ignored:
        return f"the detector finds {estimate.ignored} boxes that are too large to count; give --max_box_area 1"
    return (
        "if they show objects, look at --classes, --score_threshold, --max_box_area and, for a file, --channel_order "
        "and --pixel_range"
    )


if __name__ == "__main__":
    cli.run(main, make_parser())
