"""Upsampled frames, and composites: upsampled frames whose selected macroblocks are those of the HR frame."""

import cv2
import numpy as np

from regenhance_data.grid import MacroblockGrid


def composite(hr: np.ndarray, upsampled: np.ndarray, selected: np.ndarray, grid: MacroblockGrid) -> np.ndarray:
    """The upsampled frame with the selected macroblocks taken from the HR frame.

    hr, upsampled: uint8 [H, W, 3]; selected: bool [rows, cols]; grid: on the HR frame. Returns uint8 [H, W, 3].
    """
    return np.where(grid.spread(selected)[..., None], hr, upsampled)


def upsample_frame(lr: np.ndarray, scale: int) -> np.ndarray:
    """The LR frame interpolated (bilinear) by `scale`: uint8 [H, W, 3] → uint8 [H·scale, W·scale, 3]."""
    height, width = lr.shape[:2]
    return cv2.resize(lr, (width * scale, height * scale), interpolation=cv2.INTER_LINEAR)
