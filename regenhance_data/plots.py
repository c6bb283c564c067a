"""What all plots share: colours, plain axes, reference lines, and how they are saved."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from regenhance_data.io.files import atomic_write

# Okabe and Ito's palette, distinguishable with any colour vision
BLUE, ORANGE, GREEN, VERMILION, SKY_BLUE, PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
BLACK, GREY, BROWN = "#222222", "#999999", "#7F4F24"
FURTHER_COLOURS = (GREEN, VERMILION, SKY_BLUE, "#8C6BB1", "#B5A000")  # of models without a fixed colour
TEXT_COLOUR = "#5b6675"
GRID_COLOUR = "#e4e8ec"
_REPRODUCIBLE = {"svg.hashsalt": "report"}  # ids of parts of a figure, else random


def new_plot(size_in: tuple[float, float], xlabel: str, ylabel: str) -> tuple[Figure, Any]:
    """A figure of size_in (width, height in inches) with plain axes, and these axes."""
    figure = Figure(figsize=size_in, layout="constrained")
    return figure, plain_axes(figure.add_subplot(), xlabel, ylabel)


def plain_axes(axes: Any, xlabel: str, ylabel: str) -> Any:
    """Give axes their labels, a faint horizontal grid and no frame; returns them."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=GRID_COLOUR, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    return axes


def share_scale(axes: Any) -> None:
    """The y axis from 0 to 1, so that plots of different runs and clips can be compared."""
    axes.set_ylim(0, 1.04)


def note(axes: Any, text: str) -> None:
    """A text in the middle of a plot that has nothing to show."""
    axes.text(0.5, 0.5, text, ha="center", va="center", color=TEXT_COLOUR, transform=axes.transAxes)


def line_with_interval(
    axes: Any, x: Sequence[float], y: Sequence[float], intervals: Sequence[tuple[float, float]], **look: Any
) -> None:
    """A line with markers, its intervals (low, high) shaded; `look` as Axes.plot takes it, with a colour."""
    lows, highs = zip(*intervals, strict=True)
    axes.fill_between(x, lows, highs, color=look["color"], alpha=0.1, linewidth=0)
    axes.plot(x, y, "o-", markersize=4, **look)


def reference_line(axes: Any, level: float, label: str, align: str) -> None:
    """A dashed horizontal line at `level`, its label above it at the `align` ("left" or "right") end."""
    axes.axhline(level, color=TEXT_COLOUR, linewidth=1, linestyle=(0, (4, 3)))
    place = {"x": 0.01 if align == "left" else 0.99, "y": level, "transform": axes.get_yaxis_transform()}
    axes.text(s=label, ha=align, va="bottom", color=TEXT_COLOUR, fontsize=9, **place)


def svg_bytes(figure: Figure) -> bytes:
    """A figure as an SVG file whose text is text; the same bytes for the same figure."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({**_REPRODUCIBLE, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()


def save_figure(figure: Figure, stem: Path) -> None:
    """Write a figure to `stem`.png and `stem`.svg; the same bytes for the same figure."""
    for suffix, metadata in ((".png", {}), (".svg", {"Date": None})):
        with atomic_write(stem.with_name(stem.name + suffix)) as temporary, matplotlib.rc_context(_REPRODUCIBLE):
            figure.savefig(temporary, dpi=150, metadata=metadata)
