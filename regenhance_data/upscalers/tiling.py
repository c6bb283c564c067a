"""Frames upscaled in overlapping tiles: the same image as from the whole frame, in less memory."""

import math
from typing import NamedTuple

import numpy as np

from regenhance_data.console import warn
from regenhance_data.errors import InputError
from regenhance_data.upscalers.base import UpscalingNetwork

SMALLEST_TILE_PX = 16  # below it a tile is nearly all overlap: slower, and memory hardly shrinks
_ALIGNED_PX = 16  # tiles begin at its multiples: networks with window attention use windows of 8 or 16 pixels
_OUT_OF_MEMORY = (
    *("out of memory", "allocate memory", "not enough memory"),
    *("bad_alloc", "bad allocation", "alloc_failed"),
)


class Span(NamedTuple):
    """One tile along one axis, in LR pixels: the network runs on [first, last); [start, stop) of its output is kept."""

    start: int
    stop: int
    first: int
    last: int


def spans(length: int, tile_px: int, overlap: int, multiple: int) -> list[Span]:
    """The tiles along an axis of `length` pixels. They see `overlap` more on each side inside the frame, and
    begin at multiples of `multiple`: a network that works on blocks then sees the blocks of the whole frame.
    """
    tiles = []
    for start in range(0, length, tile_px):
        stop = min(start + tile_px, length)
        first = max(start - overlap, 0) // multiple * multiple
        last = min(math.ceil((stop + overlap) / multiple) * multiple, length)
        tiles.append(Span(start, stop, first, last))
    return tiles


def fixed_spans(length: int, seen_px: int, overlap: int) -> list[Span]:
    """The tiles along an axis for a network that takes exactly `seen_px` pixels; one tile if `length` is no larger."""
    if length <= seen_px:
        return [Span(0, length, 0, length)]
    tiles = []
    for start in range(0, length, seen_px - 2 * overlap):
        first = min(max(start - overlap, 0), length - seen_px)
        tiles.append(Span(start, min(start + seen_px - 2 * overlap, length), first, first + seen_px))
    return tiles


class TiledUpscaler:
    """Upscales with a network: uint8 [N, H, W, 3] RGB → uint8 [N, H·scale, W·scale, 3].

    tile_px: side of the tiles in LR pixels, None: the whole frame. Where memory is short, frames run one by one,
    then in smaller and smaller tiles, also in later calls. InputError if it is too short even for the smallest tile.
    """

    def __init__(self, network: UpscalingNetwork, tile_px: int | None = None) -> None:
        self.network, self._tile_px = network, tile_px
        self._one_by_one = not network.batches
        self._is_short = self._has_warned = False

    @property
    def read_as(self) -> str:
        """What the upscaler's file was taken for, on one line."""
        return self.network.read_as

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        while True:
            try:
                made = self._upscaled(frames)
                break
            # every library has its own exception for a lack of memory
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            self._spare_memory(frames)
        if self._is_short and not self._has_warned:
            size = f"in tiles of {self._tile_px} pixels (as with --tile_size)" if self._tile_px else "frame by frame"
            warn(f"too little memory for all at once; continuing {size}")
            self._has_warned = True
        return made

    def _spare_memory(self, frames: np.ndarray) -> None:
        self._is_short = True
        if len(frames) > 1 and not self._one_by_one:
            self._one_by_one = True
            return
        side_px = min(self._tile_px or math.inf, max(frames.shape[1:3]))
        if self.network.fixed_hw or side_px <= SMALLEST_TILE_PX:
            raise InputError(
                f"{self.network.source}: too little memory even for small tiles; free some, or use a smaller network"
            )
        self._tile_px = max(math.ceil(side_px / 2), SMALLEST_TILE_PX)

    def _upscaled(self, frames: np.ndarray) -> np.ndarray:
        count, height, width = frames.shape[:3]
        scale = self.network.scale
        made = np.empty((count, height * scale, width * scale, 3), np.uint8)
        at_once = 1 if self._one_by_one else count
        for rows in self._spans(height, 0):
            for cols in self._spans(width, 1):
                window = frames[:, rows.first : rows.last, cols.first : cols.last]
                for begin in range(0, count, at_once):
                    part = slice(begin, begin + at_once)
                    tile = self.network(np.ascontiguousarray(window[part]))
                    made[part, _kept(rows, scale), _kept(cols, scale)] = tile[
                        :, _kept(rows, scale, rows.first), _kept(cols, scale, cols.first)
                    ]
        return made

    def _spans(self, length: int, axis: int) -> list[Span]:
        network = self.network
        if network.fixed_hw:
            return fixed_spans(length, network.fixed_hw[axis], network.overlap)
        return spans(length, self._tile_px or length, network.overlap, math.lcm(network.multiple, _ALIGNED_PX))


def _kept(span: Span, scale: int, first: int = 0) -> slice:
    """The HR pixels of a tile, counted from LR pixel `first`."""
    return slice((span.start - first) * scale, (span.stop - first) * scale)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of Python's, PyTorch's or ONNX Runtime's means that there was not enough memory."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY)
