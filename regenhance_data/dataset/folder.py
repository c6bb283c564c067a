"""The dataset folder: paths, frames and split lists.

    my_dataset/
      dataset.yaml
      origin_images/<clip>/000000.png
      sr_images/<clip>/000000.png        (or hr_images/)
      importance/<clip>.npz              `importance` float32 [T, rows, cols], `frames` int64 [T]
      labels/<clip>/000000.png
      train.txt val.txt test.txt         'origin_images/<clip>/000000.png labels/<clip>/000000.png'

The flat layout of the published guide (`origin_images/*.png`, `labels/*.png`) is a dataset with one unnamed clip, "".
"""

import re
import shutil
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from regenhance_data.console import tell
from regenhance_data.dataset.importance_file import ImportanceFile, read_importance
from regenhance_data.dataset.records import ClipRecord, DatasetRecord
from regenhance_data.dataset.split import SPLITS
from regenhance_data.dataset.split_lists import read_pairs
from regenhance_data.dataset.staging import discard_staged, finish_publishing, staging_folder
from regenhance_data.defaults import SCALES
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import locked, write_text, write_yaml
from regenhance_data.io.images import read_image
from regenhance_data.io.leftovers import remove_unfinished

LR_FRAMES, LABELS, IMPORTANCE = "origin_images", "labels", "importance"
HR_FOLDERS = HR_IMAGES, SR_IMAGES = "hr_images", "sr_images"  # where both exist, the originals are used
IMAGES = (LR_FRAMES, *HR_FOLDERS, LABELS)
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}
FLAT_CLIP = "importance"  # the file name of the unnamed clip: importance/importance.npz
PARTIAL = ".partial-"  # how the name of a folder of frames begins until it is complete
T = TypeVar("T")
_CLIP_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def clip_id(name: str) -> str:
    """A file-name-safe clip id from any name: other characters than letters, digits, '.', '_', '-' become '_'.

    A name in another script, or of more than 100 characters, keeps what can be kept of it, and ends with its hash.
    """
    if name.isascii() and len(_cleaned(name)) <= 100:
        return former_clip_id(name)
    same = unicodedata.normalize("NFC", name)  # file systems differ in how they write accents
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return hashed_clip_id(_cleaned(plain).strip("_"), same)


def former_clip_id(name: str) -> str:
    """The id that earlier kits gave, where names in other scripts could become equal."""
    return _cleaned(name)[:100] or "clip"


def hashed_clip_id(readable: str, name: str) -> str:
    """A clip id that begins as `readable` and differs for each `name`."""
    return f"{clip_id(readable[:90])}-{sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def _cleaned(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".-")


def hr_maker(folder: str) -> str:
    """The command that makes a folder of HR frames, for errors."""
    return "tools/extract.py --keep_hr" if folder == HR_IMAGES else "tools/super_resolve.py --data"


@dataclass(frozen=True, slots=True)
class Frame:
    """One LR frame: its clip, its number (the file name, or its position in the order) and its file name."""

    clip: str
    number: int
    name: str

    @property
    def stem(self) -> str:
        """The file name without its suffix, which all images of the frame share."""
        return self.name.rpartition(".")[0]


