"""Enhanced macroblocks that are kept for later frames, for as long as the camera sees the same in them."""

from dataclasses import dataclass

import cv2
import numpy as np

from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.regions.composite import copy_macroblocks, run_slices

_MOST_LIGHT = 24.0  # of 255: more is not the light, but another thing of one colour


@dataclass(frozen=True)
class CachePolicy:
    """When an enhanced macroblock is used again.

    threshold: as long as the LR pixels of none of its quarters differ from those that were enhanced by this, in the
    mean, of 255, apart from the difference of their means up to 24, the light; 0: never. max_age: for so many frames
    at most. scene_change: unless all pixels of the frame differ from those of the last one by this, in the mean, of
    255. InputError for values out of range.
    """

    threshold: float = 2.0
    max_age: int = 250
    scene_change: float = 40.0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 255:
            raise InputError(f"--cache_threshold {self.threshold:g}: expected a difference from 0 (no cache) to 255")
        if self.max_age < 1:
            raise InputError(f"--cache_age {self.max_age}: expected at least 1 frame")


NO_CACHE = CachePolicy(threshold=0)


class MacroblockCache:
    """The enhanced macroblocks of one camera: what enhancement adds to the upsampled frame, so that they follow the
    light.

    grid: of its LR frames. Memory: a few frames, whatever the number of frames.
    """

    def __init__(self, grid: MacroblockGrid, scale: int, policy: CachePolicy) -> None:
        self.policy = policy
        self._grid, self._hr_grid = grid, grid.scaled(scale)
        part = grid.mb_size // 2 if grid.mb_size % 2 == 0 else grid.mb_size
        self._parts = MacroblockGrid(grid.height, grid.width, part)
        self._lr = np.zeros((grid.height, grid.width, 3), np.uint8)  # at the time of enhancement
        self._added = np.zeros((grid.height * scale, grid.width * scale, 3), np.int16)  # HR minus upsampled pixels
        whole = self._parts.rows * part, self._parts.cols * part, 3
        self._difference, self._light = np.zeros((2, *whole), np.float32)  # made once: new memory takes longer
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
        of its quarters, since a small new object changes the mean of all of it little. Without the light, the
        difference of their means, which the upsampled frame has too.
        """
        grid, parts = self._grid, self._parts
        inside = self._difference[: grid.height, : grid.width]
        cv2.subtract(lr, self._lr, dst=inside, dtype=cv2.CV_32F)
        light = self._means(self._difference)
        cv2.resize(light, self._light.shape[1::-1], dst=self._light, interpolation=cv2.INTER_NEAREST)
        cv2.absdiff(inside, self._light[: grid.height, : grid.width], dst=inside)
        means = (self._means(self._difference) + np.maximum(np.abs(light) - _MOST_LIGHT, 0)).mean(-1)
        times = grid.mb_size // parts.mb_size
        whole = np.zeros((grid.rows * times, grid.cols * times), np.float32)
        whole[: parts.rows, : parts.cols] = means
        return whole.reshape(grid.rows, times, grid.cols, times).max((1, 3))

    def _means(self, values: np.ndarray) -> np.ndarray:
        """Of each part, float [rows, cols, 3], of values with zeros to the right of and below the frame."""
        parts = self._parts
        means = cv2.resize(values, parts.shape[::-1], interpolation=cv2.INTER_AREA).reshape(*parts.shape, 3)
        return means * (parts.mb_size**2 / parts.areas).astype(np.float32)[..., None]

    def add(self, lr: np.ndarray, upsampled: np.ndarray, hr: np.ndarray, selected: np.ndarray) -> None:
        """Keep the selected macroblocks, bool [rows, cols], of an LR frame, its upsampled frame, and that with their HR
        pixels.
        """
        if not self.policy.threshold:
            return
        copy_macroblocks(lr, self._lr, selected, self._grid.mb_size)
        for here in run_slices(selected, self._hr_grid.mb_size):
            cv2.subtract(hr[here], upsampled[here], dst=self._added[here], dtype=cv2.CV_16S)
        self._ages[selected] = 0

    def paste(self, frame: np.ndarray, usable: np.ndarray) -> None:
        """Put the enhanced pixels of macroblocks, bool [rows, cols], into an upsampled frame uint8 [H, W, 3]."""
        for here in run_slices(usable, self._hr_grid.mb_size):
            cv2.add(frame[here], self._added[here], dst=frame[here], dtype=cv2.CV_8U)
