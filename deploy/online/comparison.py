"""Accuracy against throughput of the strategies, measured in turn on the same frames."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from deploy.online.detectors import OnlineDetector
from deploy.online.loop import STAGES, Detects
from deploy.online.strategies import (
    BOXES,
    CACHED,
    DIFFERENCE,
    EVERY_NTH,
    FED,
    FOUND_LAST,
    ORACLE,
    OURS,
    RANDOM,
    REGIONS,
    KnownFrame,
    Outcome,
    Strategy,
)
from regenhance_data import plots
from regenhance_data.console import text_table
from regenhance_data.detections import Detections
from regenhance_data.detectors.class_names import counted_classes
from regenhance_data.evaluation.bootstrap import (
    ALL_ENHANCED,
    NOTHING_ENHANCED,
    Counts,
    CurvePoint,
    FrameScores,
    bootstrap_scores,
    objects_of,
)
from regenhance_data.evaluation.record import (
    CANNOT_TELL,
    NOT_WORTH_IT,
    WORTH_IT,
    Estimate,
    Scores,
    Verdict,
)
from regenhance_data.evaluation.verdict import (
    LEAST_GAIN,
    against_static,
    helping,
    side_of,
    too_little,
    verdict_budget,
)
from regenhance_data.importance.static_map import STATIC
from regenhance_data.metrics.metric import METRIC_NAMES, Metric, metric_of
from regenhance_data.metrics.pareto import pareto_front

ENOUGH = 0.98  # of whole-frame super-resolution's score, from which a cheaper strategy is as good
ORIGINALS, TRUTH, UPSCALED = "the original HR frames", "true boxes", "whole-frame super-resolution"


@dataclass(frozen=True)
class Row:
    """A strategy in the table. name: as users read it. ms: the median of each stage for a frame; total_ms: the mean
    of all stages together, free_ms: of all but super-resolution. enhanced, kept: shares of the macroblocks that are
    enhanced anew, and kept from earlier frames; seen: of the pixels that super-resolution sees.
    """

    point: CurvePoint
    name: str
    score: Estimate
    ms: Mapping[str, float]
    total_ms: float
    free_ms: float
    enhanced: float
    kept: float
    seen: float

    @property
    def fps(self) -> float:
        """Frames a second, one after the other, all stages in turn."""
        return 1000 / self.total_ms

    @property
    def fps_if_free(self) -> float:
        """The same if super-resolution took no time (Amdahl)."""
        return 1000 / max(self.free_ms, 1e-9)


@dataclass(frozen=True)
class Comparison:
    """The result: `reference` says what the detections were held against."""

    metric: str
    reference: str
    frames: int
    clips: tuple[str, ...]
    rows: tuple[Row, ...]
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """The content of evaluate_online.json without its settings; null where a score says nothing."""
        rows = [
            {
                "strategy": row.name,
                "curve": row.point.curve,
                "budget": row.point.budget,
                self.metric: row.score.json_value(),
                "interval_95": row.score.json_interval(),
                "frames_per_second": round(row.fps, 3),
                "frames_per_second_if_enhancement_were_free": round(row.fps_if_free, 3),
                "ms": {stage: round(ms, 3) for stage, ms in row.ms.items()},
                "newly_enhanced": round(row.enhanced, 4),
                "kept": round(row.kept, 4),
                "pixels_super_resolved": round(row.seen, 4),
            }
            for row in self.rows
        ]
        about = {"metric": self.metric, "reference": self.reference, "frames": self.frames, "clips": list(self.clips)}
        return {**about, "verdict": self.verdict.to_dict(), "rows": rows}


class MeasuredFrame(NamedTuple):
    """What all strategies came to in a frame of a clip."""

    counts: Counts
    clip: str
    outcomes: Mapping[CurvePoint, Outcome]


def measure(
    frames: Iterable[KnownFrame],
    strategies_of: Callable[[], Mapping[CurvePoint, Strategy]],
    refer: Callable[[KnownFrame], Any],
    count: Callable[[Any, Any], np.ndarray],
) -> Iterator[MeasuredFrame]:
    """Run all strategies on each frame, in an order that turns from frame to frame, so that none is always first.

    strategies_of: new ones, for each clip; before the first, other ones run once, since first calls take longer. refer:
    the reference in a frame, None where it is what whole-frame super-resolution gives. count: (found, reference) →
    counts.
    """
    clip, found = None, dict[CurvePoint, Strategy]()
    for number, frame in enumerate(frames):
        if clip is None:
            for strategy in strategies_of().values():
                strategy(frame)
        if clip != frame.camera:
            clip, found = frame.camera, dict(strategies_of())
        points = list(found)
        turn = number % len(points)
        outcomes = {point: found[point](frame) for point in points[turn:] + points[:turn]}
        reference = refer(frame)
        reference = outcomes[ALL_ENHANCED].found if reference is None else reference
        counts = {point: count(outcomes[point].found, reference) for point in points}
        # memory does not grow with what is found
        yield MeasuredFrame(counts, clip, {point: outcomes[point]._replace(found=None) for point in points})


def metric_by(detector: OnlineDetector) -> Metric:
    """The metric for what a detector finds."""
    return metric_of(detector.task, counted_classes(detector.settings.classes, detector.class_names))


def reference_by(truth: Mapping[int, Detections] | None) -> Callable[..., Any]:
    """(frame, by=a detector) → what detections in a frame are held against: the true boxes, where there are any, else
    what the detector finds in the original; None where there is none.
    """

    def reference(frame: KnownFrame, by: Detects) -> Any:
        if truth is not None:
            return truth[frame.number]
        return None if frame.original is None else by.detect(frame.original[None])[0]

    return reference


def compare(measured: Sequence[MeasuredFrame], metric: Metric, reference: str) -> Comparison:
    """The table and the verdict of all frames, of which there is at least one."""
    counts, frames = [one.counts for one in measured], FrameScores(metric, [one.clip for one in measured])
    scores = bootstrap_scores(counts, metric.score)
    rows = tuple(
        _row(point, _estimate(scores, point), [one.outcomes[point] for one in measured])
        for point in measured[0].outcomes
    )
    verdict = _verdict(rows, counts, frames, reference)
    verdict = replace(verdict, reason=verdict.reason + _against_baselines(verdict, counts, frames))
    return Comparison(metric.key, reference, len(measured), tuple(dict.fromkeys(frames.clips)), rows, verdict)


def _row(point: CurvePoint, estimate: Estimate, outcomes: Sequence[Outcome]) -> Row:
    stages = {stage: float(np.median([one.ms.get(stage, 0.0) for one in outcomes])) for stage in STAGES}
    total = float(np.mean([sum(one.ms.values()) for one in outcomes]))
    free = total - float(np.mean([one.ms.get("enhance", 0.0) for one in outcomes]))
    if point.curve == EVERY_NTH:  # its frames differ by design
        stages = {stage: float(np.mean([one.ms.get(stage, 0.0) for one in outcomes])) for stage in STAGES}
    shares = (float(np.mean([getattr(one, name) for one in outcomes])) for name in ("enhanced", "kept", "seen"))
    return Row(point, _name(point), estimate, stages, total, free, *shares)


def _name(point: CurvePoint) -> str:
    fixed = {NOTHING_ENHANCED: "nothing enhanced", ALL_ENHANCED: "whole-frame super-resolution"}
    if point in fixed:
        return fixed[point]
    return f"{point.curve}, {100 * point.budget:g}%" if point.budget else point.curve


def _estimate(scores: Scores, point: CurvePoint) -> Estimate:
    if point == NOTHING_ENHANCED:
        return scores.none
    return scores.all if point == ALL_ENHANCED else scores.curves[point.curve][point.budget]


def _verdict(rows: Sequence[Row], counts: Sequence[Counts], scores: FrameScores, reference: str) -> Verdict:
    name = scores.metric.name
    reason = too_little(counts, name)
    if reason:
        has_objects = any(objects_of(of_frame[ALL_ENHANCED]) for of_frame in counts)
        lower = "give frames with objects, other --classes or a lower --score_threshold"
        return Verdict(CANNOT_TELL, reason, "use more frames" if has_objects else lower)
    of = {row.point: row for row in rows}
    none, whole = of[NOTHING_ENHANCED], of[ALL_ENHANCED]
    gains = {row.point: scores.lead_at(counts, row.point) for row in rows}
    answers = {point: side_of(gain, LEAST_GAIN) for point, gain in gains.items()}
    against = f" against {reference}" if reference != UPSCALED else ", which is the reference here"
    ours = [row for row in rows if row.point.curve in OURS]
    ours = ours or [row for row in rows if row.point.curve in (STATIC, ORACLE)]
    if answers[ALL_ENHANCED] == WORTH_IT and ours:
        return _beside_whole(ours, none, whole, answers, f"{name} of", against)
    # of the whole frame too much may change for the worse, where regions help
    likeliest = ([row for row in ours if answers[row.point] == answer] for answer in (WORTH_IT, CANNOT_TELL))
    best = _best(next(filter(None, likeliest), ours))
    compared = [whole, *best]
    answer, text = helping({row.name: gains[row.point] for row in compared})
    beside_whole, at_end = (against, "") if reference == UPSCALED else ("", against)
    each = (f"{row.score.value:.3f} with {row.name}{beside_whole if row is whole else ''}" for row in (none, *compared))
    text += f": {name} {', '.join(each)}{at_end}"
    text += "".join(f"; {row.name} has {row.fps / whole.fps:.1f} times the frames a second" for row in best)
    if reference == UPSCALED and answer != NOT_WORTH_IT:
        text += "; without originals nothing says whether what changes becomes right"
        return Verdict(CANNOT_TELL, text)
    return Verdict(answer, text, "use more frames" if answer == CANNOT_TELL else "")


def _best(rows: Sequence[Row]) -> list[Row]:
    """The fastest of the rows that score as much as the best one does, as nearly as ENOUGH; none of none."""
    enough = ENOUGH * max((row.score.value for row in rows), default=0.0)
    return sorted((row for row in rows if row.score.value >= enough), key=lambda row: -row.fps)[:1]


def _beside_whole(
    ours: Sequence[Row], none: Row, whole: Row, answers: Mapping[CurvePoint, str], of: str, against: str
) -> Verdict:
    """Where whole-frame super-resolution helps: whether regions have its score for less time."""
    good = [row for row in ours if row.score.value >= ENOUGH * whole.score.value]
    best = max(good, key=lambda row: row.fps) if good else max(ours, key=lambda row: row.score.value)
    share = best.score.value / whole.score.value
    text = (
        f"{best.name} has {share:.0%} of the {of} whole-frame super-resolution ({best.score.value:.3f} of "
        f"{whole.score.value:.3f}{against}; {none.score.value:.3f} with nothing enhanced) at "
        f"{best.fps / whole.fps:.1f} times its frames a second"
    )
    if not good:
        text += "; a larger budget may bring the rest"
        if answers[best.point] != WORTH_IT:
            return Verdict(CANNOT_TELL, text, "use more frames")
    return Verdict(WORTH_IT if best.fps > whole.fps else NOT_WORTH_IT, text)


def _against_baselines(verdict: Verdict, counts: Sequence[Counts], scores: FrameScores) -> str:
    """What ends the verdict where enhancing is worth it: whether the predictor is, at the budget nearest to 10 %."""
    budgets = [point.budget for point in counts[0] if point.curve == REGIONS]
    if verdict.answer != WORTH_IT or not budgets:
        return ""
    budget = verdict_budget(budgets)
    text = against_static(counts, scores, REGIONS, budget)
    known, predicted = CurvePoint(FOUND_LAST, budget), CurvePoint(REGIONS, budget)
    is_tried = any(point.curve == FED for point in counts[0])
    if known in counts[0]:
        lead = scores.lead_at(counts, known, predicted)
        if lead.interval_95[0] > 0:
            text += (
                f"; the {FOUND_LAST}, which need no predictor, score {lead.value:+.3f} ({lead.signed_interval}) "
                f"above the {REGIONS}{'' if is_tried else '; compare --feedback 3'}"
            )
    return text


def comparison_table(result: Comparison) -> str:
    """The rows, with the milliseconds of each stage."""
    head = [
        "strategy",
        METRIC_NAMES[result.metric],
        "95 %",
        "frames/s",
        "if SR were free",
        "enhanced",
        "kept",
        "seen",
        *STAGES,
    ]
    lines = [head]
    for row in result.rows:
        lines.append(
            [
                row.name,
                row.score.text,
                row.score.interval_text,
                f"{row.fps:.2f}",
                f"{row.fps_if_free:.2f}",
                f"{row.enhanced:.1%}",
                f"{row.kept:.1%}",
                f"{row.seen:.1%}",
                *(f"{row.ms[stage]:.1f}" for stage in STAGES),
            ]
        )
    free = (
        f"{METRIC_NAMES[result.metric]} against {result.reference}; one frame after the other: milliseconds of each "
        "stage are medians, frames/s counts all frames, slow ones included;\n'if SR were free': what remains if the "
        "enhancement took no time; enhanced, kept: shares of the macroblocks; seen: share of the pixels that "
        "super-resolution takes in, with the halo"
    )
    return f"{text_table(lines)}\n{free}"


def front(rows: Sequence[Row]) -> list[Row]:
    """The rows that no faster one equals in score, from the slowest on; without those that need what a running camera
    does not have.
    """
    possible = [row for row in rows if row.point.curve not in (ORACLE, DIFFERENCE) and row.score.is_known]
    return pareto_front(possible, cost=lambda row: -row.fps, value=lambda row: row.score.value)[::-1]


_LOOKS = {
    NOTHING_ENHANCED.curve: (plots.GREY, "s"),
    ALL_ENHANCED.curve: (plots.BLACK, "s"),
    REGIONS: (plots.BLUE, "o"),
    CACHED: (plots.ORANGE, "o"),
    ORACLE: (plots.BLACK, "^"),
    STATIC: (plots.BROWN, "^"),
    BOXES: (plots.PINK, "^"),
    FOUND_LAST: (plots.GREEN, "v"),
    RANDOM: (plots.GREY, "^"),
}


def comparison_figure(result: Comparison) -> Figure:
    """Score over frames a second: a marker for each row, a line through those of one strategy, the Pareto front."""
    score = f"{METRIC_NAMES[result.metric]} against {result.reference}"
    figure, axes = plots.new_plot((8, 4.6), "frames a second", score)
    axes.set_title(", ".join(clip for clip in result.clips if clip), loc="left")
    colours = iter([colour for colour in plots.FURTHER_COLOURS if colour != plots.GREEN] * 2)
    for curve in dict.fromkeys(row.point.curve for row in result.rows):
        rows = sorted((row for row in result.rows if row.point.curve == curve), key=lambda row: row.point.budget)
        colour, marker = _LOOKS.get(curve) or (next(colours), "^")
        x, y = [row.fps for row in rows], [row.score.value for row in rows]
        label = _name(rows[0].point) if len(rows) == 1 else curve
        axes.plot(x, y, marker=marker, linestyle="-" if len(rows) > 1 else "", color=colour, markersize=6, label=label)
        if curve in (REGIONS, FED):  # with the cache they are nearly at the same places
            for row in rows:
                place = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center"}
                axes.annotate(f"{100 * row.point.budget:g}%", (row.fps, row.score.value), fontsize=7, **place)
    best = front(result.rows)
    x, y = [row.fps for row in best], [row.score.value for row in best]
    axes.plot(x, y, color=plots.TEXT_COLOUR, linewidth=6, alpha=0.15, zorder=0, label="Pareto front")
    axes.set_xlim(left=0)
    if not best:
        plots.note(axes, "no frame has a reference object")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    return figure
