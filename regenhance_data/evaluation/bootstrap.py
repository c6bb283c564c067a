"""Scores and differences of scores with 95 % bootstrap intervals over frames."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from regenhance_data.evaluation.record import Estimate, Scores
from regenhance_data.metrics.detection import f1

RESAMPLES = 1000  # the 95 % bounds move by less than 0.01 between seeds


class CurvePoint(NamedTuple):
    """A curve at a budget, the share of the macroblocks that are enhanced."""

    curve: str
    budget: float


NOTHING_ENHANCED, ALL_ENHANCED = CurvePoint("none", 0.0), CurvePoint("all", 1.0)
# (true positives, false positives, false negatives) of one frame at each point: [3], for segmentation [classes, 3]
Counts = dict[CurvePoint, np.ndarray]


def bootstrap_scores(frames: Sequence[Counts], score: Callable[[np.ndarray], np.ndarray] = f1) -> Scores:
    """The score at every point with its interval, from the counts of each frame.

    score: counts [..., *one frame's], summed over frames → [...] in [0, 1].
    """
    weights = _resampling_weights(len(frames))
    points = {}
    for point in frames[0]:
        counts = np.stack([frame[point] for frame in frames]).astype(np.float64)
        interval = _interval_95(score(np.tensordot(weights, counts, 1)))
        points[point] = Estimate(float(score(counts.sum(0))), interval)
    curves: dict[str, dict[float, Estimate]] = {}
    for point in frames[0]:
        if point not in (NOTHING_ENHANCED, ALL_ENHANCED):
            curves.setdefault(point.curve, {})[point.budget] = points[point]
    return Scores(points[NOTHING_ENHANCED], points[ALL_ENHANCED], curves)


def bootstrap_differences(frames: Sequence[Counts], curves: Sequence[str]) -> dict[str, Estimate]:
    """For each curve but the first, how much the mean over the budgets of its F1 is above the first curve's.

    The same resampled frames serve both curves (a paired bootstrap).
    """
    weights = _resampling_weights(len(frames))
    every_frame_once = np.ones((1, len(frames)))
    budgets = [budget for curve, budget in frames[0] if curve == curves[0]]

    def mean_f1(curve: str, weights: np.ndarray) -> np.ndarray:
        counts_at_budgets = [np.stack([frame[CurvePoint(curve, budget)] for frame in frames]) for budget in budgets]
        return np.mean([f1(weights @ counts.astype(np.float64)) for counts in counts_at_budgets], axis=0)

    differences = {}
    for curve in curves[1:]:
        difference = float((mean_f1(curve, every_frame_once) - mean_f1(curves[0], every_frame_once))[0])
        differences[curve] = Estimate(difference, _interval_95(mean_f1(curve, weights) - mean_f1(curves[0], weights)))
    return differences


def _resampling_weights(frames: int) -> np.ndarray:
    """How often each frame is drawn in each resample: int64 [RESAMPLES, frames], the same in every call."""
    return np.random.default_rng(0).multinomial(frames, [1 / frames] * frames, RESAMPLES)


def _interval_95(resampled: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(low), float(high)
