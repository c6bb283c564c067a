"""Evaluation curves as a text table and a plot."""

from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.figure import Figure

from regenhance_data import plots
from regenhance_data.console import text_table
from regenhance_data.evaluation.record import EvaluationResult


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
    "random": CurveStyle("random", plots.GREY),
}


def curves_table(result: EvaluationResult) -> str:
    """The score of each curve at each budget, the best curve first, each with its 95 % interval below."""
    scores = result.scores
    budgets = list(next(iter(scores.curves.values())))
    rows = [[result.metric_name, *(f"{budget:.0%}" for budget in [0, *budgets, 1])]]
    for curve, points in sorted(
        scores.curves.items(), key=lambda item: -sum(score.value for score in item[1].values())
    ):
        row = [scores.none, *(points[budget] for budget in budgets), scores.all]
        rows.append([curve, *(f"{score.value:.3f}" for score in row)])
        rows.append(["  95 %", *("{:.2f}-{:.2f}".format(*score.interval_95) for score in row)])
    return text_table(rows)


def curves_figure(result: EvaluationResult) -> Figure:
    """The score over the share of macroblocks enhanced, a line for each curve, its 95 % interval shaded."""
    figure, axes = plots.new_plot((9, 4.2), "share of macroblocks enhanced, %", result.metric_name)
    scores = result.scores
    for curve, style in _curve_styles(scores.curves).items():
        points = [scores.none, *scores.curves[curve].values()]
        plots.line_with_interval(
            axes,
            [0.0, *(100 * budget for budget in scores.curves[curve])],
            [score.value for score in points],
            [score.interval_95 for score in points],
            color=style.colour,
            label=style.label,
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
