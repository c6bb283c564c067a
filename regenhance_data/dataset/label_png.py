"""Label PNGs: levels as palette images, one value for each macroblock."""

import struct
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid

# from the PNG specification (ISO/IEC 15948)
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE_COLOURS, _FILTER_NONE, _FILTER_UP = 3, 0, 2
# what Pillow raises for broken images
_BROKEN_IMAGE = (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError)


@lru_cache
def level_colours(level_count: int) -> np.ndarray:
    """An RGB colour for each level, dark to bright: uint8 [levels, 3]."""
    import matplotlib  # for commands that draw

    return (matplotlib.colormaps["inferno"](np.linspace(0, 1, level_count))[:, :3] * 255).round().astype(np.uint8)


def label_png(levels: np.ndarray, grid: MacroblockGrid, level_count: int, colours: np.ndarray | None = None) -> bytes:
    """The label of one frame: a level grid, uint8 [rows, cols] → a palette PNG of the LR frame's exact size.

    colours: uint8 [level_count or more, 3], by default `level_colours`.

    Not encoded by Pillow, which does not filter palette images: here a row of macroblocks is one line of pixels, then
    lines that PNG's filter Up makes zero, which takes half the time. 4 bits per pixel where the levels fit.
    """
    line = np.repeat(levels, grid.mb_size, axis=1)[:, : grid.width]
    bits = 4 if level_count <= 16 else 8
    if bits == 4:
        right = line[:, 1::2]
        line = line[:, ::2] << 4
        line[:, : right.shape[1]] |= right
    lines = np.zeros((grid.height, 1 + line.shape[1]), np.uint8)
    lines[:, 0] = _FILTER_UP
    lines[:: grid.mb_size, 0] = _FILTER_NONE
    lines[:: grid.mb_size, 1:] = line
    head = struct.pack(">IIBBBBB", grid.width, grid.height, bits, _PALETTE_COLOURS, 0, 0, 0)
    chunks = {
        "IHDR": head,
        "PLTE": (level_colours(level_count) if colours is None else colours[:level_count]).tobytes(),
        "IDAT": zlib.compress(lines.data, 3),
        "IEND": b"",
    }
    return _PNG_SIGNATURE + b"".join(_png_chunk(name.encode(), content) for name, content in chunks.items())


def _png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))


def image_size(path: Path) -> tuple[int, int] | None:
    """(width, height) of an image file in pixels, from its header; None where that is broken."""
    if not path.is_file():  # a device may never end
        return None
    try:
        with Image.open(path) as image:
            return image.size
    except _BROKEN_IMAGE:
        return None


def read_label(path: Path) -> np.ndarray:
    """A label PNG as levels, uint8 [H, W]. InputError when it is missing, broken or no single-channel PNG."""
    if not path.is_file():
        raise InputError(f"{path}: no such label; make it with tools/make_seg_dataset.py")
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise InputError(f"{path}: is an image of mode {image.mode}, a label has one channel of 8 bits")
            return np.asarray(image)
    except _BROKEN_IMAGE:
        raise InputError(f"{path}: does not decode as a PNG; make the labels again") from None
