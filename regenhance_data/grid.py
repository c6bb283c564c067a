"""The grid of macroblocks of a frame: from pixels to macroblocks and back."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MacroblockGrid:
    """ceil(height / mb_size) × ceil(width / mb_size) macroblocks; those at the right and bottom edge may be partial.

    `height`, `width` and `mb_size` are pixels of the same frame: the LR frame with 16, or the HR frame with 16·scale
    (see `scaled`). All are at least 1.
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
        """The number of pixels of each macroblock, int64 [rows, cols]."""
        heights = np.diff(np.arange(0, self.height, self.mb_size), append=self.height)
        widths = np.diff(np.arange(0, self.width, self.mb_size), append=self.width)
        return np.outer(heights, widths)

    def scaled(self, scale: int) -> "MacroblockGrid":
        """The same macroblocks on a frame `scale` times as large."""
        return MacroblockGrid(self.height * scale, self.width * scale, self.mb_size * scale)

    def mean(self, image: np.ndarray) -> np.ndarray:
        """The mean over the pixels of each macroblock: [..., H, W] → float64 [..., rows, cols]. ValueError for an image
        of another size.
        """
        if image.shape[-2:] != (self.height, self.width):
            raise ValueError(f"image of {image.shape[-2:]} on a grid of {self.height}x{self.width}")
        row_starts = np.arange(0, self.height, self.mb_size)
        col_starts = np.arange(0, self.width, self.mb_size)
        sums = np.add.reduceat(np.add.reduceat(image, row_starts, axis=-2, dtype=np.float64), col_starts, axis=-1)
        return sums / self.areas

    def spread(self, cells: np.ndarray) -> np.ndarray:
        """Each macroblock's value over all its pixels: [..., rows, cols] → [..., H, W], dtype kept. ValueError for
        another number of macroblocks.
        """
        if cells.shape[-2:] != self.shape:
            raise ValueError(f"cells of {cells.shape[-2:]} for a grid of {self.shape}")
        pixels = cells.repeat(self.mb_size, axis=-2)[..., : self.height, :]
        return pixels.repeat(self.mb_size, axis=-1)[..., : self.width]
