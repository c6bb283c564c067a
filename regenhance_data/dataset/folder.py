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

import hashlib
import json
import math
import re
import shutil
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import cv2
import numpy as np

from regenhance_data import __version__
from regenhance_data.cli import InputError, warn
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import (
    locked,
    read_image,
    read_yaml,
    remove_unfinished,
    sha256,
    write_text,
    write_yaml,
    written_whole,
)

ORIGIN, LABELS, IMPORTANCE = "origin_images", "labels", "importance"
CLEAR_FOLDERS = ("hr_images", "sr_images")  # where both are there, the originals count
IMAGES = (ORIGIN, *CLEAR_FOLDERS, LABELS)
SPLITS = ("train", "val", "test")
MB_SIZE, SCALE, LEVELS = 16, 3, 10
MOST_MB_SIZE = 1024
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}
FLAT_CLIP = "importance"  # the file name that stands for the unnamed clip: importance/importance.npz
PARTIAL = ".partial-"  # how the name of a folder of frames begins until all are there
_MAPPINGS = {"clips", "upscaler", "detector", "importance", "normaliser", "split", "level_pixels", "made"}
_MOST_FRAMES, _MOST_CELLS = 10**7, 10**6  # of an importance file that can be one: four days of video, 16K frames
_BLOCK_CELLS = 2**16  # of importance read at once: with what is made of them a few megabytes
_PIXELS_AT = 33  # where in a PNG its second chunk begins
_END_BYTES = 64  # of a PNG without words or times, they hold its pixels' checksum
_BROKEN_ARCHIVE = (
    *(ValueError, KeyError, OSError, EOFError, TypeError, RuntimeError, SyntaxError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)
_CLIP_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def clip_id(name: str) -> str:
    """A file-name-safe clip id from any name: other characters than letters, digits, '.', '_', '-' become '_'."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".-")[:100]
    return cleaned or "clip"


@dataclass(frozen=True, slots=True)
class Frame:
    """One origin image: its clip, its number (the file name, or its place in the order) and its file name."""

    clip: str
    number: int
    name: str

    @property
    def stem(self) -> str:
        """The file name without its suffix, which each picture of the frame has."""
        return self.name.rpartition(".")[0]


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

    @classmethod
    @contextmanager
    def writing(cls, root: str | Path, new: bool = False) -> Iterator["Dataset"]:
        """An existing dataset (or, if `new`, perhaps a new one) for the one run that writes to it.

        It is locked until the end of the block, and rid of what a killed run left unfinished. InputError where another
        run is at work on it, and as `open`.
        """
        make = cls if new else cls.open
        make(root)  # refuses before there is a lock
        with locked(Path(root) / ".lock"):
            dataset = make(root)
            dataset._remove_unfinished()
            yield dataset

    def _remove_unfinished(self) -> None:
        remove_unfinished(self.root)
        remove_unfinished(self.root / IMPORTANCE)
        folders = [self.root / images for images in IMAGES]
        for partial in (path for folder in (self.root, *folders) for path in folder.glob(f"{PARTIAL}*")):
            shutil.rmtree(partial)
        for folder in folders:
            for clip in self.clips():
                remove_unfinished(folder / clip)
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def save(self, **changes: Any) -> None:
        """Set the given keys of dataset.yaml and write it, whole or not at all."""
        self.info = {"kit_version": __version__, **self.info, **changes}
        write_yaml(self.root / "dataset.yaml", self.info)

    def renew(self, what: str, digests: Mapping[str, str], remove: Callable[[str], None], **changes: Any) -> None:
        """Let dataset.yaml say that `what` of each clip is made from inputs of these digests, and make the `changes`.

        What was made of others is removed first. So whatever is there was made from what dataset.yaml says, whenever
        a run is cut off, and the next run of the same command goes on with it.
        """
        made = self.info.get("made", {})
        stale = [clip for clip in self.clips() if made.get(what, {}).get(clip) != digests[clip]]
        if any(clip in made.get(what, {}) for clip in stale):
            warn(f"{self.root / what}: is of other settings or frames and is made anew")
        for clip in stale:
            remove(clip)
        changes["made"] = {**made, what: dict(digests)}
        if any(self.info.get(key) != value for key, value in changes.items()):
            self.save(**changes)

    def _refuse_odd_info(self) -> None:
        """A dataset.yaml that somebody edited is refused at once, not half way through the work."""
        self.scale, self.mb_size, self.levels  # noqa: B018  each refuses what it cannot be
        for key in _MAPPINGS & self.info.keys():
            if not isinstance(self.info[key], dict):
                raise InputError(f"{self.root / 'dataset.yaml'}: {key} is no mapping; make the dataset again")
        for key in ("clips", "made"):
            if not all(isinstance(value, dict) for value in self.info.get(key, {}).values()):
                raise InputError(f"{self.root / 'dataset.yaml'}: {key} is broken; make the dataset again")
        gap = self.info.get("split", {}).get("gap", 0)
        if type(gap) is not int or gap < 0:
            raise InputError(f"{self.root / 'dataset.yaml'}: split.gap is {gap!r}; make the labels again")
        parted = self.info.get("split", {}).get("clips", {})
        listed = list(parted.values()) if isinstance(parted, dict) else [None]
        names = [name for given in listed if isinstance(given, list) for name in given]
        if not all(isinstance(given, list) for given in listed) or len({*map(repr, names)}) < len(names):
            raise InputError(f"{self.root / 'dataset.yaml'}: split is broken; remove it and make the labels again")

    def _number(self, key: str, default: int, least: int, most: int) -> int:
        value = self.info.get(key, default)
        if type(value) is not int or not least <= value <= most:
            expected = f"expected a whole number from {least} to {most}"
            raise InputError(f"{self.root / 'dataset.yaml'}: {key} is {str(value)[:40]}, {expected}")
        return value

    @property
    def scale(self) -> int:
        return self._number("scale", SCALE, 1, 16)

    @property
    def mb_size(self) -> int:
        return self._number("mb_size", MB_SIZE, 1, MOST_MB_SIZE)

    @property
    def levels(self) -> int:
        return self._number("levels", LEVELS, 2, 255)

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
        stems = [n.rpartition(".")[0] for n in names]
        if all(s.isdecimal() and s.isascii() and len(s) < 12 for s in stems):
            return sorted((Frame(clip, int(s), n) for s, n in zip(stems, names, strict=True)), key=lambda f: f.number)
        return [Frame(clip, i, n) for i, n in enumerate(names)]

    def path(self, folder: str, frame: Frame) -> Path:
        """Where the picture of `frame` lies in `folder` (everything but origin images is PNG)."""
        return self.root / _relative(folder, frame)

    def read(self, folder: str, frame: Frame) -> np.ndarray:
        """The picture of `frame` in `folder`: RGB, uint8 [H, W, 3]."""
        return read_image(self.path(folder, frame))

    def importance_path(self, clip: str) -> Path:
        return self.root / IMPORTANCE / f"{clip or FLAT_CLIP}.npz"

    def importance_file(self, clip: str) -> "ImportanceFile":
        return ImportanceFile(self.importance_path(clip))

    def importance(self, clip: str) -> dict[int, np.ndarray]:
        """The importance of a clip's frames by number, float32 [rows, cols]; InputError as `read_importance`."""
        importance, numbers = read_importance(self.importance_path(clip))
        return dict(zip(numbers.tolist(), importance, strict=True))

    def fingerprint(self, folder: str, clip: str) -> str:
        """A hash of the names and contents of a clip's pictures in `folder`: where it changes, they have changed."""
        directory = self.root / folder / clip
        return digest(sorted((p.name, p.stat().st_size, _mark(p)) for p in directory.iterdir() if _is_image(p)))

    def importance_digest(self, clip: str, detector: Mapping[str, Any], importance: Mapping[str, Any]) -> str:
        """What the importance of a clip depends on: dataset.yaml's `detector` and `importance`, and the pictures."""
        clear = str(importance.get("clear"))
        clear_frames = self.fingerprint(clear, clip) if (self.root / clear / clip).is_dir() else None
        return digest([detector, importance, self.fingerprint(ORIGIN, clip), clear_frames])

    def refuse_stale_importance(self, clip: str) -> None:
        """InputError where the importance of a clip is recorded to be of other pictures than are there now.

        Nothing is known of importance from elsewhere, nor once the clear frames were removed to free the disk.
        """
        made = self.info.get("made", {}).get(IMPORTANCE, {}).get(clip)
        detector, importance = (self.info.get(key) for key in ("detector", IMPORTANCE))
        if made is None or detector is None or importance is None or not self.importance_path(clip).exists():
            return
        has_clear = (self.root / str(importance.get("clear")) / clip).is_dir()
        if has_clear and made != self.importance_digest(clip, detector, importance):
            raise InputError(
                f"{self.importance_path(clip)}: is of other frames than these; run tools/make_importance.py again"
            )

    def grid(self, clip: str) -> MacroblockGrid:
        """The macroblock grid of a clip's origin images, from its first frame."""
        height, width = self.read(ORIGIN, self.frames(clip)[0]).shape[:2]
        return MacroblockGrid(height, width, self.mb_size)

    def write_split(self, name: str, frames: Sequence[Frame]) -> None:
        """Write train.txt, val.txt or test.txt."""
        lines = [f"{_relative(ORIGIN, f)} {_relative(LABELS, f)}\n" for f in frames]
        write_text(self.root / f"{name}.txt", "".join(lines))

    def remove_lists(self) -> None:
        """Remove train.txt, val.txt and test.txt, which vouch for labels that are about to change."""
        for name in SPLITS:
            (self.root / f"{name}.txt").unlink(missing_ok=True)

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
        try:
            leads_out = not path.resolve().is_relative_to(self.root.resolve())
        except (ValueError, OSError, RuntimeError):  # a null character; a link to itself
            leads_out = True
        if pure.is_absolute() or ".." in pure.parts or leads_out:
            raise InputError(f"{where}: {relative[:80]!r} leads out of the dataset folder; list only files inside it")
        return path

    def split_frames(self, name: str) -> list[Frame]:
        """The frames of a split list, in its order."""
        known = {_relative(ORIGIN, f): f for clip in self.clips() for f in self.frames(clip)}
        try:
            return [known[image] for image, _ in self.read_split(name)]
        except KeyError as error:
            raise InputError(f"{self.root / (name + '.txt')}: lists {error.args[0]!r}, which does not exist") from None


def _relative(folder: str, frame: Frame) -> str:
    name = frame.name if folder == ORIGIN else f"{frame.stem}.png"
    return f"{folder}/{frame.clip}/{name}" if frame.clip else f"{folder}/{name}"


def _mark(path: Path) -> str:
    """What tells one content of a picture from another.

    Of a PNG that is nothing but pixels, as this kit writes them, the end alone is read: it holds a checksum of all
    pixels (zlib's Adler-32). Other writers put words or times before the pixels, and perhaps behind them: like files of
    other formats, theirs are hashed whole.
    """
    with path.open("rb") as file:
        head = file.read(_PIXELS_AT + 8)
        file.seek(max(path.stat().st_size - _END_BYTES, 0))
        end = file.read()
    is_plain = head.startswith(b"\x89PNG") and head.endswith(b"IDAT") and end.endswith(b"IEND\xaeB`\x82")
    return end.hex() if is_plain else sha256(path)


def digest(value: Any) -> str:
    """A short hash of a plain value (what JSON can hold), equal for equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def blurred_frame(origin: np.ndarray, scale: int) -> np.ndarray:
    """The origin image interpolated up (bilinear) by `scale`: uint8 [H, W, 3] → uint8 [H·scale, W·scale, 3]."""
    height, width = origin.shape[:2]
    return cv2.resize(origin, (width * scale, height * scale), interpolation=cv2.INTER_LINEAR)


def write_importance(path: Path, importance: np.ndarray, frames: np.ndarray) -> None:
    """Write `importance` [T, rows, cols] (kept as float32) and the frame numbers [T] (int64), whole or not at all."""
    with written_whole(path) as temporary, temporary.open("wb") as file:
        # not compressed: it would save a thousandth of what the frames take, and cost half of what labels do
        np.savez(file, importance=importance.astype(np.float32), frames=frames.astype(np.int64))


def read_importance(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(importance float32 [T, rows, cols], frames int64 [T]) from an .npz; no pickled content is ever loaded.

    InputError when the file is missing, broken, of other shapes, or has values that are NaN, infinite or negative.
    """
    file = ImportanceFile(path)
    maps = [importance for _, importance in file.blocks()]
    return np.concatenate(maps) if maps else np.zeros(file.shape, np.float32), file.numbers


class ImportanceFile:
    """An importance file, read in blocks of frames: `shape` is (T, rows, cols), `numbers` the frame numbers int64 [T].

    What its heads promise is checked before anything of that size is made. InputError as `read_importance`.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"{path}: no such file; make it with tools/make_importance.py")
        self.path = path
        with self._member("importance") as member:
            self.shape, dtype = _array_head(member)
        with self._member("frames") as member:
            numbers_shape, numbers_dtype = _array_head(member)
            if len(self.shape) != 3 or numbers_shape != self.shape[:1] or not np.issubdtype(numbers_dtype, np.integer):
                raise InputError(
                    f"{path}: expected importance [T, rows, cols] and whole frame numbers [T], "
                    f"found {list(self.shape)} and {list(numbers_shape)}"
                )
            if not np.issubdtype(dtype, np.floating):
                raise InputError(f"{path}: importance is {dtype}, expected float32")
            if self.shape[0] > _MOST_FRAMES or self.shape[1] * self.shape[2] > _MOST_CELLS:
                raise InputError(f"{path}: is said to hold importance {list(self.shape)}, which no clip has")
            self.numbers = _read_array(member, numbers_shape, numbers_dtype).astype(np.int64, copy=False)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(numbers int64 [n], importance float32 [n, rows, cols]), some megabytes at a time, in order."""
        at_once = max(_BLOCK_CELLS // max(self.shape[1] * self.shape[2], 1), 1)
        with self._member("importance") as member:
            _, dtype = _array_head(member)
            for start in range(0, self.shape[0], at_once):
                numbers = self.numbers[start : start + at_once]
                block = _read_array(member, (len(numbers), *self.shape[1:]), dtype)
                yield numbers, checked_importance(self.path, block)

    @contextmanager
    def _member(self, name: str) -> Iterator[IO[bytes]]:
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{name}.npy") as member:
                yield member
        except _BROKEN_ARCHIVE as error:
            raise InputError(f"{self.path}: is no importance file ({' '.join(str(error).split())[:80]})") from None


def _array_head(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """(shape, dtype) of the .npy that a file begins with. ValueError for what cannot be read in blocks."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(member)
    if is_fortran and len(shape) > 1:
        raise ValueError("its axes are in Fortran's order; save it with numpy.ascontiguousarray")
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError(f"it holds {dtype} {shape}")
    return shape, dtype


def _read_array(member: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    wanted = math.prod(shape) * dtype.itemsize
    content = member.read(wanted)
    if len(content) != wanted:
        raise EOFError("it ends too early")
    return np.frombuffer(content, dtype).reshape(shape)


def checked_importance(path: Path, importance: np.ndarray) -> np.ndarray:
    """`importance` [T, rows, cols] as float32. InputError for NaN, infinite (also as float32) or negative values."""
    with np.errstate(over="ignore"):
        importance = importance.astype(np.float32, copy=False)
    for wrong, what in ((~np.isfinite(importance), "NaN or infinite"), (importance < 0, "negative")):
        if wrong.any():
            place = int(np.argwhere(wrong)[0][0])
            raise InputError(f"{path}: {what} importance in its frame {place}; importance is finite and >= 0")
    return importance
