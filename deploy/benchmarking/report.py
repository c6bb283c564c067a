"""A benchmark's results as a text table, as Markdown, and as a plot of F1 over latency with its Pareto front."""

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from regenhance_data.console import text_table
from regenhance_data.io.files import write_text
from regenhance_data.metrics.pareto import pareto_front

Row = dict[str, Any]
_LEGEND = ("model", "precision", "backend")
_LEGEND_COLOUR = "#555555"
_MARKERS = {"fp32": "o", "fp16": "s", "int8": "^"}
_F1, _STATIC_F1 = "F1 at 10 %", "static map's F1"
_COLUMNS = {
    "model": lambda row: row["model"] + ("" if row["weights"] == "trained" else f" ({row['weights']} weights)"),
    "backend": lambda row: row["backend"],
    "precision": lambda row: row["precision"],
    "head": lambda row: row["head"],
    "input": lambda row: (
        "{1}×{0}".format(*row["input_hw"]) + ("" if row["input_scale"] == 1 else f" × {row['input_scale']:g}")
    ),
    "batch": lambda row: str(row["batch"]),
    "engine ms": lambda row: f"{row['engine_ms_median']:.2f}",
    "frame ms": lambda row: f"{row['frame_ms_median']:.2f}",
    "p95": lambda row: f"{row['frame_ms_p95']:.2f}",
    "frames/s": lambda row: f"{row['frames_per_s']:.0f}",
    "memory MB": lambda row: f"{row['peak_memory_mb']:.0f}",
    "model MB": lambda row: f"{row['model_mb']:.2f}",
    _F1: lambda row: _share(row["f1_at_10"]),
    _STATIC_F1: lambda row: _share(row.get("static_f1_at_10")),
}

_TEXT_COLUMNS = 5  # the first ones; numbers follow
_IDENTITY = [*_COLUMNS][: _TEXT_COLUMNS + 1]  # what is measured; then how fast it is
_STATISTICS = "engine ms and frame ms are medians, frames/s counts the time of all calls, slow ones included"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def benchmark_table(rows: Sequence[Row]) -> str:
    """The rows as aligned text, and what the numbers are."""
    return f"{text_table(_cells(rows), _TEXT_COLUMNS)}\n{_STATISTICS}"


def _told_apart(rows: Sequence[Row]) -> list[Row]:
    """The rows, with the file beside the model where two would read alike."""
    alike = Counter(map(_what, rows))
    return [{**row, "model": f"{row['model']} ({row['file']})"} if alike[_what(row)] > 1 else row for row in rows]


def _what(row: Row) -> tuple[str, ...]:
    return tuple(_COLUMNS[name](row) for name in _IDENTITY)


def _cells(rows: Sequence[Row]) -> list[list[str]]:
    """The names of the columns, then the cells of each row; without F1 where no row has one."""
    rows = _told_apart(rows)
    optional = {_F1: "f1_at_10", _STATIC_F1: "static_f1_at_10"}
    left_out = {name for name, key in optional.items() if all(row.get(key) is None for row in rows)}
    columns = {name: column for name, column in _COLUMNS.items() if name not in left_out}
    return [list(columns), *([column(row) for column in columns.values()] for row in rows)]


def write_markdown(path: Path, rows: Sequence[Row], where: dict[str, Any]) -> None:
    """The rows as a table in Markdown, below the machine and the versions."""
    packages = ", ".join(f"{name} {version}" for name, version in where["packages"].items())
    threads = f"{where['engine_threads']} threads" if where["engine_threads"] else "threads chosen by the engines"
    head, *body = _cells(rows)
    lines = [
        f"{where['date']}, {where['processor']}, {where['cores']} cores, {threads}, GPU: {where['gpu'] or 'none'}, "
        f"Python {where['python']}, {packages}.",
        "",
        *("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *body)),
        "",
        f"{_STATISTICS[:1].upper()}{_STATISTICS[1:]}.",
    ]
    write_text(path, "\n".join(lines) + "\n")


def write_pareto_plot(stem: Path, rows: Sequence[Row]) -> bool:
    """F1 at 10 % over the milliseconds of a frame, as `stem`.png and `stem`.svg; whether there is a plot.

    A colour for each model, a marker for each precision, a filling for each backend. Rows without F1 and those with
    random weights are left out. Where no row is left there is no plot, and an earlier one is removed.
    """
    rows = [row for row in _told_apart(rows) if row["f1_at_10"] is not None and row["weights"] != "random"]
    if not rows:
        for suffix in (".png", ".svg"):
            stem.with_name(stem.name + suffix).unlink(missing_ok=True)
        return False
    # imported here: each row's process would load matplotlib otherwise, and count it as the engine's memory
    from matplotlib.ticker import LogLocator, NullFormatter

    from regenhance_data import plots

    figure, axes = plots.new_plot(
        (8, 5),
        "milliseconds from a decoded frame to importance, a frame",
        "F1 with 10 % of the macroblocks enhanced",
    )
    axes.grid(axis="x", color=plots.GRID_COLOUR, linewidth=0.8)
    front = pareto_front(rows, cost=itemgetter("frame_ms_median"), value=itemgetter("f1_at_10"))
    if len(front) > 1:  # of one row there is no line
        points = [[row[key] for row in front] for key in ("frame_ms_median", "f1_at_10")]
        axes.plot(*points, color=plots.GREY, drawstyle="steps-post", zorder=1, label="Pareto front")
    _draw_rows(axes, rows, (plots.BLUE, *plots.FURTHER_COLOURS, plots.BLACK, plots.PINK))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    plots.save_figure(figure, stem)
    return True


def _draw_rows(axes: Any, rows: Sequence[Row], palette: Sequence[str]) -> None:
    """A point for each row, and the legend's entries for models, precisions and backends."""
    models, precisions, backends = (list(dict.fromkeys(row[key] for row in rows)) for key in _LEGEND)
    colours = {model: palette[i % len(palette)] for i, model in enumerate(models)}
    for row in rows:
        colour = colours[row["model"]]
        axes.scatter(
            row["frame_ms_median"],
            row["f1_at_10"],
            s=45,
            marker=_MARKERS.get(row["precision"], "d"),
            facecolor=_filling(backends.index(row["backend"]), colour),
            edgecolor=colour,
            linewidth=1.5,
            zorder=2,
        )
    for model in models:
        axes.scatter([], [], color=colours[model], label=model)
    for precision in precisions:
        axes.scatter([], [], color=_LEGEND_COLOUR, marker=_MARKERS.get(precision, "d"), label=precision)
    if len(backends) > 1:
        for i, backend in enumerate(backends):
            face = _filling(i, _LEGEND_COLOUR)
            axes.scatter([], [], facecolor=face, edgecolor=_LEGEND_COLOUR, marker="o", label=backend)


def _filling(index: int, colour: str) -> str:
    return (colour, "white", "#d8d8d8")[index % 3]
