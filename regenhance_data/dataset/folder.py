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
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from regenhance_data import __version__
from regenhance_data.console import warn
from regenhance_data.dataset.fingerprint import picture_mark
from regenhance_data.dataset.importance_file import ImportanceFile, read_importance
from regenhance_data.defaults import LEVELS, MB_SIZE, MOST_MB_SIZE, SCALE
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import digest, locked, read_yaml, remove_unfinished, write_text, write_yaml
from regenhance_data.io.images import read_image

LR_FRAMES, LABELS, IMPORTANCE = "origin_images", "labels", "importance"
HR_FOLDERS = ("hr_images", "sr_images")  # where both are there, the originals count
IMAGES = (LR_FRAMES, *HR_FOLDERS, LABELS)
SPLITS = ("train", "val", "test")
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}
FLAT_CLIP = "importance"  # the file name that stands for the unnamed clip: importance/importance.npz
PARTIAL = ".partial-"  # how the name of a folder of frames begins until all are there
_MAPPINGS = {"clips", "upscaler", "detector", "importance", "normaliser", "split", "level_pixels", "made"}
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
            raise InputError(f"{dataset.root}: no frames in {LR_FRAMES}/; make them with tools/extract.py --data")
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
        folder = self.root / LR_FRAMES
        if not folder.is_dir():
            return []
        ids = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        for name in ids:
            if not _CLIP_ID.fullmatch(name):
                raise InputError(f"{folder / name}: name clips with letters, digits, '.', '_' and '-' alone")
        if not ids and any(_is_image(p) for p in folder.iterdir()):
            return [""]
        return [i for i in ids if any(_is_image(p) for p in (folder / i).iterdir())]

    def frames(self, clip: str, folder: str = LR_FRAMES) -> list[Frame]:
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
        return digest(sorted((p.name, p.stat().st_size, picture_mark(p)) for p in directory.iterdir() if _is_image(p)))

    def importance_digest(self, clip: str, detector: Mapping[str, Any], importance: Mapping[str, Any]) -> str:
        """What the importance of a clip depends on: dataset.yaml's `detector` and `importance`, and the pictures."""
        clear = str(importance.get("clear"))
        clear_frames = self.fingerprint(clear, clip) if (self.root / clear / clip).is_dir() else None
        return digest([detector, importance, self.fingerprint(LR_FRAMES, clip), clear_frames])

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
        height, width = self.read(LR_FRAMES, self.frames(clip)[0]).shape[:2]
        return MacroblockGrid(height, width, self.mb_size)

    def write_split(self, name: str, frames: Sequence[Frame]) -> None:
        """Write train.txt, val.txt or test.txt."""
        lines = [f"{_relative(LR_FRAMES, f)} {_relative(LABELS, f)}\n" for f in frames]
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
        known = {_relative(LR_FRAMES, f): f for clip in self.clips() for f in self.frames(clip)}
        try:
            return [known[image] for image, _ in self.read_split(name)]
        except KeyError as error:
            raise InputError(f"{self.root / (name + '.txt')}: lists {error.args[0]!r}, which does not exist") from None


def _relative(folder: str, frame: Frame) -> str:
    name = frame.name if folder == LR_FRAMES else f"{frame.stem}.png"
    return f"{folder}/{frame.clip}/{name}" if frame.clip else f"{folder}/{name}"


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
