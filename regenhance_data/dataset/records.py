"""What dataset.yaml records, parsed: how each clip, the HR frames, importance, labels and split were made."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from regenhance_data import __version__
from regenhance_data.dataset.levels import Normaliser
from regenhance_data.dataset.split import SPLITS, default_gap
from regenhance_data.defaults import LEVELS, MB_SIZE, MOST_MB_SIZE, MOST_SCALE, SCALE
from regenhance_data.errors import InputError
from regenhance_data.io.files import read_yaml

_MOST_EVERY, _MOST_RATE = 10**9, 10**6  # dataset.yaml may have been edited
_MAPPINGS = {"clips", "upscaler", "detector", "importance", "normaliser", "split", "level_pixels", "made"}


@dataclass(frozen=True)
class ClipRecord:
    """How a clip was extracted; None for what dataset.yaml does not record, or records with another type.

    source: the video's file name. path: as it was given. sha256: of its content. height to jpeg_quality: see
    `ExtractionSettings`. frames: their number. frame_rate: extracted frames per second. source_rate: those of the
    video. source_hw, origin_hw: (height, width) of the video and of the LR frames in pixels. read_as: what the file was
    taken for, for people.
    """

    source: str | None = None
    sha256: str | None = None
    height: int | None = None
    fps: float | None = None
    every: int | None = None
    max_frames: int | None = None
    keep_hr: bool | None = None
    jpeg_quality: int | None = None
    frames: int | None = None
    frame_rate: float | None = None
    source_rate: float | None = None
    source_hw: tuple[int, int] | None = None
    origin_hw: tuple[int, int] | None = None
    read_as: str | None = None
    path: str | None = None

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> "ClipRecord":
        return cls(
            source=_typed(value, "source", str),
            sha256=_typed(value, "sha256", str),
            height=_typed(value, "height", int),
            fps=_typed(value, "fps", int, float),
            every=_typed(value, "every", int),
            max_frames=_typed(value, "max_frames", int),
            keep_hr=_typed(value, "keep_hr", bool),
            jpeg_quality=_typed(value, "jpeg_quality", int),
            frames=_typed(value, "frames", int),
            frame_rate=_typed(value, "frame_rate", int, float),
            source_rate=_typed(value, "source_rate", int, float),
            source_hw=_size(value.get("source_hw")),
            origin_hw=_size(value.get("origin_hw")),
            read_as=_typed(value, "read_as", str),
            path=_typed(value, "path", str),
        )

    @property
    def default_gap(self) -> int:
        """The frames between the blocks of the clip in a split, unless another number is asked for."""
        every: float = self.every or 1
        if self.source_rate and self.frame_rate and 0 < self.frame_rate <= self.source_rate <= _MOST_RATE:
            every = self.source_rate / self.frame_rate
        return default_gap(every if 1 <= every <= _MOST_EVERY else 1)

    def to_dict(self) -> dict[str, Any]:
        """For dataset.yaml; `parse` is its inverse."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class ImportanceRecord:
    """How importance was made; None for what dataset.yaml does not record.

    formula, hr_folder (of the HR frames; key `clear`), scale, mb_size: of tools/make_importance.py. file: the name of
    the file that tools/make_seg_dataset.py imported instead. read_as: what that was taken for, for people.
    """

    formula: str | None = None
    hr_folder: str | None = None
    scale: int | None = None
    mb_size: int | None = None
    file: str | None = None
    read_as: str | None = None

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> "ImportanceRecord":
        return cls(
            formula=_typed(value, "formula", str),
            hr_folder=_typed(value, "clear", str),
            scale=_typed(value, "scale", int),
            mb_size=_typed(value, "mb_size", int),
            file=_typed(value, "file", str),
            read_as=_typed(value, "read_as", str),
        )

    def to_dict(self) -> dict[str, Any]:
        """For dataset.yaml, without what is None; `parse` is its inverse."""
        values = {"clear" if key == "hr_folder" else key: value for key, value in asdict(self).items()}
        return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True)
class SplitRecord:
    """How frames were split; the defaults where dataset.yaml does not record it.

    by: 'block' or 'clip'. ratios: {'train', 'val', 'test'}, unchecked. gap: frames between the blocks of a clip, None
    where clips differ: the default of each.
    frames: how many in each split and 'unused'. clips: those of each split, when it is by clip.
    """

    by: str | None = None
    ratios: Mapping[str, Any] = field(default_factory=dict)
    gap: int | None = 0
    frames: Mapping[str, Any] = field(default_factory=dict)
    clips: Mapping[str, list[str]] = field(default_factory=dict)

    @classmethod
    def parse(cls, path: Path, value: Mapping[str, Any]) -> "SplitRecord":
        """InputError for a gap or clips that cannot be."""
        gap = value.get("gap", 0)
        if gap is not None and (type(gap) is not int or gap < 0):
            raise InputError(f"{path}: split.gap is {gap!r}; make the labels again")
        clips = value.get("clips", {})
        listed = list(clips.values()) if isinstance(clips, dict) else [None]
        names = [name for given in listed if isinstance(given, list) for name in given]
        if not all(isinstance(given, list) for given in listed) or len({*map(repr, names)}) < len(names):
            raise InputError(f"{path}: split is broken; remove it and make the labels again")
        ratios, frames = (_typed(value, key, dict) or {} for key in ("ratios", "frames"))
        return cls(_typed(value, "by", str), ratios, gap, frames, clips)

    def to_dict(self) -> dict[str, Any]:
        """For dataset.yaml, without clips where there are none; `parse` is its inverse."""
        return {key: value for key, value in asdict(self).items() if key != "clips" or value}


