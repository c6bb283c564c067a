"""Staleness: what each part of a dataset was made from, whether it is current, and the removal of what is not.

| part | depends on | recorded in dataset.yaml |
| --- | --- | --- |
| LR frames of a clip, and hr_images/ | the video's content, the extraction settings | `clips` |
| sr_images/ | the upscaler, the scale, the LR frames | `made.sr_images`: a digest for each clip |
| importance/ | the detector, the formula, the HR and LR frames | `made.importance`: a digest for each clip |
| labels/ and the split lists | the label settings, the importance and grid of each clip | `made.labels` |

Where there are stale files, the new ones are made beside them and replace them, and the record of them, in the end
(dataset/staging.py). Where there are none, dataset.yaml records first what the new ones are made from. So the files
that exist were always made from what dataset.yaml records, wherever a run was killed, and the next run of the same
command continues it.
"""

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from regenhance_data.console import warn
from regenhance_data.dataset.folder import (
    HR_IMAGES,
    IMPORTANCE,
    LABELS,
    LR_FRAMES,
    SR_IMAGES,
    Dataset,
    Frame,
    in_order,
)
from regenhance_data.dataset.importance_file import ImportanceFile
from regenhance_data.dataset.records import ClipRecord, DatasetRecord, ImportanceRecord
from regenhance_data.dataset.split import SPLITS
from regenhance_data.dataset.staging import discard_staged, publish, remove_folder, stage, staging_folder
from regenhance_data.errors import InputError
from regenhance_data.io.files import digest, sha256

_PIXELS_AT = 33  # where the second chunk of a PNG begins
_END_BYTES = 64  # of a PNG without text or time stamps, these hold the checksum of its pixels


# --- images --------------------------------------------------------------------------------------------------------
def fingerprint(dataset: Dataset, folder: str, clip: str) -> str:
    """A hash of the names and contents of a clip's images in `folder`; it changes when they change."""
    images = {path.name: path for path in dataset.images(folder, clip)}
    paths = [images[name] for name in in_order(images)]  # of which the numbers of frames follow
    return digest([(path.name, path.stat().st_size, _image_digest(path)) for path in paths])


def _image_digest(path: Path) -> str:
    """Identifies an image's content without reading all of it where possible.

    Of a PNG that is nothing but pixels, as this kit writes them, only the end is read: it holds a checksum of all
    pixels (zlib's Adler-32). Other programs write text or time stamps before the pixels, or after them: their files,
    and other formats, are hashed whole.
    """
    with path.open("rb") as file:
        head = file.read(_PIXELS_AT + 8)
        file.seek(max(path.stat().st_size - _END_BYTES, 0))
        end = file.read(_END_BYTES)
    is_plain = head.startswith(b"\x89PNG") and head.endswith(b"IDAT") and end.endswith(b"IEND\xaeB`\x82")
    return end.hex() if is_plain else sha256(path)


# --- clips ---------------------------------------------------------------------------------------------------------
def is_same_extraction(recorded: ClipRecord, wanted: ClipRecord) -> bool:
    """Whether both clips are made from the same video with the same settings, whatever came out."""
    outcome: dict[str, Any] = {"frames": None, "frame_rate": None, "source_rate": None, "read_as": None, "path": None}
    return replace(recorded, source_hw=None, origin_hw=None, **outcome) == wanted


def clip_is_complete(dataset: Dataset, clip: str) -> bool:
    """Whether a clip has all the frames that its record counts, and the record is complete."""
    record = dataset.record.clips[clip]
    folders = [LR_FRAMES, HR_IMAGES] if record.keep_hr else [LR_FRAMES]
    return record.origin_hw is not None and all(
        len(dataset.frames(clip, folder)) == record.frames for folder in folders
    )


def remove_derived(dataset: Dataset, clip: str) -> None:
    """Remove everything that was made from the LR frames of a clip, and the split lists."""
    for folder in (SR_IMAGES, HR_IMAGES, LABELS):
        remove_folder(dataset.root / folder / clip)
    dataset.importance_path(clip).unlink(missing_ok=True)
    dataset.remove_lists()


