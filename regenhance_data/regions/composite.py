"""Upsampled frames, and composites: upsampled frames whose selected macroblocks are those of the HR frame."""

from collections.abc import Sequence

import cv2
import numpy as np

from regenhance_data.grid import MacroblockGrid
from regenhance_data.regions.rectangles import Region, runs


def composite(hr: np.ndarray, upsampled: np.ndarray, selected: np.ndarray, grid: MacroblockGrid) -> np.ndarray:
    """The upsampled frame with the selected macroblocks taken from the HR frame.

    hr, upsampled: uint8 [H, W, 3]; selected: bool [rows, cols]; grid: on the HR frame. Returns uint8 [H, W, 3].
    """
    return np.where(grid.spread(selected)[..., None], hr, upsampled)


def upsample_frame(lr: np.ndarray, scale: int) -> np.ndarray:
    """The LR frame interpolated (bilinear) by `scale`: uint8 [H, W, 3] → uint8 [H·scale, W·scale, 3]."""
    height, width = lr.shape[:2]
    return cv2.resize(lr, (width * scale, height * scale), interpolation=cv2.INTER_LINEAR)


def paste_regions(
    frame: np.ndarray,
    regions: Sequence[Region],
    enhanced: Sequence[np.ndarray],
    selected: np.ndarray,
    mb_size: int,
) -> None:
    """Put the selected macroblocks, bool [rows, cols], of enhanced regions into an upsampled frame uint8 [H, W, 3].

    enhanced: the HR pixels of each region's `inner` rectangle. mb_size: of a macroblock, in HR pixels.
    """
    for region, pixels in zip(regions, enhanced, strict=True):
        top, left = region.cells.top * mb_size, region.cells.left * mb_size
        target = frame[top : top + pixels.shape[0], left : left + pixels.shape[1]]
        copy_macroblocks(pixels, target, selected[region.cells.slices], mb_size)


def copy_macroblocks(source: np.ndarray, target: np.ndarray, selected: np.ndarray, mb_size: int) -> None:
    """Copy the selected macroblocks, bool [rows, cols], of one frame [H, W, 3] into another, in pixels of which the
    macroblocks are mb_size.
    """
    if selected.all():
        target[:] = source
        return
    for here in run_slices(selected, mb_size):
        target[here] = source[here]


def run_slices(selected: np.ndarray, mb_size: int) -> list[tuple[slice, slice]]:
    """(rows, columns) of the pixels of each run of selected macroblocks, bool [rows, cols]; the last may end beyond the
    frame.
    """
    corners = (runs(selected) * mb_size).tolist()
    return [(slice(top, bottom), slice(left, right)) for top, left, bottom, right in corners]
