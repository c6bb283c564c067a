"""Scores with bootstrap intervals over frames."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from regenhance_data.metrics.detection import f1

RESAMPLES = 1000  # of the bootstrap: its 95 % bounds move by less than 0.01 between seeds
Point = tuple[str, float]  # a curve's name and a budget
# (true positives, false positives, false negatives) of one frame at each point, [3]; of segmentation, [classes, 3]
Counts = dict[Point, np.ndarray]
NONE, ALL = ("none", 0.0), ("all", 1.0)


def summary(frames: Sequence[Counts], score: Callable[[np.ndarray], np.ndarray] = f1) -> dict[str, Any]:
    """The score at every point, the share of the loss recovered, and the 95 % bootstrap interval over frames."""
    generator = np.random.default_rng(0)
    # how often each frame is drawn in each resample
    weights = generator.multinomial(len(frames), [1 / len(frames)] * len(frames), RESAMPLES)
    values, intervals = {}, {}
    for point in frames[0]:
        counts = np.stack([frame[point] for frame in frames]).astype(np.float64)
        values[point] = float(score(counts.sum(0)))
        intervals[point] = [float(v) for v in np.percentile(score(np.tensordot(weights, counts, 1)), [2.5, 97.5])]
    none, top = values[NONE], values[ALL]
    curves: dict[str, dict[str, Any]] = {}
    recovered: dict[str, dict[str, Any]] = {}
    bounds: dict[str, Any] = {"none": intervals[NONE], "all": intervals[ALL]}
    for point in frames[0]:
        if point not in (NONE, ALL):
            curve, budget = point[0], f"{point[1]:g}"
            curves.setdefault(curve, {})[budget] = values[point]
            recovered.setdefault(curve, {})[budget] = (values[point] - none) / (top - none) if top != none else None
            bounds.setdefault(curve, {})[budget] = intervals[point]
    return {"none": none, "all": top, "curves": curves, "recovered": recovered, "intervals_95": bounds}
