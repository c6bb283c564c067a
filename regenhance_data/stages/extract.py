"""Videos → LR frames and, on request, original HR frames of a dataset."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from regenhance_data.console import progress, warn
from regenhance_data.dataset.folder import HR_IMAGES, LR_FRAMES, PARTIAL, Dataset
from regenhance_data.dataset.records import ClipRecord
from regenhance_data.dataset.staleness import clip_is_complete, is_same_extraction, remove_derived
from regenhance_data.errors import InputError
from regenhance_data.io.files import sha256
from regenhance_data.io.images import encode_jpeg, write_image
from regenhance_data.io.video import frame_rate, read_video
from regenhance_data.parallel.threads import bounded_map


@dataclass(frozen=True)
class ExtractionSettings:
    """How the frames of a clip are made from a video.

    height: of the LR frame in pixels; the width follows the aspect ratio. fps: frames sampled by time stamp, None:
    every frame. every: only every n-th of those. max_frames: at most so many of those. keep_hr: also write the original
    HR frames, at `scale` times the LR size. jpeg_quality: compress LR frames as JPEG first, as a camera would.
    """

    height: int = 360
    fps: float | None = None
    every: int = 1
    max_frames: int | None = None
    keep_hr: bool = False
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        for flag, value, least, most in (
            ("height", self.height, 1, 16384),
            ("fps", self.fps, 1e-3, 1e4),
            ("every", self.every, 1, 10**9),
            ("max_frames", self.max_frames, 1, 10**9),
            ("jpeg_quality", self.jpeg_quality, 1, 100),
        ):
            if value is not None and not least <= value <= most:
                raise InputError(f"--{flag} {value}: expected {least:g} to {most:g}")


def extract(dataset: Dataset, clip: str, video: Path, settings: ExtractionSettings, overwrite: bool = False) -> int:
    """Write the frames of one video as a clip of the dataset; return how many. Memory does not grow with its length.

    An existing clip from the same file and settings is kept, or rewritten if frames are missing. One from another file
    or other settings is refused unless `overwrite`, which also removes everything made from its frames. InputError as
    `read_video`.
    """
    source_fps = frame_rate(video)  # refuses a file that is not a video
    made_by = ClipRecord(video.name, sha256(video), **asdict(settings))
    recorded = dataset.record.clips.get(clip, ClipRecord())
    is_same = is_same_extraction(recorded, made_by)
    if clip in dataset.clips():
        if is_same and clip_is_complete(dataset, clip):
            return recorded.frames or 0
        if not is_same and not overwrite:
            raise InputError(
                f"{dataset.root / LR_FRAMES / clip}: exists already, from another video or other settings; "
                "give --overwrite to replace it, or rename the video"
            )
    for other, record in dataset.record.clips.items():
        if other != clip and record.sha256 == made_by.sha256:
            raise InputError(f"{video}: is in the dataset already, as clip {other}; a copy would leak between splits")
    partial = {folder: dataset.root / folder / f"{PARTIAL}{clip}" for folder in (LR_FRAMES, HR_IMAGES)}
    for folder in partial.values():
        shutil.rmtree(folder, ignore_errors=True)
    try:
        count, source_hw, lr_hw, scale = _write_frames(dataset, video, settings, partial)
        if clip in dataset.clips():  # the old clip stays until the new frames are complete
            if not is_same:
                dataset.save(clips=dataset.record.clips_without(clip))
                remove_derived(dataset, clip)
            shutil.rmtree(dataset.root / LR_FRAMES / clip)
        if partial[HR_IMAGES].exists():
            shutil.rmtree(dataset.root / HR_IMAGES / clip, ignore_errors=True)
            os.replace(partial[HR_IMAGES], dataset.root / HR_IMAGES / clip)
        rate = round((settings.fps or source_fps) / settings.every, 6)
        record = replace(made_by, frames=count, frame_rate=rate, source_hw=source_hw, origin_hw=lr_hw)
        scales = {"scale": scale} if settings.keep_hr else {}
        dataset.save(clips=dataset.record.clips_with(clip, record), **scales)
        # last: a clip exists once its folder does, and then it has its record
        os.replace(partial[LR_FRAMES], dataset.root / LR_FRAMES / clip)
    finally:
        for folder in partial.values():
            shutil.rmtree(folder, ignore_errors=True)
            if folder.parent.is_dir() and not any(folder.parent.iterdir()):
                folder.parent.rmdir()
    return count


def _write_frames(
    dataset: Dataset, video: Path, settings: ExtractionSettings, folders: dict[str, Path]
) -> tuple[int, tuple[int, int], tuple[int, int], int]:
    """(number of frames, video (H, W), LR (H, W), scale)."""
    source_hw: tuple[int, int] = (0, 0)
    lr_hw: tuple[int, int] = (0, 0)
    scale = 1

    def jobs() -> Iterator[tuple[Path, np.ndarray, tuple[int, int], int | None]]:
        nonlocal source_hw, lr_hw, scale
        frames = read_video(video, settings.fps, settings.every)
        for index, image in enumerate(progress(frames, video.name, settings.max_frames)):
            if index == settings.max_frames:
                return
            if index == 0:
                source_hw = (image.shape[0], image.shape[1])
                lr_hw = _lr_hw(source_hw, settings.height, video)
                scale = _scale(dataset, source_hw, lr_hw, video) if settings.keep_hr else 1
            name = f"{index:06d}.png"
            yield folders[LR_FRAMES] / name, image, lr_hw, settings.jpeg_quality
            if settings.keep_hr:
                yield folders[HR_IMAGES] / name, image, (lr_hw[0] * scale, lr_hw[1] * scale), None

    written = sum(1 for _ in bounded_map(_write_resized, jobs()))
    return written // (2 if settings.keep_hr else 1), source_hw, lr_hw, scale


def _write_resized(job: tuple[Path, np.ndarray, tuple[int, int], int | None]) -> None:
    path, image, hw, jpeg_quality = job
    if image.shape[:2] != hw:
        shrinks = hw[0] <= image.shape[0]
        image = cv2.resize(image, hw[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    if jpeg_quality is not None:
        jpeg = np.frombuffer(encode_jpeg(image, jpeg_quality), np.uint8)
        image = cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    write_image(path, image)


def _lr_hw(source_hw: tuple[int, int], height: int, video: Path) -> tuple[int, int]:
    if source_hw[0] <= height:
        if source_hw[0] < height:
            warn(f"{video}: is {source_hw[0]} pixels high, less than --height {height}; its own size is kept")
        return source_hw
    return height, max(round(source_hw[1] * height / source_hw[0]), 1)


def _scale(dataset: Dataset, source_hw: tuple[int, int], lr_hw: tuple[int, int], video: Path) -> int:
    scale = round(source_hw[0] / lr_hw[0])
    if scale * lr_hw[0] > source_hw[0]:
        warn(
            f"{video}: the HR frames are {scale} x {lr_hw[0]} = {scale * lr_hw[0]} pixels high, more than "
            f"the video's {source_hw[0]}; give a --height that divides it, such as {source_hw[0] // scale}"
        )
    if scale < 2:
        raise InputError(
            f"{video}: --keep_hr needs a video at least twice as high as the LR frame, "
            f"it has {source_hw[0]} lines and --height gives {lr_hw[0]}"
        )
    if dataset.record.clips and dataset.record.recorded_scale not in (None, scale):
        raise InputError(
            f"{video}: would have scale {scale}, the dataset has {dataset.scale}; give "
            f"--height {source_hw[0] // dataset.scale}, or use another dataset (a predictor is exported for one size)"
        )
    return scale
