"""The frame that a detector sees when only the selected macroblocks are enhanced."""

import cv2
import numpy as np

from regenhance_data.grid import MacroblockGrid


def composite(clear: np.ndarray, blurred: np.ndarray, chosen: np.ndarray, grid: MacroblockGrid) -> np.ndarray:
    """The blurred frame with the chosen macroblocks clear.

    clear, blurred: uint8 [H, W, 3]; chosen: bool [rows, cols]; grid: on the clear frame. Returns uint8 [H, W, 3].
    """
    return np.where(grid.spread(chosen)[..., None], clear, blurred)


def upsample_frame(origin: np.ndarray, scale: int) -> np.ndarray:
    """The origin image interpolated up (bilinear) by `scale`: uint8 [H, W, 3] → uint8 [H·scale, W·scale, 3]."""
    height, width = origin.shape[:2]
    return cv2.resize(origin, (width * scale, height * scale), interpolation=cv2.INTER_LINEAR)
