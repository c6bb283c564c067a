"""Evaluation curves as text tables and plots."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from regenhance_data.plots import OTHER_COLOURS, save_figure

METRIC_NAMES = {"f1": "F1", "miou": "mIoU"}
CURVES = {  # what a curve is called, and its colour (Okabe and Ito's, which everyone can tell apart)
    "predictor": ("predictor", "#0072B2"),
    "oracle": ("oracle importance", "#222222"),
    "difference": ("difference alone", "#E69F00"),
    "boxes": ("boxes on the blurred frame", "#CC79A7"),
    "random": ("random", "#999999"),
}


def curves_table(result: Mapping[str, Any]) -> str:
    """The score of each curve at each budget, the best curve first, and its 95 % interval below, for people."""
    budgets = list(next(iter(result["curves"].values())))
    wide = max(12, *(len(curve) + 1 for curve in result["curves"]))
    lines = [f"{METRIC_NAMES[result['metric']]:<{wide}}" + "".join(f"{float(b):>11.0%}" for b in ["0", *budgets, "1"])]
    bounds = result["intervals_95"]
    for curve, points in sorted(result["curves"].items(), key=lambda c: -sum(c[1].values())):
        row = [result["none"], *(points[b] for b in budgets), result["all"]]
        lines.append(f"{curve:<{wide}}" + "".join(f"{v:>11.3f}" for v in row))
        pairs = [bounds["none"], *(bounds[curve][b] for b in budgets), bounds["all"]]
        lines.append(f"{'  95 %':<{wide}}" + "".join(f"{f'{low:.2f}-{high:.2f}':>11}" for low, high in pairs))
    return "\n".join(lines)


def curve_figure(result: Mapping[str, Any]) -> Figure:
    """The score over the share of macroblocks enhanced, a line a curve, its 95 % interval shaded."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.add_subplot(xlabel="share of macroblocks enhanced, %", ylabel=METRIC_NAMES[result["metric"]])
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e8ec", linewidth=0.8)
    last = 0.0
    for curve, (words, colour) in _looks(result["curves"]).items():
        points = result["curves"][curve]
        shares = [0.0, *(100 * float(budget) for budget in points)]
        bounds = result["intervals_95"]
        lows, highs = zip(bounds["none"], *(bounds[curve][budget] for budget in points), strict=True)
        axes.fill_between(shares, lows, highs, color=colour, alpha=0.1, linewidth=0)
        width = 2.4 if curve == "predictor" else 1.6
        axes.plot(shares, [result["none"], *points.values()], "o-", color=colour, label=words, lw=width, markersize=4)
        last = max(last, *shares)
    for level, words in ((result["all"], "everything enhanced"), (result["none"], "nothing enhanced")):
        axes.axhline(level, color="#5b6675", linewidth=1, linestyle=(0, (4, 3)))
        axes.text(last, level, words, ha="right", va="bottom", color="#5b6675", fontsize=9)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 0.7))  # beside the lines, never over them
    return figure


def _looks(curves: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """What each curve is called and its colour, the known ones first."""
    known = {curve: look for curve, look in CURVES.items() if curve in curves}
    others = [curve for curve in curves if curve not in CURVES]
    return known | {curve: (curve, OTHER_COLOURS[at % len(OTHER_COLOURS)]) for at, curve in enumerate(others)}


def write_curve_plots(result: Mapping[str, Any], stem: Path) -> None:
    """`curve_figure` as `stem`.png and `stem`.svg."""
    save_figure(curve_figure(result), stem)
