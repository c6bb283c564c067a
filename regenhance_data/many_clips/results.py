"""What a benchmark says: scores of every clip and of their mean, paired over blocks of neighbouring frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from regenhance_data.evaluation.bootstrap import (
    ALL_ENHANCED,
    NOTHING_ENHANCED,
    Counts,
    estimate_of,
    objects_of,
    resampled_scores,
)
from regenhance_data.evaluation.kept import EvaluatedCounts
from regenhance_data.evaluation.record import Estimate
from regenhance_data.evaluation.verdict import verdict_budget
from regenhance_data.importance.static_map import STATIC
from regenhance_data.metrics.metric import METRIC_NAMES, SCORES
from regenhance_data.metrics.resampling import blocks_of

NOTHING, EVERYTHING, ORACLE = "nothing", "everything", "oracle"
BASELINES = ("random", STATIC, "difference", "boxes")
MEAN = "mean"
Resamples = dict[str, dict[float, np.ndarray]]  # {curve or way: {budget: scores [1 + RESAMPLES]}}


@dataclass(frozen=True)
class WayResult:
    """A way at one budget. score: the mean over its seeds. above_static: the score less the static map's; of_oracle:
    the score divided by the oracle's; None where the other was not evaluated. seeds: the score of each.
    """

    score: Estimate
    above_static: Estimate | None
    of_oracle: Estimate | None
    seeds: tuple[float, ...] = ()


@dataclass(frozen=True)
class ClipResult:
    """The results of one clip, or of the mean over clips. blocks: of neighbouring frames, which are drawn as a whole.
    scores: {nothing, everything or a baseline: {budget: score}}. ways: {way: {budget: result}}. failed: why there is no
    result, "" where there is.
    """

    clip: str
    frames: int = 0
    frames_with_objects: int = 0
    blocks: int = 0
    scores: dict[str, dict[float, Estimate]] = field(default_factory=dict)
    ways: dict[str, dict[float, WayResult]] = field(default_factory=dict)
    failed: str = ""

    @property
    def says_something(self) -> bool:
        """Whether a test frame has an object."""
        return self.frames_with_objects > 0

    def to_dict(self) -> dict[str, Any]:
        """The clip in benchmark_clips.json."""
        if self.failed:
            return {"clip": self.clip, "failed": self.failed}
        counts = {"frames": self.frames, "frames_with_objects": self.frames_with_objects, "blocks": self.blocks}
        scores = {
            curve: {f"{b:g}": _plain(score) for b, score in points.items()} for curve, points in self.scores.items()
        }
        ways = {way: {f"{b:g}": _plain_way(one) for b, one in points.items()} for way, points in self.ways.items()}
        return {"clip": self.clip, **counts, "scores": scores, "ways": ways}


@dataclass(frozen=True)
class BenchmarkResult:
    """clips: in the manifest's order. mean: over the clips whose test frames have objects, None without any."""

    metric: str
    clips: list[ClipResult]
    mean: ClipResult | None

    @property
    def metric_name(self) -> str:
        return METRIC_NAMES[self.metric]

    @property
    def measured(self) -> list[ClipResult]:
        """The clips that say something."""
        return [clip for clip in self.clips if clip.says_something]

    @property
    def budget(self) -> float | None:
        """The evaluated budget that tables are about; None where no clip was measured."""
        measured = [clip for clip in self.clips if not clip.failed]
        return verdict_budget(list(measured[0].scores[ORACLE])) if measured else None

    def to_dict(self) -> dict[str, Any]:
        """The results in benchmark_clips.json."""
        mean = self.mean.to_dict() if self.mean else None
        return {"metric": self.metric, "clips": [clip.to_dict() for clip in self.clips], "mean": mean}


@dataclass(frozen=True)
class MeasuredClip:
    """The counts of a clip's test frames, and the models of each way by seed: {way: paths}."""

    clip: str
    counts: EvaluatedCounts
    models: Mapping[str, Sequence[str]]


