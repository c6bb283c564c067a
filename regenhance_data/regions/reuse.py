"""Temporal reuse: predict some frames and keep their importance for those in between (RegenHance, section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from regenhance_data.errors import InputError, refuse_below_one

# Changes are measured on means of 8×8 pixels: noise and compression average out, and a 640×360 frame takes some
# hundredths of a millisecond.
_BLOCK_PX = 8


@dataclass(frozen=True)
class ReusePolicy:
    """When to predict again: on every `every`-th frame, or when the picture has changed by more than `change`.

    change: of the mean brightness of 8×8 pixels, averaged over the frame, since the last prediction, in [0, 1]; None:
    not measured. With both, whichever comes first. The first frame is always predicted. InputError for a policy that
    never predicts again, and for values out of range.
    """

    every: int | None = 1
    change: float | None = None

    def __post_init__(self) -> None:
        if self.every is None and self.change is None:
            raise InputError("temporal reuse needs --every or --change")
        refuse_below_one(every=self.every)
        if self.change is not None and not 0 <= self.change <= 1:
            raise InputError(f"--change {self.change}: expected a share of the brightness, 0 to 1")

    def start(self) -> "ClipReuse":
        """The policy applied to a clip, from its first frame."""
        return ClipReuse(self)


class ClipReuse:
    """A policy applied to one clip: `predicted` of the `seen` frames so far were due."""

    def __init__(self, policy: ReusePolicy) -> None:
        self.seen = self.predicted = 0
        self._policy = policy
        self._since = 0  # frames since the last predicted one
        self._brightness: np.ndarray | None = None  # of the last predicted one, where changes are measured

    def is_due(self, frame: np.ndarray) -> bool:
        """Whether this frame, the next of its clip, is to be predicted: uint8 [H, W, 3], in any order of colours."""
        every, change = self._policy.every, self._policy.change
        brightness = None if change is None else _block_brightness(frame)
        self._since += 1
        is_due = not self.predicted or (every is not None and self._since >= every)
        if not is_due and brightness is not None and self._brightness is not None:
            is_due = float(np.abs(brightness - self._brightness).mean()) > 255 * float(change or 0)
        self.seen += 1
        if is_due:
            self.predicted += 1
            self._since, self._brightness = 0, brightness
        return is_due


def shots_of(numbers: Sequence[int], among: Sequence[int] | None = None, every: int = 1) -> list[int]:
    """The shot of each frame of a clip, from the frames' numbers in order: 0, 1, …; a gap ends one.

    Frames follow each other where their numbers differ by `every` times what those of the clip mostly differ by, which
    is not 1 for every n-th frame, or by less. among: the numbers of all frames of the clip (default: these).
    """
    steps, of_clip = np.diff(numbers), np.diff(numbers if among is None else among)
    values, counts = np.unique(of_clip[of_clip > 0], return_counts=True)
    usual = values[counts.argmax()] if values.size else 0
    ends = (steps <= 0) | (steps > every * usual)
    return [0, *np.cumsum(ends).tolist()][: len(numbers)]


def _block_brightness(frame: np.ndarray) -> np.ndarray:
    """The mean brightness of each 8×8 pixels, float32 [ceil(H / 8), ceil(W / 8)]."""
    height, width = frame.shape[:2]
    size = -(-width // _BLOCK_PX), -(-height // _BLOCK_PX)
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA).mean(-1, dtype=np.float32)
