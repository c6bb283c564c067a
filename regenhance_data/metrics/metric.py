"""The score of a detector's results: F1 for boxes, mIoU for segmentation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from regenhance_data.metrics.detection import count_matches, f1
from regenhance_data.metrics.segmentation import count_pixels, miou

Score = Callable[[np.ndarray], np.ndarray]  # counts [..., *one frame's], summed over frames → [...] in [0, 1]
METRIC_NAMES = {"f1": "F1", "miou": "mIoU"}  # {key in JSON files: as users read it}
SCORES: dict[str, Score] = {"f1": f1, "miou": miou}


@dataclass(frozen=True)
class Metric:
    """How results are scored. key: of METRIC_NAMES. count: (found, reference) of a frame → its counts."""

    key: str
    count: Callable[[Any, Any], np.ndarray]

    @property
    def name(self) -> str:
        """As users read it."""
        return METRIC_NAMES[self.key]

    @property
    def score(self) -> Score:
        return SCORES[self.key]


F1 = Metric("f1", count_matches)


def metric_of(task: str, classes: Sequence[int]) -> Metric:
    """The metric for a detector's task. classes: those that count in a segmentation."""
    if task == "segmentation":
        return Metric("miou", partial(count_pixels, classes=classes))
    return F1