def summarise(measured: Sequence[MeasuredClip], order: Sequence[str], failed: Mapping[str, str]) -> BenchmarkResult:
    """The result of the clips that were measured, and why the others failed; order: of all of them."""
    metrics = [clip.counts.metric for clip in measured]
    metric = metrics[0] if metrics else "f1"
    failed = {**failed}
    results: dict[str, ClipResult] = {}
    resamples: dict[str, Resamples] = {}
    for number, one in enumerate(measured):
        if one.counts.metric != metric:
            names = METRIC_NAMES[one.counts.metric], METRIC_NAMES[metric]
            failed[one.clip] = f"is scored by {names[0]}, the clips before it by {names[1]}; use two manifests"
            continue
        frames = list(one.counts.frames.values())
        blocks = blocks_of([one.clip] * len(frames))
        some = _resamples(one, frames, blocks, number)
        with_objects = sum(objects_of(frame[ALL_ENHANCED]) > 0 for frame in frames)
        seeds = {way: _of_seeds(one, way, some) for way in one.models}
        results[one.clip] = _result(
            one.clip, some, list(one.models), (len(frames), with_objects, max(blocks) + 1), seeds
        )
        if with_objects:
            resamples[one.clip] = some
    clips = [results.get(name) or ClipResult(name, failed=failed.get(name, "was not measured")) for name in order]
    return BenchmarkResult(metric, clips, _mean(list(resamples.values()), list(results.values())))


def _resamples(one: MeasuredClip, frames: Sequence[Counts], blocks: Sequence[int], seed: int) -> Resamples:
    """The scores of a clip's curves, under "path" those of each model, and of its ways: the means over the seeds."""
    score = SCORES[one.counts.metric]
    found: Resamples = {}
    for point, values in resampled_scores(frames, blocks, score, seed).items():
        named = {NOTHING_ENHANCED: NOTHING, ALL_ENHANCED: EVERYTHING}.get(point)
        curve = named or one.counts.models.get(point.curve, point.curve)
        found.setdefault(curve, {})[point.budget] = values
    for way, paths in one.models.items():
        found[way] = {budget: np.mean([found[path][budget] for path in paths], axis=0) for budget in found[ORACLE]}
    return found


def _of_seeds(one: MeasuredClip, way: str, resamples: Resamples) -> dict[float, tuple[float, ...]]:
    """{budget: the score of each seed of a way}."""
    return {b: tuple(float(resamples[path][b][0]) for path in one.models[way]) for b in resamples[ORACLE]}


def _result(
    clip: str,
    resamples: Resamples,
    ways: Sequence[str],
    counts: tuple[int, int, int],
    seeds: Mapping[str, Mapping[float, tuple[float, ...]]],
) -> ClipResult:
    """counts: frames, frames with objects, blocks."""
    names = [name for name in (NOTHING, *BASELINES, ORACLE, EVERYTHING) if name in resamples]
    scores = {name: {b: estimate_of(values) for b, values in resamples[name].items()} for name in names}
    static, oracle = resamples.get(STATIC), resamples[ORACLE]
    results = {
        way: {
            b: WayResult(
                estimate_of(values),
                estimate_of(values - static[b]) if static else None,
                estimate_of(_ratio(values, oracle[b])),
                seeds.get(way, {}).get(b, ()),
            )
            for b, values in resamples[way].items()
        }
        for way in ways
    }
    return ClipResult(clip, *counts, scores, results)


def _ratio(values: np.ndarray, of: np.ndarray) -> np.ndarray:
    return np.divide(values, of, out=np.full(values.shape, np.nan), where=of > 0)


