"""Videos → LR frames (and, with --keep_hr, original HR frames) of a dataset."""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from regenhance_data import cli, console, errors
from regenhance_data.dataset.folder import HR_IMAGES, SR_IMAGES, Dataset
from regenhance_data.dataset.next_steps import (
    clips_without,
    hr_frames_command,
    importance_command,
    listed_clips,
    originals_manifest,
)

if TYPE_CHECKING:
    from regenhance_data.stages.extract import ExtractionSettings
    from regenhance_data.stages.manifest import ClipSource

EXAMPLES = """
python tools/extract.py --video camera.mp4 --data my_dataset
python tools/extract.py --video day.mp4 night.mkv --data my_dataset --fps 5 --max_frames 1000
python tools/extract.py --video original_1080p.mp4 --data my_dataset --height 360 --keep_hr
python tools/extract.py --video_dir recordings --data my_dataset --fps 2
python tools/extract.py --manifest clips.yaml --data my_dataset
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    videos = parser.add_mutually_exclusive_group(required=True)
    videos.add_argument("--video", nargs="+", type=Path, help="one or more video files, each a clip")
    videos.add_argument("--video_dir", type=Path, help="a folder whose video files are clips")
    videos.add_argument("--manifest", type=Path, help="a YAML file: clips: [{video: day.mp4, id: day, fps: 5}, …]")
    parser.add_argument("--data", type=Path, required=True, help="dataset folder, created if it does not exist")
    parser.add_argument(
        "--height", type=int, default=360, help="of LR frames in pixels; the width follows the aspect ratio"
    )
    parser.add_argument("--fps", type=float, help="frames per second, sampled by time stamp (default: every frame)")
    parser.add_argument("--every", type=int, default=1, help="take only every n-th of those frames")
    parser.add_argument("--max_frames", type=int, help="maximum number of frames of a clip")
    parser.add_argument("--keep_hr", action="store_true", help="also write hr_images/, the original HR frames")
    parser.add_argument(
        "--mixed_sizes", action="store_true", help="no warning where the clips' LR frames differ in size"
    )
    parser.add_argument("--jpeg_quality", type=int, help="compress LR frames as JPEG first, as a camera would")
    parser.add_argument("--overwrite", action="store_true", help="replace clips made from other videos or settings")
    return parser


def clip_sources(args: argparse.Namespace, settings: "ExtractionSettings") -> "list[ClipSource]":
    from regenhance_data.stages.manifest import sources_of_folder, sources_of_manifest, sources_of_videos

    if args.manifest:
        return sources_of_manifest(args.manifest, settings)
    return sources_of_folder(args.video_dir, settings) if args.video_dir else sources_of_videos(args.video, settings)


def main(args: argparse.Namespace) -> None:
    from regenhance_data.stages.extract import ExtractionSettings, size_warning

    settings = ExtractionSettings(args.height, args.fps, args.every, args.max_frames, args.keep_hr, args.jpeg_quality)
    sources = clip_sources(args, settings)
    with Dataset.writing(args.data, new=True) as dataset:
        refused = extract_all(dataset, sources, args.overwrite)
    if (warning := size_warning(dataset)) and not args.mixed_sizes:
        console.warn(warning)
    if refused:
        several = f"{len(refused)} of {len(sources)} clips were refused ({refused[0]}); fix them or leave them out"
        raise refused[0] if len(sources) == 1 else errors.InputError(several)
    suggest_next(dataset, sources)


def extract_all(dataset: Dataset, sources: "Sequence[ClipSource]", overwrite: bool) -> list[errors.InputError]:
    """Extract all clips; return what was wrong with those that could not be."""
    from regenhance_data.stages.extract import extract  # PyAV

    refused = []
    for number, source in enumerate(sources):
        try:
            clip = extract(dataset, source.clip, source.video, source.settings, overwrite)
        except errors.InputError as error:  # a broken video does not stop the others
            refused.append(error)
            if len(sources) > 1:
                console.warn(str(error))
            continue
        except KeyboardInterrupt as error:
            raise interrupted(error, sources, number, len(refused)) from None
        record = dataset.record.clips[clip]
        height, width = record.origin_hw or (0, 0)
        print(f"{dataset.root}/origin_images/{clip}: {record.frames} frames of {width}x{height}")
    return refused


def interrupted(
    error: KeyboardInterrupt, sources: "Sequence[ClipSource]", number: int, refused: int
) -> KeyboardInterrupt:
    """What is printed after an interrupt of clip `number`, whose `error` says which frames are kept, if it is known."""
    clips = f"kept {number - refused} of {len(sources)} clips"
    if not str(error):
        return errors.resumable(clips)
    return error if len(sources) == 1 else KeyboardInterrupt(f"{clips}; of {sources[number].clip}, {error}")


def suggest_next(dataset: Dataset, sources: "Sequence[ClipSource]") -> None:
    """Say which clips have original HR frames, and the next command."""
    with_hr = [source.clip for source in sources if source.settings.keep_hr]
    if with_hr:
        print(f"{dataset.root}/hr_images: the original HR frames at {dataset.scale} times that size")
    without_hr = clips_without(dataset, HR_IMAGES)
    if not dataset.keeps_hr:
        cli.suggest(hr_frames_command(dataset))
        return
    if not without_hr:
        cli.suggest(importance_command(dataset))
        return
    console.warn(
        f"{dataset.root / HR_IMAGES}: lacks HR frames of {listed_clips(without_hr)}; importance needs those of every "
        f"clip in one folder: extract these with --keep_hr, or super-resolve all clips and give --clear {SR_IMAGES}"
    )
    if manifest := originals_manifest(dataset):
        print(f"these clips need settings of their own; put this in YOUR_CLIPS.yaml:\n{manifest}", end="")
    cli.suggest(hr_frames_command(dataset))


if __name__ == "__main__":
    cli.run(main, make_parser())