class Dataset:
    """A dataset folder. `record` is dataset.yaml, empty where there is none (the flat layout)."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"{self.root}: is a file, not a dataset folder; give --data a folder")
        self.record = DatasetRecord.read(self.root / "dataset.yaml")

    @classmethod
    def open(cls, root: str | Path) -> "Dataset":
        """An existing dataset with at least one LR frame. InputError otherwise."""
        dataset = cls(root)
        if not dataset.clips():
            raise InputError(f"{dataset.root}: no frames in {LR_FRAMES}/; make them with tools/extract.py --data")
        return dataset

    @classmethod
    @contextmanager
    def writing(cls, root: str | Path, new: bool = False) -> Iterator["Dataset"]:
        """An existing dataset (or, if `new`, perhaps a new one), locked for writing until the end of the block.

        Unfinished files of a killed run are removed, and complete ones moved in. InputError where another run has the
        lock, and as `open`.
        """
        make = cls if new else cls.open
        make(root)  # refuses before there is a lock
        with locked(Path(root) / ".lock"):
            dataset = make(root)
            for part in (SR_IMAGES, IMPORTANCE):
                finish_publishing(dataset.root, part, dataset.save)
            dataset._remove_unfinished()
            yield dataset

    def _remove_unfinished(self) -> None:
        remove_unfinished(self.root)
        remove_unfinished(self.root / IMPORTANCE)
        folders = [self.root / images for images in IMAGES]
        for partial in (path for folder in (self.root, *folders) for path in folder.glob(f"{PARTIAL}*")):
            shutil.rmtree(partial)
        if not any(path.is_dir() for path in (self.root / staging_folder(LR_FRAMES)).glob("*")):
            discard_staged(self.root, LR_FRAMES)  # it holds no frames to go on with
        for folder in folders:
            for clip in self.clips():
                remove_unfinished(folder / clip)
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def save(self, **changes: Any) -> None:
        """Set the given keys of dataset.yaml to plain values and write it atomically."""
        self.record = self.record.changed(**changes)
        write_yaml(self.record.path, dict(self.record.content))

    @property
    def scale(self) -> int:
        return self.record.scale

    @property
    def mb_size(self) -> int:
        return self.record.mb_size

    @property
    def levels(self) -> int:
        return self.record.levels

    def clips(self) -> list[str]:
        """The ids of the clips that have a folder of frames, sorted; [""] for the flat layout."""
        folder = self.root / LR_FRAMES
        if not folder.is_dir():
            return []
        ids = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        for name in ids:
            if not _CLIP_ID.fullmatch(name):
                raise InputError(f"{folder / name}: name clips with only letters, digits, '.', '_' and '-'")
        if not ids and any(_is_image(p) for p in folder.iterdir()):
            return [""]
        return [i for i in ids if any(_is_image(p) for p in (folder / i).iterdir())]

    def frames(self, clip: str, folder: str = LR_FRAMES) -> list[Frame]:
        """The frames of a clip in order: frame_2 before frame_10. Their numbers are the file names if all of them are
        digits, else 0, 1, …
        """
        directory = self.root / folder / clip
        names = in_order(p.name for p in directory.iterdir() if _is_image(p)) if directory.is_dir() else []
        if _are_numbers(names):
            return sorted((Frame(clip, int(n.rpartition(".")[0]), n) for n in names), key=lambda f: f.number)
        return [Frame(clip, i, n) for i, n in enumerate(names)]

    def path(self, folder: str, frame: Frame) -> Path:
        """The path of the image of `frame` in `folder` (all but LR frames are PNG)."""
        return self.root / _relative(folder, frame)

    def read(self, folder: str, frame: Frame) -> np.ndarray:
        """The image of `frame` in `folder`: RGB, uint8 [H, W, 3]."""
        return read_image(self.path(folder, frame))

    def read_hr(self, folder: str, frame: Frame, lr: np.ndarray) -> np.ndarray:
        """The HR frame of `frame` in `folder`, whose LR frame is `lr` [H, W, 3]: RGB, uint8 [H·scale, W·scale, 3].

        InputError where it has another size.
        """
        hr, (height, width) = self.read(folder, frame), lr.shape[:2]
        if hr.shape[:2] != (height * self.scale, width * self.scale):
            other = None if self._is_of_kit(folder) else _scale_between(lr, hr)
            way_out = (
                f"write 'scale: {other}' into {self.record.path}, if all HR frames are so large, or " if other else ""
            )
            raise InputError(
                f"{self.path(folder, frame)}: is {hr.shape[1]}x{hr.shape[0]}, expected "
                f"{width * self.scale}x{height * self.scale} ({self.scale} times the LR frame's {width}x{height}); "
                f"{way_out}make it again with {hr_maker(folder)}"
            )
        return hr

    def _is_of_kit(self, folder: str) -> bool:
        """Whether dataset.yaml records that this kit made the HR frames in `folder`."""
        return self.keeps_hr if folder == HR_IMAGES else self.record.upscaler is not None

    def record_scale(self, folder: str) -> None:
        """Where dataset.yaml has no scale, record that of the first HR frame in `folder`, and tell it: other software
        made the frames. Nothing is recorded where they are not a whole number of times as large, from 2 to 8.
        """
        frame = self.frames(self.clips()[0])[0]
        if self.record.recorded_scale is None and (
            scale := _scale_between(self.read(LR_FRAMES, frame), self.read(folder, frame))
        ):
            self.save(scale=scale)
            tell(
                f"{self.root / folder}: {scale} times as large as the LR frames; {self.record.path} records this scale"
            )

    def images(self, folder: str, clip: str) -> list[Path]:
        """The image files of a clip in `folder`, in no order."""
        return [path for path in (self.root / folder / clip).iterdir() if _is_image(path)]

    def hr_folder(self, wanted: str | None = None) -> str:
        """The name of the folder of HR frames: `wanted`, else hr_images if it exists, else sr_images.

        InputError where it does not exist.
        """
        existing = next((name for name in HR_FOLDERS if (self.root / name).is_dir()), None)
        if wanted not in HR_FOLDERS:
            wanted = existing or (HR_IMAGES if self.keeps_hr else SR_IMAGES)
        if not (self.root / wanted).is_dir():
            others = f", or give --clear {existing}, which exists" if existing else ""
            raise InputError(f"{self.root / wanted}: no such folder; make it with {hr_maker(wanted)}{others}")
        return wanted

    @property
    def keeps_hr(self) -> bool:
        """Whether dataset.yaml records that the clips were extracted with their original HR frames."""
        return any(self.record.clips[clip].keep_hr for clip in self.clips() if clip in self.record.clips)

    def refuse_missing_originals(self, frames: Sequence[Frame]) -> None:
        """InputError now, not in the middle of the work, where a frame has no original HR frame."""
        missing = [path for frame in frames if not (path := self.path(HR_IMAGES, frame)).is_file()]
        if missing:
            raise InputError(
                f"{missing[0]}: no such HR frame ({len(missing)} of {len(frames)} are missing); extract its clip again "
                "with tools/extract.py --keep_hr, or leave it out"
            )

    def is_sampled(self, clip: str) -> bool:
        """Whether dataset.yaml records that only some frames of the clip's video were extracted (`every`, `fps`)."""
        record = self.record.clips.get(clip, ClipRecord())
        return (record.every or 1) > 1 or record.fps is not None

    def refuse_numbers_of_video(self, file: Path, clip: str, numbers: Collection[int]) -> None:
        """InputError where `file` numbers the frames of a sampled clip as in its video: beyond the last frame."""
        last, most = self.frames(clip)[-1].number, max(numbers, default=0)
        # of the first frames of a longer clip, they may be numbered rightly
        is_cut = self.record.clips.get(clip, ClipRecord()).max_frames is not None
        if self.is_sampled(clip) and not is_cut and most > last:
            raise InputError(
                f"{file}: has frame {most}, the clip ends with {last}: only some frames of its video were extracted; "
                f"number them as the files in {self.root / LR_FRAMES / clip}"
            )

    def importance_path(self, clip: str, folder: str = IMPORTANCE) -> Path:
        return self.root / folder / f"{clip or FLAT_CLIP}.npz"

    def importance_parts(self, clip: str, folder: str = IMPORTANCE) -> Path:
        """The folder of a clip's importance until it is complete: a file for each chunk."""
        path = self.importance_path(clip, folder)
        return path.with_name(f".parts-{path.stem}")

    def importance_file(self, clip: str) -> "ImportanceFile":
        return ImportanceFile(self.importance_path(clip))

    def importance(self, clip: str) -> dict[int, np.ndarray]:
        """The importance of a clip's frames by number, float32 [rows, cols]; InputError as `read_importance`."""
        importance, numbers = read_importance(self.importance_path(clip))
        return dict(zip(numbers.tolist(), importance, strict=True))

    def grid(self, clip: str) -> MacroblockGrid:
        """The macroblock grid of a clip's LR frames, from its first frame."""
        height, width = self.read(LR_FRAMES, self.frames(clip)[0]).shape[:2]
        return MacroblockGrid(height, width, self.mb_size)

    def write_split(self, name: str, frames: Sequence[Frame]) -> None:
        """Write train.txt, val.txt or test.txt."""
        lines = [f"{_relative(LR_FRAMES, f)} {_relative(LABELS, f)}\n" for f in frames]
        write_text(self.root / f"{name}.txt", "".join(lines))

    def remove_lists(self) -> None:
        """Remove train.txt, val.txt and test.txt, before the labels they list change."""
        for name in SPLITS:
            (self.root / f"{name}.txt").unlink(missing_ok=True)

    def read_split(self, name: str, separator: str | None = None) -> list[tuple[str, str]]:
        """The (image, label) pairs of a split list, relative to the root, as `split_lists.read_pairs`."""
        return read_pairs(self.root / f"{name}.txt", separator)

    def all_frames(self) -> list[Frame]:
        """The frames of all clips, in order."""
        return [frame for clip in self.clips() for frame in self.frames(clip)]

    def chosen_frames(self, split: str, clips: Sequence[str] | None = None, every: int = 1) -> dict[str, list[Frame]]:
        """{clip: every n-th of its frames of a split ("all": all)}, of some clips or of all that have such frames.

        InputError for clips that do not exist or have no such frame, named as flags.
        """
        there = self.clips()
        if unknown := [clip for clip in clips or () if clip not in there]:
            known = ", ".join(there) if there != [""] else "one clip without a name, so omit --clips"
            raise InputError(f"--clips {' '.join(unknown)}: {self.root} has no such clip; there are: {known}")
        found: dict[str, list[Frame]] = {}
        for frame in self.all_frames() if split == "all" else self.split_frames(split):
            if not clips or frame.clip in clips:
                found.setdefault(frame.clip, []).append(frame)
        if without := [clip for clip in clips or () if clip not in found]:
            raise InputError(f"--clips {' '.join(without)}: no frame of it is in {split}.txt; use --split all")
        return {clip: some[::every] for clip, some in found.items()}

    def split_frames(self, name: str, separator: str | None = None) -> list[Frame]:
        """The frames of a split list, in its order."""
        known = {_relative(LR_FRAMES, f): f for clip in self.clips() for f in self.frames(clip)}
        try:
            return [known[image] for image, _ in self.read_split(name, separator)]
        except KeyError as error:
            raise InputError(f"{self.root / (name + '.txt')}: lists {error.args[0]!r}, which does not exist") from None


