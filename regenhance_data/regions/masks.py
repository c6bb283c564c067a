"""Masks: polygons in the pixels of a camera's own frames, in which no macroblock is enhanced."""

from functools import lru_cache

import numpy as np

from regenhance_data.grid import MacroblockGrid

Polygon = tuple[tuple[float, float], ...]  # its corners, (x, y) in pixels
_SIDE = 32  # pixels of a macroblock in the picture that masks are drawn in


@lru_cache(256)
def masked_macroblocks(polygons: tuple[Polygon, ...], frame_hw: tuple[int, int], grid: MacroblockGrid) -> np.ndarray:
    """The macroblocks that reach into one of the polygons, bool [rows, cols], read-only.

    frame_hw: (height, width) of the frame that the polygons are on; the grid is that of the LR frame, which shows the
    same.
    """
    height, width = grid.rows * _SIDE, grid.cols * _SIDE
    scale = np.array([grid.width / frame_hw[1], grid.height / frame_hw[0]]) * (_SIDE / grid.mb_size)
    inside = np.zeros((height, width), bool)
    for polygon in polygons:
        inside |= _inside(np.array(polygon) * scale, height, width)
    masked = inside.reshape(grid.rows, _SIDE, grid.cols, _SIDE).any((1, 3))
    masked.flags.writeable = False
    return masked


def _inside(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pixels of a picture that a polygon winds around, bool [height, width]: also where it does so twice.
    corners: float64 [n, 2], (x, y).
    """
    crossed = np.zeros((height, width + 1), np.int32)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0), strict=True):
        # the rows of pixels whose centers the side crosses, and the first center to the right of it in each
        rows = np.arange(*(np.clip(np.ceil(np.sort([y0, y1]) - 0.5), 0, height).astype(int)))
        x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0) if len(rows) else rows
        crossed[rows, np.clip(np.ceil(x - 0.5), 0, width).astype(int)] += 1 if y1 > y0 else -1
    return crossed.cumsum(1)[:, :-1] != 0


def has_area(polygon: Polygon) -> bool:
    """Whether not all corners of a polygon are on one line."""
    return bool(np.linalg.matrix_rank(np.array(polygon) - polygon[0]) == 2)
