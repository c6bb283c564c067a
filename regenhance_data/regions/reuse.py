"""Temporal reuse: predict some frames and carry the map along in between (the idea of RegenHance, section 3)."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from regenhance_data.errors import InputError

# A change is looked for in means of 8×8 pixels: noise and compression average out, and a frame of 640×360 takes some
# hundredths of a millisecond.
_BLOCK_PX = 8


@dataclass
class Reuse:
    """When to predict anew: on every `every`-th frame, or when the picture has changed by more than `change`.

    change: of the mean brightness of 8×8 pixels, averaged over the frame, since the last prediction, in [0, 1]; None
    for no such measure. With both, whichever comes first. The first frame is always predicted. One object follows one
    clip; `predicted` of `seen` frames so far were due.
    """

    every: int | None = 1
    change: float | None = None
    seen: int = field(default=0, init=False)
    predicted: int = field(default=0, init=False)
    _since: int = field(default=0, init=False)
    _picture: np.ndarray | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.every is None and self.change is None:
            raise InputError("temporal reuse needs --every or --change")
        if self.every is not None and self.every < 1:
            raise InputError(f"--every {self.every}: expected at least 1")
        if self.change is not None and not 0 <= self.change <= 1:
            raise InputError(f"--change {self.change}: expected a share of the brightness, 0 to 1")

    def is_due(self, frame: np.ndarray) -> bool:
        """Whether this frame, the next of its clip, is to be predicted: uint8 [H, W, 3], in any order of colours."""
        picture = None if self.change is None else _small(frame)
        self._since += 1
        is_due = not self.predicted or (self.every is not None and self._since >= self.every)
        if not is_due and picture is not None and self._picture is not None:
            is_due = float(np.abs(picture - self._picture).mean()) > 255 * float(self.change or 0)
        self.seen += 1
        if is_due:
            self.predicted += 1
            self._since, self._picture = 0, picture
        return is_due


def _small(frame: np.ndarray) -> np.ndarray:
    """The mean brightness of each 8×8 pixels, float32 [ceil(H / 8), ceil(W / 8)]."""
    height, width = frame.shape[:2]
    size = -(-width // _BLOCK_PX), -(-height // _BLOCK_PX)
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA).mean(-1, dtype=np.float32)