# --- sr_images/ and importance/ ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Renewal:
    """Where the files of a part are made. staged: the clips that are made beside their old files."""

    dataset: Dataset
    part: str
    staged: frozenset[str] = frozenset()

    def folder(self, clip: str) -> str:
        """The folder for the files of a clip, relative to the dataset folder."""
        return staging_folder(self.part) if clip in self.staged else self.part

    def finish(self) -> None:
        """Replace the old files, once all clips are made, and record what the new ones are made from."""
        if self.staged:
            publish(self.dataset.root, self.part, self.dataset.save)


def refuse_unknown_sr_images(dataset: Dataset) -> None:
    """InputError where sr_images/ was not made by tools/super_resolve.py."""
    if (dataset.root / SR_IMAGES).exists() and dataset.record.upscaler is None:
        raise InputError(f"{dataset.root / SR_IMAGES}: was not made by this tool; move it away or give --overwrite")


def start_sr_images(dataset: Dataset, upscaler: Mapping[str, Any], scale: int, read_as: str) -> Renewal:
    """Begin or continue the HR frames in sr_images/. read_as: what the upscaler's file was taken for; it is recorded,
    but makes no frame stale.
    """
    records = {"upscaler": upscaler, "scale": scale}
    digests = {clip: digest([records, fingerprint(dataset, LR_FRAMES, clip)]) for clip in dataset.clips()}
    stale = _stale(dataset, SR_IMAGES, digests)
    old = [clip for clip in stale if dataset.frames(clip, SR_IMAGES)]
    changes = {"upscaler": {**upscaler, "read_as": read_as}, "scale": scale}
    return _start(dataset, SR_IMAGES, digests, old, **changes)


def refuse_unknown_importance(dataset: Dataset) -> None:
    """InputError where an importance file was not made by tools/make_importance.py."""
    made = dataset.record.made.get(IMPORTANCE, {})
    for path in (dataset.importance_path(clip) for clip in dataset.clips() if clip not in made):
        if path.exists():
            raise InputError(f"{path}: was not made by this tool; move it away or give --overwrite")


def start_importance(
    dataset: Dataset, detector: Mapping[str, Any], importance: ImportanceRecord, **changes: Any
) -> Renewal:
    """Begin or continue importance. `changes`: further keys of dataset.yaml that come with it."""
    digests = {clip: _importance_digest(dataset, clip, detector, importance) for clip in dataset.clips()}
    stale = _stale(dataset, IMPORTANCE, digests)
    old = [clip for clip in stale if dataset.importance_path(clip).exists()]
    for clip in stale:  # unfinished, of other settings
        shutil.rmtree(dataset.importance_parts(clip), ignore_errors=True)
    changes |= {"detector": detector, "importance": importance.to_dict()}
    return _start(dataset, IMPORTANCE, digests, old, **changes)


