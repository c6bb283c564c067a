"""Enhanced macroblocks that are kept for later frames, for as long as the camera sees the same in them."""

from dataclasses import dataclass

import cv2
import numpy as np

from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.regions.composite import copy_macroblocks


@dataclass(frozen=True)
class CachePolicy:
    """When an enhanced macroblock is used again.

    threshold: as long as the LR pixels of none of its quarters differ from those that were enhanced by this, in the
    mean, of 255; 0: never. max_age: for so many frames at most. scene_change: unless all pixels of the frame differ
    from those of the last one by this, in the mean, of 255. InputError for values out of range.
    """

    threshold: float = 3.0
    max_age: int = 250
    scene_change: float = 40.0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 255:
            raise InputError(f"--cache_threshold {self.threshold:g}: expected a difference from 0 (no cache) to 255")
        if self.max_age < 1:
            raise InputError(f"--cache_age {self.max_age}: expected at least 1 frame")


class MacroblockCache:
    """The enhanced macroblocks of one camera.

    grid: of its LR frames. Memory: an LR frame, an HR frame and one more LR frame, whatever the number of frames.
    """

    def __init__(self, grid: MacroblockGrid, scale: int, policy: CachePolicy) -> None:
        self.policy = policy
        self._grid, self._hr_grid = grid, grid.scaled(scale)
        part = grid.mb_size // 2 if grid.mb_size % 2 == 0 else grid.mb_size
        self._parts = MacroblockGrid(grid.height, grid.width, part)
        self._lr = np.zeros((grid.height, grid.width, 3), np.uint8)  # at the time of enhancement
        self._hr = np.zeros((grid.height * scale, grid.width * scale, 3), np.uint8)
        self._ages = np.full(grid.shape, -1)  # in frames; -1: not kept
        self._last: np.ndarray | None = None

    def usable(self, lr: np.ndarray) -> np.ndarray:
        """The macroblocks whose enhanced pixels still hold, bool [rows, cols], for the next frame, uint8 [h, w, 3].

        Those of others are dropped. To be called once a frame, in order.
        """
        if not self.policy.threshold:
            return np.zeros(self._grid.shape, bool)
        if self._last is not None and cv2.absdiff(lr, self._last).mean() >= self.policy.scene_change:
            self._ages[:] = -1
        self._last = lr
        self._ages[self._ages >= 0] += 1
        holds = (self._ages >= 0) & (self._ages <= self.policy.max_age)
        if holds.any():
            holds &= self._change(lr) < self.policy.threshold
        self._ages[~holds] = -1
        return holds

    def _change(self, lr: np.ndarray) -> np.ndarray:
        """How far each macroblock is from what was enhanced, of 255, float [rows, cols]: the greatest mean difference
        of its quarters, since a small new object changes the mean of all of it little.
        """
        grid, parts = self._grid, self._parts
        below, right = parts.rows * parts.mb_size - parts.height, parts.cols * parts.mb_size - parts.width
        difference = cv2.absdiff(lr, self._lr).astype(np.float32)
        if below or right:
            difference = cv2.copyMakeBorder(difference, 0, below, 0, right, cv2.BORDER_CONSTANT)
        means = cv2.resize(difference, parts.shape[::-1], interpolation=cv2.INTER_AREA).mean(-1)
        means = means.reshape(parts.shape) * (parts.mb_size**2 / parts.areas)
        times = grid.mb_size // parts.mb_size
        whole = np.zeros((grid.rows * times, grid.cols * times), np.float32)
        whole[: parts.rows, : parts.cols] = means
        return whole.reshape(grid.rows, times, grid.cols, times).max((1, 3))

    def add(self, lr: np.ndarray, hr: np.ndarray, selected: np.ndarray) -> None:
        """Keep the selected macroblocks, bool [rows, cols], of an LR frame and of the frame with their HR pixels."""
        if not self.policy.threshold:
            return
        copy_macroblocks(lr, self._lr, selected, self._grid)
        copy_macroblocks(hr, self._hr, selected, self._hr_grid)
        self._ages[selected] = 0

    def paste(self, frame: np.ndarray, usable: np.ndarray) -> None:
        """Put the enhanced pixels of macroblocks, bool [rows, cols], into an upsampled frame uint8 [H, W, 3]."""
        copy_macroblocks(self._hr, frame, usable, self._hr_grid)
