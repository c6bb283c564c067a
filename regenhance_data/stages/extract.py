"""Videos → LR frames and, on request, original HR frames of a dataset."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from regenhance_data import __version__
from regenhance_data.console import progress, tell, warn
from regenhance_data.dataset.folder import HR_IMAGES, LR_FRAMES, Dataset, clip_id, former_clip_id
from regenhance_data.dataset.records import ClipRecord
from regenhance_data.dataset.staging import discard_staged, remove_folder, stage, staging_folder
from regenhance_data.dataset.staleness import clip_is_complete, is_same_extraction, remove_derived
from regenhance_data.dataset.warnings import size_difference
from regenhance_data.defaults import SCALE
from regenhance_data.errors import InputError, resumable
from regenhance_data.io.files import sha256
from regenhance_data.io.images import jpeg_compressed, write_image
from regenhance_data.io.video import inspect_video, read_timed
from regenhance_data.io.video_streams import VideoInfo
from regenhance_data.parallel.threads import bounded_map

_SUGGESTED_SCALES = (SCALE, 2, 4)  # of HR frames, to suggest


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


def extract(dataset: Dataset, clip: str, video: Path, settings: ExtractionSettings, overwrite: bool = False) -> str:
    """Write the frames of one video as a clip of the dataset; return its id. Memory does not grow with its length.

    An existing clip from the same file and settings is kept, or rewritten if frames are missing. One from another file
    or other settings is refused unless `overwrite`, which also removes everything made from its frames. The id is
    `clip`, or that of the same video in a dataset of an earlier kit. After an interrupt or a kill the same call goes on
    with the frames that are whole; another one removes them. InputError as `read_video`.
    """
    info = inspect_video(video)  # refuses a file that is not a video
    tell(f"{video}: read as {info}")
    began_as = _stamp(video)
    clip = _extract(dataset, clip, video, info, settings, overwrite)
    if _stamp(video) != began_as:
        warn(f"{video}: changed while it was read; once nothing writes to it, extract it again with --overwrite")
    return clip


def _extract(
    dataset: Dataset, clip: str, video: Path, info: VideoInfo, settings: ExtractionSettings, overwrite: bool
) -> str:
    made_by = ClipRecord(video.name, sha256(video), **asdict(settings))
    former = dataset.record.clips.get(former_clip_id(video.stem), ClipRecord())
    if (former.source, former.sha256) == (made_by.source, made_by.sha256) and clip == clip_id(video.stem):
        clip = former_clip_id(video.stem)
    recorded = dataset.record.clips.get(clip, ClipRecord())
    is_same = is_same_extraction(recorded, made_by)
    if clip in dataset.clips():
        if is_same and clip_is_complete(dataset, clip):
            if recorded.read_as is None and (info.orientation.is_mirrored or info.left_aside):
                old = dataset.root / LR_FRAMES / clip
                warn(f"{old}: an earlier version read such videos otherwise; remove this folder to extract it again")
            return clip
        if not is_same and not overwrite:
            raise InputError(
                f"{dataset.root / LR_FRAMES / clip}: exists already, from another video or other settings; "
                "give --overwrite to replace it, or rename the video"
            )
    _refuse_copy(dataset, clip, video, made_by)
    if settings.jpeg_quality is not None and settings.height >= info.upright_hw[0]:
        warn(f"{video}: its frames keep their size, so --jpeg_quality compresses again what the camera compressed")
    stage(dataset.root, LR_FRAMES, {"kit_version": __version__, "clip": clip, **made_by.to_dict()})
    new = {folder: dataset.root / staging_folder(LR_FRAMES) / folder for folder in (LR_FRAMES, HR_IMAGES)}
    try:
        written = _write_frames(video, settings, new, _promised(info, settings), _known_scale(dataset, clip))
    except InputError:
        _discard(dataset)
        raise
    record = replace(
        made_by,
        frames=written.frames,
        frame_rate=_frame_rate(settings, info.frame_rate, written),
        source_rate=round(info.frame_rate, 6),
        source_hw=written.source_hw,
        origin_hw=written.lr_hw,
        read_as=str(info),
        path=str(video),
    )
    if clip in dataset.clips():  # the old clip stays until the new frames are complete
        if not is_same:
            dataset.save(clips=dataset.record.clips_without(clip))
            remove_derived(dataset, clip)
        remove_folder(dataset.root / LR_FRAMES / clip)
    if settings.keep_hr:
        remove_folder(dataset.root / HR_IMAGES / clip)
        (dataset.root / HR_IMAGES).mkdir(exist_ok=True)
        shutil.move(new[HR_IMAGES], dataset.root / HR_IMAGES / clip)  # which may be a link to another disk
    scales = {"scale": written.scale} if settings.keep_hr else {}
    dataset.save(clips=dataset.record.clips_with(clip, record), **scales)
    # last: a clip exists once its folder does, and then it has its record
    os.replace(new[LR_FRAMES], dataset.root / LR_FRAMES / clip)
    _discard(dataset)
    return clip


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is written to; None where it is gone, as recorders remove old ones."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns


def _discard(dataset: Dataset) -> None:
    """Remove the folder of new frames, and origin_images/ where that is empty."""
    discard_staged(dataset.root, LR_FRAMES)
    folder = dataset.root / LR_FRAMES
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _promised(info: VideoInfo, settings: ExtractionSettings) -> int | None:
    """How many frames will be extracted, None where it is not known."""
    if info.frames is None or settings.fps is not None:
        return None
    frames = -(-info.frames // settings.every)
    return min(frames, settings.max_frames or frames)


def _refuse_copy(dataset: Dataset, clip: str, video: Path, made_by: ClipRecord) -> None:
    clips = dataset.clips()
    for other, record in dataset.record.clips.items():
        if other != clip and other in clips and record.sha256 == made_by.sha256:
            raise InputError(f"{video}: is in the dataset already, as clip {other}; a copy would leak between splits")


@dataclass
class _Written:
    """What was written of a video: its frames, the time of the last one, (H, W) of the video and of the LR frames."""

    frames: int = 0
    last_s: float = 0.0
    source_hw: tuple[int, int] = (0, 0)
    lr_hw: tuple[int, int] = (0, 0)
    scale: int = 1
    other_sizes: Counter[tuple[int, int]] = field(default_factory=Counter)


def _write_frames(
    video: Path,
    settings: ExtractionSettings,
    folders: Mapping[str, Path],
    total: int | None,
    known_scale: int | None,
) -> _Written:
    """Write the frames of a video that `folders` lack; what is there is whole. An interrupt tells how many are kept."""
    written = _Written()

    def jobs() -> Iterator[tuple[Path, np.ndarray, tuple[int, int], int | None]]:
        frames = read_timed(video, settings.fps, settings.every)
        for index, (time_s, image) in enumerate(progress(frames, video.name, total or settings.max_frames)):
            if index == settings.max_frames:
                return
            hw = (image.shape[0], image.shape[1])
            if index == 0:
                written.source_hw = hw
                written.lr_hw = _lr_hw(hw, settings.height, video)
                written.scale = _scale(hw, written.lr_hw, video, known_scale) if settings.keep_hr else 1
            written.frames, written.last_s = index + 1, time_s
            written.other_sizes[hw] += hw != written.source_hw
            lr_hw, scale, name = written.lr_hw, written.scale, f"{index:06d}.png"
            if not (folders[LR_FRAMES] / name).exists():
                yield folders[LR_FRAMES] / name, image, lr_hw, settings.jpeg_quality
            if settings.keep_hr and not (folders[HR_IMAGES] / name).exists():
                yield folders[HR_IMAGES] / name, image, (lr_hw[0] * scale, lr_hw[1] * scale), None

    try:
        with closing(bounded_map(_write_resized, jobs())) as done:
            for _ in done:
                pass
    except KeyboardInterrupt:
        of_total = f" of {total}" if total else ""
        raise resumable(f"kept {_whole_frames(folders, settings)}{of_total} frames") from None
    if changed := +written.other_sizes:
        folder = "LR and HR frames" if settings.keep_hr else "LR frames"
        warn(
            f"{video}: its picture changes size: {changed.total()} of {written.frames} frames have "
            f"{', '.join(map(_size, changed))} pixels, the first {_size(written.source_hw)}; their {folder} are "
            "scaled to the size of the first frame's; cut the recording there for a clip of each size"
        )
    return written


def _whole_frames(folders: Mapping[str, Path], settings: ExtractionSettings) -> int:
    """How many frames are written, with their HR frames where these are kept."""
    parts = (LR_FRAMES, HR_IMAGES) if settings.keep_hr else (LR_FRAMES,)
    return len(set.intersection(*({path.name for path in folders[part].glob("[0-9]*.png")} for part in parts)))


def _frame_rate(settings: ExtractionSettings, source_rate: float, written: _Written) -> float:
    """Extracted frames per second: as asked for where the time stamps agree to one frame, else as they say."""
    asked = min(settings.fps or source_rate, source_rate) / settings.every
    is_known = written.frames > 1 and written.last_s > 0
    measured = (written.frames - 1) / written.last_s if is_known else asked
    return round(asked if abs(measured - asked) * written.last_s <= 1 else measured, 6)


def size_warning(dataset: Dataset) -> str | None:
    """What the clips of a dataset that differ in size are good for, in one line; None where all are equal."""
    sizes = {clip: dataset.record.clips.get(clip, ClipRecord()).origin_hw for clip in dataset.clips()}
    difference = size_difference({clip: hw for clip, hw in sizes.items() if hw is not None})
    return f"{dataset.root}: {difference}" if difference else None


def _size(hw: tuple[int, int]) -> str:
    return f"{hw[1]}×{hw[0]}"


def _write_resized(job: tuple[Path, np.ndarray, tuple[int, int], int | None]) -> None:
    path, image, hw, jpeg_quality = job
    if image.shape[:2] != hw:
        shrinks = hw[0] <= image.shape[0]
        image = cv2.resize(image, hw[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    if jpeg_quality is not None:
        image = jpeg_compressed(image, jpeg_quality)
    write_image(path, image)


def _lr_hw(source_hw: tuple[int, int], height: int, video: Path) -> tuple[int, int]:
    if source_hw[0] <= height:
        if source_hw[0] < height:
            warn(f"{video}: is {source_hw[0]} pixels high, less than --height {height}; its own size is kept")
        return source_hw
    return height, max(round(source_hw[1] * height / source_hw[0]), 1)


def _known_scale(dataset: Dataset, clip: str) -> int | None:
    """The scale of the dataset's other clips, None where there are none, or where it is not known."""
    others = set(dataset.clips()).intersection(dataset.record.clips) - {clip}
    return dataset.record.recorded_scale if others else None


