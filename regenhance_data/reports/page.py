"""A report as one HTML file that needs no network: the page's head and style, and its parts from pictures and numbers.

Every picture and chart is a data URI; every word that comes from a file is escaped by the function that takes it.
"""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from regenhance_data.dataset.label_png import level_colours
from regenhance_data.dataset.split import SPLITS
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import write_text
from regenhance_data.io.images import encode_jpeg
from regenhance_data.plots import plain_axes
from regenhance_data.regions.overlay import draw_heatmap

SPLIT_COLOURS = dict(zip(SPLITS, ("#0072B2", "#E69F00", "#009E73"), strict=True))
STEPS = 256  # of a colour scale
# Of the frame's height. A quarter is a few macroblocks, where the eye sees what enhancement adds.
ZOOMED = 0.25
LEAST_CHART = 0.65  # of its size: matplotlib's 10 pt look like 8.5 px, the least that is read with ease


def write_page(path: Path, title: str, template: str, **parts: str) -> None:
    """Write a page to `path`, whole or not at all: the skeleton, in it the HTML file `template` filled with `parts`.

    `title` is plain text; `parts` are HTML. Each place of the template is filled or KeyError.
    """
    here = Path(__file__).parent
    body = Template((here / template).read_text(encoding="utf-8")).substitute(parts, title=html.escape(title))
    skeleton = Template((here / "page_template.html").read_text(encoding="utf-8"))
    write_text(path, skeleton.substitute(title=html.escape(title), body=body))


def data_uri(content: bytes, kind: str) -> str:
    """A file's content as an address that holds it; `kind` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def picture(image: np.ndarray, most_width_px: int | None = None) -> str:
    """An RGB image, uint8 [H, W, 3], as the data URI of a JPEG, shrunk where it is wider than `most_width_px`."""
    height, width = image.shape[:2]
    if most_width_px is not None and width > most_width_px:
        size = (most_width_px, max(round(height * most_width_px / width), 1))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return data_uri(encode_jpeg(np.ascontiguousarray(image), quality=88), "image/jpeg")


def shown(image: np.ndarray, words: str, most_width_px: int | None = None) -> str:
    """A picture with its words under it."""
    text = html.escape(words)
    return f'<figure><img alt="{text}" src="{picture(image, most_width_px)}"><figcaption>{text}</figcaption></figure>'


def chart(figure: Figure, words: str) -> str:
    """A matplotlib figure as SVG; `words` say to those who cannot see it what it shows.

    It scrolls where the page is too narrow for its text to be read.
    """
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "report", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    least_px = round(figure.get_figwidth() * 96 * LEAST_CHART)
    look = f'style="min-width: {least_px}px" src="{data_uri(buffer.getvalue(), "image/svg+xml")}"'
    return f'<figure class="scroll"><img class="chart" alt="{html.escape(words)}" {look}></figure>'


def table(head: Sequence[str], rows: Sequence[tuple[bool, Sequence[str]]]) -> str:
    """A table of cells that are plain text; a row is (strong, cells). It scrolls where it is too wide."""
    lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"] if head else []
    for strong, cells in rows:
        tag = '<tr class="strong">' if strong else "<tr>"
        lines.append(tag + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def levels_chart(level_pixels: Mapping[str, np.ndarray]) -> str:
    """Bars of the share of pixels a level, side by side for each split, from {split: pixels a level [levels]}."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = plain_axes(figure.add_subplot(), "level", "share of the pixels, %")
    for index, name in enumerate(SPLITS):
        pixels = np.asarray(level_pixels[name], dtype=float)
        places = np.arange(len(pixels)) + (index - 1) * 0.27
        axes.bar(places, 100 * pixels / max(pixels.sum(), 1), 0.27, color=SPLIT_COLOURS[name], label=name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return chart(figure, "pixels a level")


def heat_scale(low: str, high: str) -> str:
    """The colours that `heat` gives grey, from importance 0 (`low` says what that is) to 1 (`high`)."""
    grey = np.full((1, STEPS, 3), 128, np.uint8)
    return _scale(draw_heatmap(grey, np.linspace(0, 1, STEPS)[None], MacroblockGrid(1, STEPS, 1)), low, high)


def level_scale(levels: int) -> str:
    """The colours of the levels, the lowest first."""
    return _scale(level_colours(levels)[None].repeat(-(-STEPS // levels), axis=1), "level 0", f"level {levels - 1}")


def _scale(colours: np.ndarray, low: str, high: str) -> str:
    strip = picture(colours.repeat(12, axis=0))
    return f'<span class="scale">{html.escape(low)} <img alt="" src="{strip}"> {html.escape(high)}</span>'


def zoom(image: np.ndarray, importance: np.ndarray, grid: MacroblockGrid) -> np.ndarray:
    """What surrounds the most important macroblock: uint8 [H, W, 3] → uint8 [h, w, 3] of the same aspect, enlarged.

    Pixels are repeated, not blended: what is seen is what there is. `grid`: of the image, float [rows, cols] on it.
    """
    row, col = np.unravel_index(int(importance.argmax()), importance.shape)
    height, width = (max(round(side * ZOOMED), 1) for side in image.shape[:2])
    top, left = (
        int(np.clip((place + 0.5) * grid.mb_size - side / 2, 0, whole - side))
        for place, side, whole in ((row, height, image.shape[0]), (col, width, image.shape[1]))
    )
    cut = image[top : top + height, left : left + width]
    return cut.repeat(round(1 / ZOOMED), axis=0).repeat(round(1 / ZOOMED), axis=1)