def _relative(folder: str, frame: Frame) -> str:
    name = frame.name if folder == LR_FRAMES else f"{frame.stem}.png"
    return f"{folder}/{frame.clip}/{name}" if frame.clip else f"{folder}/{name}"


def _scale_between(lr: np.ndarray, hr: np.ndarray) -> int | None:
    """How many times as large `hr` [H, W, 3] is as `lr`, None unless that is one of the scales."""
    scale = hr.shape[0] // lr.shape[0]
    return scale if scale in SCALES and hr.shape[:2] == (lr.shape[0] * scale, lr.shape[1] * scale) else None


def in_order(names: Iterable[str]) -> list[str]:
    """File names sorted by the numbers in them, as people number files; by letters where all are nothing but numbers,
    which frames have for their own.
    """

    def key(name: str) -> tuple[list[str | int], str]:
        return [int(part) if place % 2 else part for place, part in enumerate(re.split("([0-9]+)", name))], name

    names = list(names)
    return sorted(names) if _are_numbers(names) else sorted(names, key=key)


def evenly_spread(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of the items, such as frames, with equal steps from the first to the last."""
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, min(most, len(items)))]


def _are_numbers(names: Iterable[str]) -> bool:
    stems = [name.rpartition(".")[0] for name in names]
    return all(stem.isdecimal() and stem.isascii() and len(stem) < 12 for stem in stems)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