def _scale(source_hw: tuple[int, int], lr_hw: tuple[int, int], video: Path, known: int | None) -> int:
    """The scale of a video's HR frames. known: that of the dataset's other clips, if it is known."""
    scale = round(source_hw[0] / lr_hw[0])
    hr_hw = (scale * lr_hw[0], scale * lr_hw[1])
    if known not in (None, scale):
        height = source_hw[0] // known
        raise InputError(
            f"{video}: would have scale {scale}, the dataset has {known}; give --height {height}, or "
            f"'height: {height}' for this clip in a --manifest, or use another dataset"
        )
    if scale < 2 or hr_hw[0] > source_hw[0]:
        heights = _heights(
            source_hw, [number for number in ((known,) if known else _SUGGESTED_SCALES) if source_hw[0] >= number]
        )
        raise InputError(
            f"{video}: has {source_hw[0]} lines, {source_hw[0] / lr_hw[0]:.3g} times the LR frames' {lr_hw[0]}; "
            f"--keep_hr needs a whole multiple, at least 2; give {heights or 'a larger video'}"
        )
    if hr_hw != source_hw:
        tell(
            f"{video}: the HR frames are scaled from {_size(source_hw)} to {_size(hr_hw)}, {scale} times the LR "
            f"frames' {_size(lr_hw)}; {_keeping(source_hw, scale, known is None)}"
        )
    return scale


def _heights(source_hw: tuple[int, int], scales: Sequence[int]) -> str:
    """Flags that make LR frames of these scales."""
    return " or ".join(f"--height {source_hw[0] // number} (scale {number})" for number in scales)


def _keeping(source_hw: tuple[int, int], scale: int, is_free: bool) -> str:
    """How HR frames come to have the pixels of the video. is_free: whether the dataset may have another scale."""
    height, width = source_hw
    fitting = [number for number in _SUGGESTED_SCALES if height % number == width % number == 0]
    if scale in fitting:
        return f"--height {height // scale} keeps the pixels"
    step = 2 * scale  # most codecs take even sides alone
    cut_hw = height // step * step, width // step * step
    cut = f"a video that is cut to {_size(cut_hw)}, with --height {cut_hw[0] // scale}, keeps the pixels"
    return cut + (f"; so does {_heights(source_hw, fitting)}" if is_free and fitting else "")
