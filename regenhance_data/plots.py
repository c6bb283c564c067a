"""What all figures share: colours that everyone can tell apart, and how they are written."""

from pathlib import Path

from matplotlib.figure import Figure

from regenhance_data.io.files import written_whole

OTHER_COLOURS = ("#009E73", "#D55E00", "#56B4E9", "#8C6BB1", "#B5A000", "#7F4F24")  # of further models, by their names


def save_figure(figure: Figure, stem: Path) -> None:
    """A figure as `stem`.png and `stem`.svg."""
    for suffix in (".png", ".svg"):
        with written_whole(stem.with_suffix(suffix)) as temporary:
            figure.savefig(temporary, dpi=150)