@dataclass(frozen=True)
class DatasetRecord:
    """dataset.yaml. Everything is a default, {} or None where it is not recorded (all of it in the flat layout).

    content: the mapping in the file, with keys that this version does not know. upscaler, detector: as
    `upscaler_record` and `detector_record` give them. made: for each part of the dataset, digests of what it was made
    from (see dataset/staleness.py). normaliser and level_pixels are unchecked: `read_normaliser` and
    `read_level_pixels` check them.
    """

    path: Path
    content: Mapping[str, Any]
    scale: int
    mb_size: int
    levels: int
    kit_version: str | None
    clips: Mapping[str, ClipRecord]
    upscaler: Mapping[str, Any] | None
    detector: Mapping[str, Any] | None
    importance: ImportanceRecord
    normaliser: Mapping[str, Any] | None
    split: SplitRecord
    level_pixels: Mapping[str, Any]
    made: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path) -> "DatasetRecord":
        """The record in a dataset.yaml, which may be missing. InputError where it is broken."""
        return cls.parse(path, read_yaml(path) if path.exists() else {})

    @classmethod
    def parse(cls, path: Path, content: Mapping[str, Any]) -> "DatasetRecord":
        """InputError where an edited file is broken: at once, not in the middle of the work."""
        scale = _number(path, content, "scale", SCALE, 1, MOST_SCALE)
        mb_size = _number(path, content, "mb_size", MB_SIZE, 1, MOST_MB_SIZE)
        levels = _number(path, content, "levels", LEVELS, 2, 255)
        for key in _MAPPINGS & content.keys():
            if not isinstance(content[key], dict):
                raise InputError(f"{path}: {key} is not a mapping; make the dataset again")
        for key in ("clips", "made"):
            if not all(isinstance(value, dict) for value in content.get(key, {}).values()):
                raise InputError(f"{path}: {key} is broken; make the dataset again")
        return cls(
            path=path,
            content=content,
            scale=scale,
            mb_size=mb_size,
            levels=levels,
            kit_version=_typed(content, "kit_version", str),
            clips={clip: ClipRecord.parse(value) for clip, value in content.get("clips", {}).items()},
            upscaler=content.get("upscaler"),
            detector=content.get("detector"),
            importance=ImportanceRecord.parse(content.get("importance", {})),
            normaliser=content.get("normaliser"),
            split=SplitRecord.parse(path, content.get("split", {})),
            level_pixels=content.get("level_pixels", {}),
            made=content.get("made", {}),
        )

    @property
    def is_empty(self) -> bool:
        """Whether there is no dataset.yaml, as in the flat layout."""
        return not self.content

    @property
    def recorded_scale(self) -> int | None:
        """The scale, None where it is not recorded."""
        return self.scale if "scale" in self.content else None

    def changed(self, **changes: Any) -> "DatasetRecord":
        """The record with other values for some keys, given as plain values that YAML can hold."""
        return self.parse(self.path, {"kit_version": __version__, **self.content, **changes})

    def clips_with(self, clip: str, record: ClipRecord) -> dict[str, Any]:
        """The value of `clips`, sorted, with another record of one clip."""
        return dict(sorted({**self.content.get("clips", {}), clip: record.to_dict()}.items()))

    def clips_without(self, clip: str) -> dict[str, Any]:
        """The value of `clips` without one clip."""
        return {name: value for name, value in self.content.get("clips", {}).items() if name != clip}

    def read_normaliser(self) -> Normaliser:
        """The normaliser that the labels were made with. InputError where there is none, or a broken one."""
        try:
            if self.normaliser is not None:
                return Normaliser.from_dict(self.normaliser)
        except (TypeError, ValueError):
            pass
        what = "has no normaliser" if self.normaliser is None else "normaliser is broken"
        raise InputError(f"{self.path}: {what}; run tools/make_seg_dataset.py again")

    def read_level_pixels(self) -> dict[str, np.ndarray] | None:
        """Pixels of each level in each split, float64 [levels]; None where they are not recorded. InputError where
        they are broken.
        """
        if not self.level_pixels:
            return None
        try:
            counts = {name: np.array(self.level_pixels[name], dtype=float).reshape(self.levels) for name in SPLITS}
        except (KeyError, TypeError, ValueError, OverflowError):
            raise InputError(f"{self.path}: level_pixels is broken; run tools/make_seg_dataset.py again") from None
        if not all(np.isfinite(pixels).all() and (pixels >= 0).all() for pixels in counts.values()):
            raise InputError(f"{self.path}: level_pixels are not counts; run tools/make_seg_dataset.py again")
        return counts


def _typed(values: Mapping[str, Any], key: str, *types: type) -> Any:
    """The value if its type is one of `types`, else None."""
    value = values.get(key)
    return value if type(value) in types else None


def _size(value: Any) -> tuple[int, int] | None:
    is_size = isinstance(value, list) and [type(side) for side in value] == [int, int]
    return (value[0], value[1]) if is_size else None


def _number(path: Path, content: Mapping[str, Any], key: str, default: int, least: int, most: int) -> int:
    value = content.get(key, default)
    if type(value) is not int or not least <= value <= most:
        raise InputError(f"{path}: {key} is {str(value)[:40]}, expected a whole number from {least} to {most}")
    return value
