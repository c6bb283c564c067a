"""What all figures share: colours that everyone can tell apart, and how they are written."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from regenhance_data.io.files import written_whole

OTHER_COLOURS = ("#009E73", "#D55E00", "#56B4E9", "#8C6BB1", "#B5A000", "#7F4F24")  # of further models, by their names


def plain_axes(axes: Any, xlabel: str, ylabel: str) -> Any:
    """Axes with a faint horizontal grid and no frame, as all charts of a report have; returns them."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e8ec", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    return axes


def save_figure(figure: Figure, stem: Path) -> None:
    """A figure as `stem`.png and `stem`.svg."""
    for suffix in (".png", ".svg"):
        with written_whole(stem.with_suffix(suffix)) as temporary:
            figure.savefig(temporary, dpi=150)
