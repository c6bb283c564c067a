"""What a detector of boxes finds in a frame."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Detections:
    """What was found in one frame: boxes float32 [n, 4] (x1, y1, x2, y2 in its pixels), scores float32 [n] in
    [0, 1], labels int64 [n] (indices of the detector's `class_names`). Sorted by score, the highest first.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
