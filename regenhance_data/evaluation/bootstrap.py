"""Scores and differences of scores with 95 % bootstrap intervals over frames.

Where no frame has a reference object, a score says nothing: it is NaN. So it is in resamples that draw none of the
frames with objects; intervals are of the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from regenhance_data.evaluation.record import Estimate, Scores
from regenhance_data.metrics.detection import f1
from regenhance_data.metrics.metric import Metric, Score
from regenhance_data.metrics.resampling import FEWEST_DRAWN, RESAMPLES, blocks_of, interval_95, resampling_weights


class CurvePoint(NamedTuple):
    """A curve at a budget, the share of the macroblocks that are enhanced."""

    curve: str
    budget: float


NOTHING_ENHANCED, ALL_ENHANCED = CurvePoint("none", 0.0), CurvePoint("all", 1.0)
# (true positives, false positives, false negatives) of one frame at each point: [3], for segmentation [classes, 3]
Counts = dict[CurvePoint, np.ndarray]


def objects_of(counts: np.ndarray) -> float:
    """The reference objects of a frame (for segmentation, pixels) in its counts at any point."""
    return float((counts[..., 0] + counts[..., 2]).sum())


def bootstrap_scores(frames: Sequence[Counts], score: Score = f1) -> Scores:
    """The score at every point with its interval, from the counts of each frame."""
    points = {point: estimate_of(some) for point, some in resampled_scores(frames, range(len(frames)), score).items()}
    curves: dict[str, dict[float, Estimate]] = {}
    for point in frames[0]:
        if point not in (NOTHING_ENHANCED, ALL_ENHANCED):
            curves.setdefault(point.curve, {})[point.budget] = points[point]
    return Scores(points[NOTHING_ENHANCED], points[ALL_ENHANCED], curves)


def resampled_scores(
    frames: Sequence[Counts], blocks: Sequence[int], score: Score = f1, seed: int = 0
) -> dict[CurvePoint, np.ndarray]:
    """The score at every point, float64 [1 + RESAMPLES]: that of the frames, then that of each resample of blocks.

    blocks: the number of each frame's block, 0, 1, …; they are drawn as a whole, so neighbouring frames that look alike
    do not count as independent. The resamples are the same at every point, so what is computed from several points is
    paired; `estimate_of` makes an estimate of it. Resamples are NaN where fewer than FEWEST_DRAWN blocks have an object
    or a detection: they do not say how much others would differ. seed: another one draws other blocks, as clips need
    whose scores are averaged.
    """
    stacked = {point: _stacked(frames, point) for point in frames[0]}
    counted = np.any([some.reshape(len(frames), -1).any(1) for some in stacked.values()], axis=0)
    weights = np.ones((1, len(frames)), np.int64)
    is_enough = len({block for block, is_counted in zip(blocks, counted, strict=True) if is_counted}) >= FEWEST_DRAWN
    if is_enough:
        weights = np.concatenate([weights, resampling_weights(max(blocks) + 1, seed)[:, list(blocks)]])
    scores = {point: _score(score, np.tensordot(weights, some, 1), some.ndim) for point, some in stacked.items()}
    unknown = np.full(0 if is_enough else RESAMPLES, np.nan)
    return {point: np.concatenate([some, unknown]) for point, some in scores.items()}


def estimate_of(resampled: np.ndarray) -> Estimate:
    """The estimate of what was computed from `resampled_scores`, float64 [1 + RESAMPLES]."""
    return Estimate(float(resampled[0]), interval_95(resampled[1:]))


@dataclass(frozen=True)
class FrameScores:
    """Scores of results on the same frames, with intervals over blocks of neighbouring ones. clips: that of each frame.

    Results are the counts of each frame, in this order.
    """

    metric: Metric
    clips: Sequence[str]

    def value(self, counts: Sequence[np.ndarray]) -> float:
        """The score of all frames, NaN where none has a reference object."""
        summed = np.sum(counts, axis=0)
        return float(self.metric.score(summed)) if objects_of(summed) else np.nan

    def estimate(self, counts: Sequence[np.ndarray]) -> Estimate:
        """The score of all frames with its interval."""
        return estimate_of(self._resampled([{ALL_ENHANCED: one} for one in counts])[ALL_ENHANCED])

    def lead(self, counts: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> Estimate:
        """How much more `counts` score than `others` (a paired bootstrap)."""
        pairs = [{ALL_ENHANCED: a, NOTHING_ENHANCED: b} for a, b in zip(counts, others, strict=True)]
        resamples = self._resampled(pairs)
        return estimate_of(resamples[ALL_ENHANCED] - resamples[NOTHING_ENHANCED])

    def lead_at(self, frames: Sequence[Counts], point: CurvePoint, over: CurvePoint = NOTHING_ENHANCED) -> Estimate:
        """How much more a point scores than another one."""
        return self.lead([counts[point] for counts in frames], [counts[over] for counts in frames])

    def gain_and_share(self, frames: Sequence[Counts], point: CurvePoint) -> tuple[Estimate, Estimate]:
        """(how much more everything enhanced scores than nothing, the share of this gain that a point brings). The
        share is NaN where there is no gain.
        """
        used = (NOTHING_ENHANCED, point, ALL_ENHANCED)
        resamples = self._resampled([{one: counts[one] for one in used} for counts in frames])
        gain = resamples[ALL_ENHANCED] - resamples[NOTHING_ENHANCED]
        some = resamples[point] - resamples[NOTHING_ENHANCED]
        share = np.divide(some, gain, out=np.full(gain.shape, np.nan), where=gain > 0)
        return estimate_of(gain), estimate_of(share)

    def _resampled(self, frames: Sequence[Counts]) -> dict[CurvePoint, np.ndarray]:
        return resampled_scores(frames, blocks_of(self.clips), self.metric.score)


def bootstrap_differences(frames: Sequence[Counts], curves: Sequence[str]) -> dict[str, Estimate]:
    """For each curve but the first, how much the mean over the budgets of its F1 is above the first curve's.

    The same resampled frames serve both curves (a paired bootstrap).
    """
    budgets = [budget for curve, budget in frames[0] if curve == curves[0]]
    resamples = resampled_scores(frames, range(len(frames)))
    means = {curve: np.mean([resamples[CurvePoint(curve, budget)] for budget in budgets], axis=0) for curve in curves}
    return {curve: estimate_of(means[curve] - means[curves[0]]) for curve in curves[1:]}


def _stacked(frames: Sequence[Counts], point: CurvePoint) -> np.ndarray:
    """The counts of all frames at a point: float64 [frames, *one frame's]."""
    return np.stack([frame[point] for frame in frames]).astype(np.float64)


def _score(score: Score, counts: np.ndarray, ndim: int) -> np.ndarray:
    """The scores of counts [..., *one frame's], NaN where there is no reference object. ndim: 1 + a frame's axes."""
    objects = counts[..., 0] + counts[..., 2]
    if ndim > 2:  # of every class
        objects = objects.sum(-1)
    return np.where(objects > 0, score(counts), np.nan)
