"""Masks: polygons in the pixels of a camera's own frames, in which no macroblock is enhanced."""

from functools import lru_cache

import cv2
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
    drawn = np.zeros((grid.rows * _SIDE, grid.cols * _SIDE), np.uint8)
    scale = np.array([grid.width / frame_hw[1], grid.height / frame_hw[0]]) * (_SIDE / grid.mb_size)
    for polygon in polygons:
        corners = np.array(polygon) * scale - 0.5  # of pixels' centers, in 1/16 of a pixel
        cv2.fillPoly(drawn, [(corners * 16).round().astype(np.int32)], 1, shift=4)
    inside = cv2.erode(drawn, np.ones((3, 3), np.uint8))  # drawing rounds into what is beside it
    masked = inside.reshape(grid.rows, _SIDE, grid.cols, _SIDE).any((1, 3))
    masked.flags.writeable = False
    return masked
