"""Evaluation curves as a text table and a plot."""

from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.figure import Figure

from regenhance_data import plots
from regenhance_data.console import text_table
from regenhance_data.evaluation.record import EvaluationResult, Scores
from regenhance_data.evaluation.verdict import verdict_budget
from regenhance_data.importance.static_map import STATIC

MOST_NAMED_CLIPS = 4  # in the title of a plot


@dataclass(frozen=True)
class CurveStyle:
    """A curve's name in legends and tables, and its colour."""

    label: str
    colour: str


CURVE_STYLES = {
    "predictor": CurveStyle("predictor", plots.BLUE),
    "oracle": CurveStyle("oracle importance", plots.BLACK),
    "difference": CurveStyle("difference alone", plots.ORANGE),
    "boxes": CurveStyle("boxes on the upsampled frame", plots.PINK),
    STATIC: CurveStyle("static map", plots.BROWN),
    "random": CurveStyle("random", plots.GREY),
}


def curves_table(result: EvaluationResult, scores: Scores | None = None) -> str:
    """The score of each curve at each budget, the best curve first, each with its 95 % interval below. scores: others
    than those against the HR frames.
    """
    scores = scores or result.scores
    budgets = list(next(iter(scores.curves.values())))
    rows = [[result.metric_name, *(f"{100 * budget:g}%" for budget in [0, *budgets, 1])]]
    for curve, points in sorted(
        scores.curves.items(), key=lambda item: -sum(score.value for score in item[1].values())
    ):
        row = [scores.none, *(points[budget] for budget in budgets), scores.all]
        rows.append([result.names.get(curve, curve), *(score.text for score in row)])
        rows.append(["  95 %", *(score.interval_text for score in row)])
    return text_table(rows)


def clips_table(result: EvaluationResult) -> str:
    """A row for each clip: its frames, its scores with nothing and everything enhanced and, at the verdict's budget,
    for each model, the static map and the oracle, and the first model's verdict.
    """
    curves = [curve for curve in dict.fromkeys([*result.verdicts, STATIC, "oracle"]) if curve in result.scores.curves]
    budget = verdict_budget(list(result.scores.curves[curves[0]]))
    at = f"{100 * budget:g} %"
    heads = [f"{result.names.get(curve, curve)}, {at}" for curve in curves]
    rows = [["clip", "verdict", "frames", "with objects", "nothing", *heads, "everything"]]
    for clip, of_clip in result.clips.items():
        scores, verdict = of_clip.scores, of_clip.verdict
        row = [scores.none, *(scores.curves[curve][budget] for curve in curves), scores.all]
        counts = [str(of_clip.frames), str(of_clip.frames_with_objects)]
        rows.append([clip, verdict.answer if verdict else "", *counts, *(score.text for score in row)])
    return text_table(rows, left_columns=2)


def curves_figure(result: EvaluationResult) -> Figure:
    """The score over the share of macroblocks enhanced, a line for each curve, its 95 % interval shaded.

    The title names the clips; the y axis is the same in every plot.
    """
    figure, axes = plots.new_plot((9, 4.2), "share of macroblocks enhanced, %", result.metric_name)
    plots.share_scale(axes)
    clips = [clip for clip in result.clips if clip]
    if clips:
        axes.set_title(", ".join(clips) if len(clips) <= MOST_NAMED_CLIPS else f"{len(clips)} clips", loc="left")
    if not result.says_something:
        plots.note(axes, "no frame has a reference object")
        return figure
    scores = result.scores
    for curve, style in _curve_styles(scores.curves).items():
        points = [scores.none, *scores.curves[curve].values()]
        plots.line_with_interval(
            axes,
            [0.0, *(100 * budget for budget in scores.curves[curve])],
            [score.value for score in points],
            [score.interval_95 for score in points],
            color=style.colour,
            label=result.names.get(curve, style.label),
            linewidth=2.4 if curve == "predictor" else 1.6,
        )
    plots.reference_line(axes, scores.all.value, "everything enhanced", "right")
    plots.reference_line(axes, scores.none.value, "nothing enhanced", "right")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 0.7))  # beside the lines, never over them
    return figure


def _curve_styles(curves: Iterable[str]) -> dict[str, CurveStyle]:
    """The style of each curve, the known ones first."""
    curves = list(curves)
    known = {curve: style for curve, style in CURVE_STYLES.items() if curve in curves}
    others = [curve for curve in curves if curve not in CURVE_STYLES]
    colours = plots.FURTHER_COLOURS
    return known | {curve: CurveStyle(curve, colours[i % len(colours)]) for i, curve in enumerate(others)}
