"""The page of a benchmark of many clips: scores of every clip, what is above the static map, the mean over budgets."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from regenhance_data import plots
from regenhance_data.evaluation.curves import CURVE_STYLES, CurveStyle
from regenhance_data.evaluation.record import Estimate
from regenhance_data.many_clips import results
from regenhance_data.many_clips.labelled import LabelledResult
from regenhance_data.many_clips.results import BenchmarkResult, ClipResult
from regenhance_data.reports import page

_WAY_COLOURS = (plots.BLUE, plots.GREEN, plots.VERMILION, plots.SKY_BLUE, "#8C6BB1", "#B5A000")
_ROW_IN = 0.5  # height of a clip in the plots of clips
_MARKERS = {results.NOTHING: "|", "static": "s", "difference": "^", "boxes": "v", results.ORACLE: "D"}
_NOTHING = CurveStyle("nothing enhanced", plots.GREY)


def write_clips_page(
    path: Path,
    result: BenchmarkResult,
    about: Sequence[Sequence[str]],
    sources: Sequence[Sequence[str]],
    labelled: LabelledResult | None = None,
) -> None:
    """Write the page. about: (what, value) of how it was measured. sources: (clip, video, licence, source). All texts
    are plain.
    """
    failed = "".join(
        f"<li>{html.escape(clip.clip)} <span>{html.escape(clip.failed)}</span></li>"
        for clip in result.clips
        if clip.failed
    )
    empty = [clip.clip for clip in result.clips if not clip.failed and not clip.says_something]
    if empty:
        failed += (
            f"<li>{html.escape(', '.join(empty))} <span>no test frame has an object: no score says anything</span></li>"
        )
    page.write_page(
        path,
        f"A benchmark of {len(result.clips)} clips",
        "clips_template.html",
        lead=html.escape(results.headline(result)),
        failed=f'<ul class="warnings">{failed}</ul>' if failed else "",
        charts=_charts(result) if result.mean else "",
        scores=_table(results.score_rows(result)),
        comparisons=_table(results.comparison_rows(result)),
        labelled=_labelled(labelled) if labelled else "",
        about=page.html_table([], about),
        sources=page.html_table(["clip", "video", "licence", "source"], sources),
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *others = rows
    return page.html_table(head, others, strong=[results.MEAN])


def _charts(result: BenchmarkResult) -> str:
    name = result.metric_name
    charts = [(scores_figure(result), f"{name} of every clip"), (mean_figure(result), f"mean {name} at each budget")]
    if any(one.above_static for clip in result.measured for way in clip.ways.values() for one in way.values()):
        charts.insert(1, (lead_figure(result), f"{name} above the static map's, with 95 % intervals"))
    return "".join(page.chart(figure, alt) for figure, alt in charts)


def _labelled(labelled: LabelledResult) -> str:
    return (
        "<section><h2>How many labelled frames are needed?</h2><p>The mean over the clips when the predictor is "
        "trained on so many of the clip’s training frames, evenly spread, and validated on as large a share of its "
        "validation frames; 0: given weights without training. The static map has "
        f"all training frames. {html.escape(labelled.short())}</p>"
        f"{page.chart(labelled_figure(labelled), 'score against labelled frames')}"
        f"{_table(labelled.rows())}</section>"
    )


def scores_figure(result: BenchmarkResult) -> Figure:
    """A row for each clip and their mean: nothing, baselines, ways with their 95 % intervals, and the oracle."""
    rows, budget = _rows(result), result.budget or 0.0
    figure, axes = _clip_plot(rows, f"{result.metric_name}, {100 * budget:g} % of the macroblocks enhanced")
    styles = {results.NOTHING: _NOTHING, **CURVE_STYLES}
    for name, marker in _MARKERS.items():
        found = [(y, _at(clip, name, budget)) for y, clip in enumerate(rows) if name in clip.scores]
        places, scores = [y for y, _ in found], [score.value for _, score in found]
        look = {"color": styles[name].colour, "label": styles[name].label, "zorder": 3}
        axes.plot(scores, places, marker, markersize=9 if marker == "|" else 6, **look)
    for y, clip in enumerate(rows):
        ends = _at(clip, results.NOTHING, budget).value, _at(clip, results.ORACLE, budget).value
        axes.plot(ends, [y, y], color=plots.GRID_COLOUR, linewidth=5, solid_capstyle="round", zorder=1)
    for number, (way, colour) in enumerate(_way_colours(result).items()):
        dots = [
            (y + _shift(number, result), clip.ways[way][budget].score)
            for y, clip in enumerate(rows)
            if way in clip.ways
        ]
        _dots(axes, dots, colour, way)
    axes.set_xlim(0, 1.02)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def lead_figure(result: BenchmarkResult) -> Figure:
    """A row for each clip and their mean: how much each way is above the static map, with its 95 % interval."""
    rows, budget = _rows(result), result.budget or 0.0
    figure, axes = _clip_plot(rows, f"{result.metric_name} above the static map’s, {100 * budget:g} % enhanced")
    axes.axvline(0, color=plots.TEXT_COLOUR, linewidth=1, linestyle=(0, (4, 3)))
    for number, (way, colour) in enumerate(_way_colours(result).items()):
        leads = [
            (y + _shift(number, result), clip.ways[way][budget].above_static)
            for y, clip in enumerate(rows)
            if way in clip.ways
        ]
        _dots(axes, [(y, lead) for y, lead in leads if lead], colour, way)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def mean_figure(result: BenchmarkResult) -> Figure:
    """The mean score of the clips over the budgets, a line for each baseline and way, with 95 % intervals."""
    assert result.mean is not None
    figure, axes = plots.new_plot((9, 4.2), "share of macroblocks enhanced, %", f"mean {result.metric_name}")
    plots.share_scale(axes)
    none, everything = (_at(result.mean, name, 0.0).value for name in (results.NOTHING, results.EVERYTHING))
    lines = {
        CURVE_STYLES[name].label: (points, CURVE_STYLES[name].colour, 1.6)
        for name, points in result.mean.scores.items()
        if name in CURVE_STYLES
    }
    lines |= {
        way: ({b: one.score for b, one in result.mean.ways[way].items()}, colour, 2.4)
        for way, colour in _way_colours(result).items()
        if way in result.mean.ways
    }
    for label, (points, colour, width) in lines.items():
        budgets = sorted(points)
        values = [points[b] for b in budgets]
        intervals = [(none, none), *(value.interval_95 for value in values)]
        plots.line_with_interval(
            axes,
            [0, *(100 * b for b in budgets)],
            [none, *(v.value for v in values)],
            intervals,
            color=colour,
            label=label,
            linewidth=width,
        )
    plots.reference_line(axes, everything, "everything enhanced", "right")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 0.9))
    return figure


def labelled_figure(labelled: LabelledResult) -> Figure:
    """The mean score over the number of labelled frames, a line for each recipe."""
    score = f"mean {labelled.result.metric_name}, {100 * (labelled.result.budget or 0.0):g} % enhanced"
    figure, axes = plots.new_plot((8, 4), "labelled training frames of the clip", score)
    for number, (line, points) in enumerate(labelled.lines().items()):
        at = {labelled.all_frames if count is None else count: value for count, value in points.items()}
        counts, values = sorted(at), [at[count] for count in sorted(at)]
        look = {"color": _WAY_COLOURS[number % len(_WAY_COLOURS)], "label": line, "linewidth": 2.0}
        plots.line_with_interval(axes, counts, [v.value for v in values], [v.interval_95 for v in values], **look)
    for name, level in labelled.levels().items():
        plots.reference_line(axes, level.value, name, "right")
    axes.set_xlim(left=0)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 0.9))
    return figure


def _rows(result: BenchmarkResult) -> list[ClipResult]:
    """The clips from the bottom of a plot to its top, the mean lowest."""
    return [*([result.mean] if result.mean else []), *reversed(result.measured)]


def _clip_plot(rows: Sequence[ClipResult], xlabel: str) -> tuple[Figure, Any]:
    figure, axes = plots.new_plot((9.5, 1.2 + _ROW_IN * max(len(rows), 3)), xlabel, "")
    axes.set_yticks(range(len(rows)), [clip.clip for clip in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    if rows and rows[0].clip == results.MEAN:
        axes.axhspan(-0.5, 0.5, color=plots.GRID_COLOUR, alpha=0.45, linewidth=0, zorder=0)
    axes.grid(axis="x", color=plots.GRID_COLOUR, linewidth=0.8)
    axes.grid(axis="y", visible=False)
    return figure, axes


def _at(clip: ClipResult, name: str, budget: float) -> Estimate:
    """The score of a baseline at a budget; of nothing and everything, the only one."""
    points = clip.scores[name]
    return points[budget] if budget in points else next(iter(points.values()))


def _way_colours(result: BenchmarkResult) -> dict[str, str]:
    ways = list(dict.fromkeys(way for clip in result.measured for way in clip.ways))
    return {way: _WAY_COLOURS[number % len(_WAY_COLOURS)] for number, way in enumerate(ways)}


def _shift(number: int, result: BenchmarkResult) -> float:
    """How far the dots of a way are above the middle of a clip's row, so that ways do not hide each other."""
    ways = len(_way_colours(result))
    return 0.45 * ((ways - 1) / 2 - number) / max(ways - 1, 1)


def _dots(axes: Any, found: Sequence[tuple[float, Estimate]], colour: str, label: str) -> None:
    known = [(y, one) for y, one in found if one.is_known]
    values, places = [one.value for _, one in known], [y for y, _ in known]
    for y, one in known:
        axes.plot(one.interval_95, [y, y], color=colour, linewidth=2, alpha=0.55, zorder=4)
    axes.plot(values, places, "o", color=colour, markersize=7, label=label, zorder=5)
