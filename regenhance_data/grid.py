"""The grid of macroblocks over a frame: cut a picture into cells, and spread cells over a picture."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MacroblockGrid:
    """ceil(height/mb) × ceil(width/mb) square cells; those at the right and bottom edge may be partial.

    `height`, `width` and `mb_size` are pixels of one and the same picture: the origin image with 16, or the clear
    frame with 16·scale (see `scaled`). All are at least 1.
    """

    height: int
    width: int
    mb_size: int = 16

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.mb_size) < 1:
            raise ValueError(f"a macroblock grid needs positive sizes, got {self}")

    @property
    def rows(self) -> int:
        return -(-self.height // self.mb_size)

    @property
    def cols(self) -> int:
        return -(-self.width // self.mb_size)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.rows, self.cols

    @property
    def areas(self) -> np.ndarray:
        """Pixels that each cell really has, int64 [rows, cols]."""
        heights = np.diff(np.arange(0, self.height, self.mb_size), append=self.height)
        widths = np.diff(np.arange(0, self.width, self.mb_size), append=self.width)
        return np.outer(heights, widths)

    def scaled(self, scale: int) -> "MacroblockGrid":
        """The same cells on a picture `scale` times as large."""
        return MacroblockGrid(self.height * scale, self.width * scale, self.mb_size * scale)

    def mean(self, picture: np.ndarray) -> np.ndarray:
        """The mean of each cell over the pixels it really has: [..., H, W] → float64 [..., rows, cols]."""
        if picture.shape[-2:] != (self.height, self.width):
            raise ValueError(f"picture of {picture.shape[-2:]} on a grid of {self.height}x{self.width}")
        row_starts = np.arange(0, self.height, self.mb_size)
        col_starts = np.arange(0, self.width, self.mb_size)
        sums = np.add.reduceat(np.add.reduceat(picture, row_starts, axis=-2, dtype=np.float64), col_starts, axis=-1)
        return sums / self.areas

    def spread(self, cells: np.ndarray) -> np.ndarray:
        """Nearest-upsample: each cell's value over all its pixels, [..., rows, cols] → [..., H, W], dtype kept."""
        if cells.shape[-2:] != self.shape:
            raise ValueError(f"cells of {cells.shape[-2:]} for a grid of {self.shape}")
        pixels = cells.repeat(self.mb_size, axis=-2)[..., : self.height, :]
        return pixels.repeat(self.mb_size, axis=-1)[..., : self.width]