def without_words(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record without what only describes it (`read_as`): nothing is made from that."""
    return {key: value for key, value in record.items() if key != "read_as"}


def importance_is_complete(dataset: Dataset, clip: str, folder: str = IMPORTANCE) -> bool:
    """Whether the importance file of a clip exists and has every frame."""
    path = dataset.importance_path(clip, folder)
    if not path.exists():
        return False
    return np.array_equal(ImportanceFile(path).numbers, [frame.number for frame in dataset.frames(clip)])


def refuse_stale_importance(dataset: Dataset, clip: str) -> None:
    """InputError where the importance of a clip is recorded to be made from other frames than the present ones.

    Imported importance is not checked, nor is any after the HR frames were removed to free disk space.
    """
    made = dataset.record.made.get(IMPORTANCE, {}).get(clip)
    detector, importance = dataset.record.detector, dataset.record.importance
    if made is None or detector is None or not dataset.importance_path(clip).exists():
        return
    has_hr = (dataset.root / str(importance.hr_folder) / clip).is_dir()
    if has_hr and made != _importance_digest(dataset, clip, detector, importance):
        raise InputError(
            f"{dataset.importance_path(clip)}: was made from other frames; run tools/make_importance.py again"
        )


def _importance_digest(dataset: Dataset, clip: str, detector: Mapping[str, Any], importance: ImportanceRecord) -> str:
    hr_folder = str(importance.hr_folder)
    hr_frames = fingerprint(dataset, hr_folder, clip) if (dataset.root / hr_folder / clip).is_dir() else None
    return digest(
        [without_words(detector), without_words(importance.to_dict()), fingerprint(dataset, LR_FRAMES, clip), hr_frames]
    )


def _stale(dataset: Dataset, part: str, digests: Mapping[str, str]) -> list[str]:
    """The clips of a part whose digest is not the recorded one."""
    made = dataset.record.made.get(part, {})
    return [clip for clip in dataset.clips() if made.get(clip) != digests[clip]]


def _start(dataset: Dataset, part: str, digests: Mapping[str, str], old: Sequence[str], **changes: Any) -> Renewal:
    """Record `digests` and the `changes`: at once, or, where some stale clips have `old` files, with the new ones."""
    record = dataset.record
    changes["made"] = {**record.made, part: dict(digests)}
    if old:
        if any(clip in record.made.get(part, {}) for clip in old):
            warn(
                f"{dataset.root / part}: was made with other settings or frames and is recomputed; what is there stays "
                "until all of it is made"
            )
        stage(dataset.root, part, changes)
        return Renewal(dataset, part, frozenset(_stale(dataset, part, digests)))
    discard_staged(dataset.root, part)
    if any(record.content.get(key) != value for key, value in changes.items()):
        dataset.save(**changes)
    return Renewal(dataset, part)


# --- labels --------------------------------------------------------------------------------------------------------
def label_digests(settings: Mapping[str, Any], clips: Mapping[str, str]) -> dict[str, Any]:
    """What labels are recorded to be made from: their settings, and the digest of each clip's importance source."""
    return {"settings": digest(settings), "clips": dict(clips)}


def labels_are_current(dataset: Dataset, digests: Mapping[str, Any], frames: Mapping[str, Collection[Frame]]) -> bool:
    """Whether the labels of `frames` (by clip) and the split lists exist, dataset.yaml counts them, and they were made
    with these `digests`.
    """
    return (
        dataset.record.made.get(LABELS) == digests
        and all((dataset.root / f"{name}.txt").exists() for name in SPLITS)
        and all(
            {frame.stem for frame in dataset.frames(clip, LABELS)} == {frame.stem for frame in labelled}
            for clip, labelled in frames.items()
        )
        and _has_counts(dataset.record)
    )


def _has_counts(record: DatasetRecord) -> bool:
    """Whether dataset.yaml counts the frames and pixels of every split; it may have been edited."""
    frames, pixels = record.split.frames, record.level_pixels
    if not all(isinstance(pixels.get(name), list) for name in SPLITS):
        return False
    counts = [frames.get(name) for name in (*SPLITS, "unused")] + [count for name in SPLITS for count in pixels[name]]
    return all(type(count) is int for count in counts)


def made_without_importance(record: DatasetRecord) -> dict[str, Any]:
    """The value of `made` when importance was imported: nothing is known about how it was made."""
    return {part: digests for part, digests in record.made.items() if part != IMPORTANCE}


def refuse_stale_labels(dataset: Dataset, clip: str, importance: str | None) -> None:
    """InputError where labels of a clip do not match its importance: `importance` is the digest of its source, None
    where there is no importance file.
    """
    path, record = dataset.importance_path(clip), dataset.record
    labelled = record.made.get(LABELS, {}).get("clips")
    if importance is None:
        if clip in record.made.get(IMPORTANCE, {}) or (isinstance(labelled, dict) and clip not in labelled):
            raise InputError(f"{path}: is missing; run tools/make_importance.py")
    elif record.importance.file is not None:  # the labels were made from that file; this one is a copy
        return
    elif isinstance(labelled, dict) and labelled.get(clip) != importance:
        what = "is other importance than its labels were made from" if clip in labelled else "has no labels yet"
        raise InputError(f"{path}: {what}; run tools/make_seg_dataset.py again")
