"""Scores and differences of scores with 95 % bootstrap intervals over frames.

Where no frame has a reference object, a score says nothing: it is NaN. So it is in resamples that draw none of the
frames with objects; intervals are of the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from regenhance_data.evaluation.record import Estimate, Scores
from regenhance_data.metrics.detection import f1
from regenhance_data.metrics.metric import Metric, Score
from regenhance_data.metrics.resampling import blocks_of, interval_95, resampling_weights


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
    weights = resampling_weights(len(frames))
    points = {}
    for point in frames[0]:
        counts = _stacked(frames, point)
        interval = interval_95(_score(score, np.tensordot(weights, counts, 1), counts.ndim), len(frames))
        points[point] = Estimate(float(_score(score, counts.sum(0), counts.ndim)), interval)
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
    paired; `estimate_of` makes an estimate of it. seed: another one draws other blocks, as clips need whose scores are
    averaged.
    """
    weights = resampling_weights(max(blocks) + 1, seed)[:, list(blocks)]
    weights = np.concatenate([np.ones((1, len(frames)), np.int64), weights])
    stacked = {point: _stacked(frames, point) for point in frames[0]}
    return {point: _score(score, np.tensordot(weights, some, 1), some.ndim) for point, some in stacked.items()}


def estimate_of(resampled: np.ndarray, blocks: int) -> Estimate:
    """The estimate of what was computed from `resampled_scores` of so many blocks, float64 [1 + RESAMPLES]."""
    return Estimate(float(resampled[0]), interval_95(resampled[1:], blocks))


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
        return self._estimate_of(self._resampled([{ALL_ENHANCED: one} for one in counts])[ALL_ENHANCED])

    def lead(self, counts: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> Estimate:
        """How much more `counts` score than `others` (a paired bootstrap)."""
        pairs = [{ALL_ENHANCED: a, NOTHING_ENHANCED: b} for a, b in zip(counts, others, strict=True)]
        resamples = self._resampled(pairs)
        return self._estimate_of(resamples[ALL_ENHANCED] - resamples[NOTHING_ENHANCED])

    def lead_at(self, frames: Sequence[Counts], point: CurvePoint, over: CurvePoint = NOTHING_ENHANCED) -> Estimate:
        """How much more a point scores than another one."""
        return self.lead([counts[point] for counts in frames], [counts[over] for counts in frames])

    def gain_and_share(self, frames: Sequence[Counts], point: CurvePoint) -> tuple[Estimate, Estimate]:
        """(how much more everything enhanced scores than nothing, the share of this gain that a point brings). The
        share is NaN where there is no gain.
        """
        resamples = self._resampled(frames)
        gain = resamples[ALL_ENHANCED] - resamples[NOTHING_ENHANCED]
        some = resamples[point] - resamples[NOTHING_ENHANCED]
        share = np.divide(some, gain, out=np.full(gain.shape, np.nan), where=gain > 0)
        return self._estimate_of(gain), self._estimate_of(share)

    @cached_property
    def _blocks(self) -> list[int]:
        return blocks_of(self.clips)

    def _resampled(self, frames: Sequence[Counts]) -> dict[CurvePoint, np.ndarray]:
        return resampled_scores(frames, self._blocks, self.metric.score)

    def _estimate_of(self, resampled: np.ndarray) -> Estimate:
        return estimate_of(resampled, max(self._blocks) + 1)


def bootstrap_differences(frames: Sequence[Counts], curves: Sequence[str]) -> dict[str, Estimate]:
    """For each curve but the first, how much the mean over the budgets of its F1 is above the first curve's.

    The same resampled frames serve both curves (a paired bootstrap).
    """
    weights = resampling_weights(len(frames))
    every_frame_once = np.ones((1, len(frames)))
    budgets = [budget for curve, budget in frames[0] if curve == curves[0]]

    def mean_f1(curve: str, weights: np.ndarray) -> np.ndarray:
        counts_at_budgets = [_stacked(frames, CurvePoint(curve, budget)) for budget in budgets]
        return np.mean([_score(f1, weights @ counts, counts.ndim) for counts in counts_at_budgets], axis=0)

    differences = {}
    for curve in curves[1:]:
        difference = float((mean_f1(curve, every_frame_once) - mean_f1(curves[0], every_frame_once))[0])
        differences[curve] = Estimate(
            difference, interval_95(mean_f1(curve, weights) - mean_f1(curves[0], weights), len(frames))
        )
    return differences


def _stacked(frames: Sequence[Counts], point: CurvePoint) -> np.ndarray:
    """The counts of all frames at a point: float64 [frames, *one frame's]."""
    return np.stack([frame[point] for frame in frames]).astype(np.float64)


def _score(score: Score, counts: np.ndarray, ndim: int) -> np.ndarray:
    """The scores of counts [..., *one frame's], NaN where there is no reference object. ndim: 1 + a frame's axes."""
    objects = counts[..., 0] + counts[..., 2]
    if ndim > 2:  # of every class
        objects = objects.sum(-1)
    return np.where(objects > 0, score(counts), np.nan)
