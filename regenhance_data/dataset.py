"""The dataset folder: where its files lie, what made it (dataset.yaml), and its split lists.

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
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from regenhance_data import __version__
from regenhance_data.cli import InputError
from regenhance_data.files import read_image, read_yaml, write_text, write_yaml, written_whole
from regenhance_data.grid import MacroblockGrid

ORIGIN, LABELS = "origin_images", "labels"
SPLITS = ("train", "val", "test")
MB_SIZE, SCALE, LEVELS = 16, 3, 10
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}
FLAT_CLIP = "importance"  # the file name that stands for the unnamed clip: importance/importance.npz
_MAPPINGS = {"clips", "upscaler", "detector", "importance", "normaliser", "split", "level_pixels"}
_CLIP_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def clip_id(name: str) -> str:
    """A file-name-safe clip id from any name: other characters than letters, digits, '.', '_', '-' become '_'."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".-")[:100]
    return cleaned or "clip"


@dataclass(frozen=True)
class Frame:
    """One origin image: its clip, its number (the file name, or its place in the order) and its file name."""

    clip: str
    number: int
    name: str


class Dataset:
    """A dataset folder. `info` is the content of dataset.yaml, {} where there is none (the flat layout)."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"{self.root}: is a file, not a dataset folder; give --data a folder")
        yaml_path = self.root / "dataset.yaml"
        self.info: dict[str, Any] = read_yaml(yaml_path) if yaml_path.exists() else {}
        self._refuse_odd_info()

    @classmethod
    def open(cls, root: str | Path) -> "Dataset":
        """An existing dataset with at least one origin image. InputError otherwise."""
        dataset = cls(root)
        if not dataset.clips():
            raise InputError(f"{dataset.root}: no frames in {ORIGIN}/; make them with tools/extract.py --data")
        return dataset

    def save(self, **changes: Any) -> None:
        """Set the given keys of dataset.yaml and write it, whole or not at all."""
        self.info = {"kit_version": __version__, **self.info, **changes}
        write_yaml(self.root / "dataset.yaml", self.info)

    def _refuse_odd_info(self) -> None:
        """A dataset.yaml that somebody edited is refused at once, not half way through the work."""
        for key, default, least in (("scale", SCALE, 1), ("mb_size", MB_SIZE, 1), ("levels", LEVELS, 2)):
            self._number(key, default, least)
        for key in _MAPPINGS & self.info.keys():
            if not isinstance(self.info[key], dict):
                raise InputError(f"{self.root / 'dataset.yaml'}: {key} is no mapping; make the dataset again")

    def _number(self, key: str, default: int, least: int) -> int:
        value = self.info.get(key, default)
        if type(value) is not int or value < least:
            raise InputError(f"{self.root / 'dataset.yaml'}: {key} is {value!r}, expected a whole number >= {least}")
        return value

    @property
    def scale(self) -> int:
        return self._number("scale", SCALE, 1)

    @property
    def mb_size(self) -> int:
        return self._number("mb_size", MB_SIZE, 1)

    @property
    def levels(self) -> int:
        return self._number("levels", LEVELS, 2)

    def clips(self) -> list[str]:
        """The ids of the clips that have a folder of frames, sorted; [""] for the flat layout."""
        folder = self.root / ORIGIN
        if not folder.is_dir():
            return []
        ids = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        for name in ids:
            if not _CLIP_ID.fullmatch(name):
                raise InputError(f"{folder / name}: name clips with letters, digits, '.', '_' and '-' alone")
        if not ids and any(_is_image(p) for p in folder.iterdir()):
            return [""]
        return [i for i in ids if any(_is_image(p) for p in (folder / i).iterdir())]

    def frames(self, clip: str, folder: str = ORIGIN) -> list[Frame]:
        """The frames of a clip in order. Numbers come from file names of digits alone, else from the order."""
        directory = self.root / folder / clip
        names = sorted(p.name for p in directory.iterdir() if _is_image(p)) if directory.is_dir() else []
        stems = [Path(n).stem for n in names]
        if all(s.isdecimal() and s.isascii() and len(s) < 12 for s in stems):
            return sorted((Frame(clip, int(s), n) for s, n in zip(stems, names, strict=True)), key=lambda f: f.number)
        return [Frame(clip, i, n) for i, n in enumerate(names)]

    def path(self, folder: str, frame: Frame) -> Path:
        """Where the picture of `frame` lies in `folder` (everything but origin images is PNG)."""
        name = frame.name if folder == ORIGIN else Path(frame.name).stem + ".png"
        return self.root / folder / frame.clip / name

    def read(self, folder: str, frame: Frame) -> np.ndarray:
        """The picture of `frame` in `folder`: RGB, uint8 [H, W, 3]."""
        return read_image(self.path(folder, frame))

    def importance_path(self, clip: str) -> Path:
        return self.root / "importance" / f"{clip or FLAT_CLIP}.npz"

    def importance(self, clip: str) -> dict[int, np.ndarray]:
        """The importance of a clip's frames by number, float32 [rows, cols]; InputError as `read_importance`."""
        importance, numbers = read_importance(self.importance_path(clip))
        return dict(zip(numbers.tolist(), importance, strict=True))

    def grid(self, clip: str) -> MacroblockGrid:
        """The macroblock grid of a clip's origin images, from its first frame."""
        height, width = self.read(ORIGIN, self.frames(clip)[0]).shape[:2]
        return MacroblockGrid(height, width, self.mb_size)

    def write_split(self, name: str, frames: Sequence[Frame]) -> None:
        """Write train.txt, val.txt or test.txt."""
        lines = [f"{self._relative(ORIGIN, f)} {self._relative(LABELS, f)}\n" for f in frames]
        write_text(self.root / f"{name}.txt", "".join(lines))

    def remove_lists(self) -> None:
        """Remove train.txt, val.txt and test.txt, which vouch for labels that are about to change."""
        for name in SPLITS:
            (self.root / f"{name}.txt").unlink(missing_ok=True)

    def _relative(self, folder: str, frame: Frame) -> str:
        return self.path(folder, frame).relative_to(self.root).as_posix()

    def read_split(self, name: str) -> list[tuple[str, str]]:
        """The (image, label) pairs of a split list, relative to the root; none may lead out of the folder."""
        path = self.root / f"{name}.txt"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; make it with tools/make_seg_dataset.py") from None
        except UnicodeDecodeError:
            raise InputError(f"{path}: is not a text file") from None
        pairs = []
        for number, line in enumerate(lines, 1):
            parts = line.split(" ")
            if len(parts) != 2 or not all(parts):
                raise InputError(f"{path}:{number}: expected 'image label' with one space, found {line[:80]!r}")
            for part in parts:
                self.inside(part, f"{path}:{number}")
            pairs.append((parts[0], parts[1]))
        return pairs

    def inside(self, relative: str, where: str) -> Path:
        """The path of an entry that an untrusted list names. InputError if it would leave the dataset folder."""
        pure = PurePosixPath(relative)
        path = self.root / relative
        if pure.is_absolute() or ".." in pure.parts or not path.resolve().is_relative_to(self.root.resolve()):
            raise InputError(f"{where}: {relative[:80]!r} leads out of the dataset folder; list only files inside it")
        return path

    def split_frames(self, name: str) -> list[Frame]:
        """The frames of a split list, in its order."""
        known = {self._relative(ORIGIN, f): f for clip in self.clips() for f in self.frames(clip)}
        try:
            return [known[image] for image, _ in self.read_split(name)]
        except KeyError as error:
            raise InputError(f"{self.root / (name + '.txt')}: lists {error.args[0]!r}, which does not exist") from None


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def blurred_frame(origin: np.ndarray, scale: int) -> np.ndarray:
    """The origin image interpolated up (bilinear) by `scale`: uint8 [H, W, 3] → uint8 [H·scale, W·scale, 3]."""
    height, width = origin.shape[:2]
    return cv2.resize(origin, (width * scale, height * scale), interpolation=cv2.INTER_LINEAR)


