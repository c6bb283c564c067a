"""Importance files: `importance` float32 [T, rows, cols] and `frames` int64 [T] in an .npz."""

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from regenhance_data.errors import InputError, one_line
from regenhance_data.io.files import atomic_write

_MOST_FRAMES, _MOST_CELLS = 10**7, 10**6  # limits of a plausible file: four days of video, 16K frames
_BLOCK_CELLS = 2**16  # macroblocks read at once: a few megabytes, with everything computed from them
_BROKEN_ARCHIVE = (
    *(ValueError, KeyError, OSError, EOFError, TypeError, RuntimeError, SyntaxError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)


def write_importance(path: Path, importance: np.ndarray, frames: np.ndarray) -> None:
    """Write `importance` [T, rows, cols] (as float32) and the frame numbers [T] (as int64), atomically."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        # uncompressed: compression saves a thousandth of the frames' size and takes half the time of the labels
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

    The shapes in its headers are checked before arrays of that size are allocated. InputError as `read_importance`.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"{path}: no such file; make it with tools/make_importance.py")
        self.path = path
        with self._member("importance") as member:
            self.shape, dtype = _array_header(member)
        with self._member("frames") as member:
            numbers_shape, numbers_dtype = _array_header(member)
            if len(self.shape) != 3 or numbers_shape != self.shape[:1] or not np.issubdtype(numbers_dtype, np.integer):
                raise InputError(
                    f"{path}: expected importance [T, rows, cols] and whole frame numbers [T], "
                    f"found {list(self.shape)} and {list(numbers_shape)}"
                )
            if not np.issubdtype(dtype, np.floating):
                raise InputError(f"{path}: importance is {dtype}, expected float32")
            if self.shape[0] > _MOST_FRAMES or self.shape[1] * self.shape[2] > _MOST_CELLS:
                raise InputError(f"{path}: claims importance {list(self.shape)}, more than any clip has")
            self.numbers = _read_array(member, numbers_shape, numbers_dtype).astype(np.int64, copy=False)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(numbers int64 [n], importance float32 [n, rows, cols]), a few megabytes at a time, in order."""
        at_once = max(_BLOCK_CELLS // max(self.shape[1] * self.shape[2], 1), 1)
        with self._member("importance") as member:
            _, dtype = _array_header(member)
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
            raise InputError(f"{self.path}: is not an importance file ({one_line(error)})") from None


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether it is in Fortran order, dtype) in the header of an .npy. ValueError where it has none."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def _array_header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """(shape, dtype) in the header of an .npy. ValueError for an array that cannot be read in blocks."""
    shape, is_fortran, dtype = npy_header(member)
    if is_fortran and len(shape) > 1:
        raise ValueError("it is in Fortran order; save it with numpy.ascontiguousarray")
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
            position = int(np.argwhere(wrong)[0][0])
            raise InputError(f"{path}: {what} importance in its frame {position}; importance is finite and >= 0")
    return importance