def _mean(clips: Sequence[Resamples], results: Sequence[ClipResult]) -> ClipResult | None:
    """The mean over clips of what all of them have; each clip has the same weight."""
    if not clips:
        return None
    names = [name for name in clips[0] if all(name in clip for clip in clips)]
    mean = {
        name: {b: np.mean([clip[name][b] for clip in clips], axis=0) for b in clips[0][name]}
        for name in names
        if all(clip[name].keys() == clips[0][name].keys() for clip in clips)
    }
    counted = [result for result in results if result.says_something]
    totals = [
        sum(values) for values in zip(*((r.frames, r.frames_with_objects, r.blocks) for r in counted), strict=True)
    ]
    ways = [way for way in counted[0].ways if way in mean]
    return _result(MEAN, mean, ways, (totals[0], totals[1], totals[2]), {})


def score_rows(result: BenchmarkResult) -> list[list[str]]:
    """The head, then a row for each clip that was measured, and their mean."""
    budget = result.budget
    shown = [clip for clip in [*result.clips, result.mean] if clip and not clip.failed]
    if budget is None or not shown:
        return [["clip"]]
    curves = [name for name in BASELINES if any(name in clip.scores for clip in shown)]
    ways = list(dict.fromkeys(way for clip in shown for way in clip.ways))
    rows = [["clip", "frames", "with objects", NOTHING, *curves, *ways, ORACLE, EVERYTHING]]
    for clip in shown:
        baselines = [_text(clip.scores.get(name, {}).get(budget)) for name in curves]
        own = [_text(clip.ways[way][budget].score if way in clip.ways else None) for way in ways]
        none, everything = (_text(next(iter(clip.scores[name].values()))) for name in (NOTHING, EVERYTHING))
        counts = [str(clip.frames), str(clip.frames_with_objects)]
        rows.append([clip.clip, *counts, none, *baselines, *own, _text(clip.scores[ORACLE][budget]), everything])
    return rows


def comparison_rows(result: BenchmarkResult) -> list[list[str]]:
    """The head, then for each clip that says something and their mean, each way: what it has above the static map, and
    its share of the oracle's score, with their 95 % intervals.
    """
    budget, rows = result.budget, [["clip", "way", "above the static map", "95 %", "of the oracle", "95 %", "seeds"]]
    for clip in [*result.measured, *([result.mean] if result.mean else [])]:
        for way, points in clip.ways.items():
            one = points[budget or 0.0]
            seeds = " ".join(f"{score:.3f}" for score in one.seeds) if len(one.seeds) > 1 else ""
            rows.append([clip.clip, way, *_signed(one.above_static), *_share(one.of_oracle), seeds])
    return rows


def headline(result: BenchmarkResult) -> str:
    """What the means say, in a sentence for each way."""
    if result.mean is None or result.budget is None:
        return "No clip was measured that has objects in its test frames: nothing can be said."
    count = len(result.measured)
    texts = [f"{count} clip{'s' if count > 1 else ''}, {100 * result.budget:g}% of the macroblocks enhanced."]
    for way, points in result.mean.ways.items():
        one = points[result.budget]
        text = f"{way}: {result.metric_name} {one.score.text}"
        if one.of_oracle and one.of_oracle.is_known:
            text += f", {one.of_oracle.value:.2f} of the oracle's"
        if one.above_static and one.above_static.is_known:
            text += f", {one.above_static.value:+.3f} ({one.above_static.signed_interval}) above the static map"
        texts.append(f"{text}.")
    return " ".join(texts)


def _text(estimate: Estimate | None) -> str:
    return estimate.text if estimate else "–"


def _signed(estimate: Estimate | None) -> tuple[str, str]:
    if estimate is None or not estimate.is_known:
        return "–", "–"
    return f"{estimate.value:+.3f}", estimate.signed_interval if estimate.has_interval else "–"


def _share(estimate: Estimate | None) -> tuple[str, str]:
    return (estimate.text, estimate.interval_text) if estimate else ("–", "–")


def _plain(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {"value": estimate.json_value(), "interval_95": estimate.json_interval()}


def _plain_way(one: WayResult) -> dict[str, Any]:
    seeds = [None if np.isnan(score) else score for score in one.seeds]
    compared = {"above_static": _plain(one.above_static), "of_oracle": _plain(one.of_oracle)}
    return {**(_plain(one.score) or {}), "seeds": seeds, **compared}