def write_importance(path: Path, importance: np.ndarray, frames: np.ndarray) -> None:
    """Write `importance` [T, rows, cols] (kept as float32) and the frame numbers [T] (int64), whole or not at all."""
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, importance=importance.astype(np.float32), frames=frames.astype(np.int64))


def read_importance(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(importance float32 [T, rows, cols], frames int64 [T]) from an .npz; no pickled content is ever loaded.

    InputError when the file is missing, broken, of other shapes, or has values that are NaN, infinite or negative.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; make it with tools/make_importance.py")
    try:
        with np.load(path, allow_pickle=False) as archive:
            importance, frames = archive["importance"], archive["frames"]
    except (ValueError, KeyError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is no importance file ({' '.join(str(error).split())[:80]})") from None
    if importance.ndim != 3 or frames.shape != importance.shape[:1] or not np.issubdtype(frames.dtype, np.integer):
        raise InputError(
            f"{path}: expected importance [T, rows, cols] and whole frame numbers [T], "
            f"found {list(importance.shape)} and {list(frames.shape)}"
        )
    if not np.issubdtype(importance.dtype, np.floating):
        raise InputError(f"{path}: importance is {importance.dtype}, expected float32")
    return checked_importance(path, importance), frames.astype(np.int64, copy=False)


def checked_importance(path: Path, importance: np.ndarray) -> np.ndarray:
    """`importance` [T, rows, cols] as float32. InputError for NaN, infinite (also as float32) or negative values."""
    with np.errstate(over="ignore"):
        importance = importance.astype(np.float32, copy=False)
    for wrong, what in ((~np.isfinite(importance), "NaN or infinite"), (importance < 0, "negative")):
        if wrong.any():
            place = int(np.argwhere(wrong)[0][0])
            raise InputError(f"{path}: {what} importance in its frame {place}; importance is finite and >= 0")
    return importance
