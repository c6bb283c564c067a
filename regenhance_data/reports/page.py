"""Parts of a report, which is one HTML file that needs no network: page, images, charts, tables, colour scales.

Every image and chart is a data URI; every text that comes from a file is escaped by the function that takes it.
"""

import base64
import html
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from string import Template

import cv2
import numpy as np
from matplotlib.figure import Figure

from regenhance_data import plots
from regenhance_data.dataset.label_png import level_colours
from regenhance_data.dataset.split import SPLITS
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import write_text
from regenhance_data.io.images import encode_jpeg
from regenhance_data.regions.overlay import draw_heatmap

SPLIT_COLOURS = dict(zip(SPLITS, (plots.BLUE, plots.ORANGE, plots.GREEN), strict=True))
SCALE_STEPS = 256  # of a colour scale
ZOOMED = 0.25  # of the frame's height: a few macroblocks, large enough to see what enhancement adds
LEAST_CHART = 0.65  # of its size: matplotlib's 10 pt are 8.5 px then, still easy to read


def write_page(path: Path, title: str, template: str, **parts: str) -> None:
    """Write a page to `path`, whole or not at all: page_template.html around `template`, filled with `parts`.

    `title` is plain text; `parts` are HTML. KeyError when the template has a placeholder without a part.
    """
    here = Path(__file__).parent
    body = Template((here / template).read_text(encoding="utf-8")).substitute(parts, title=html.escape(title))
    skeleton = Template((here / "page_template.html").read_text(encoding="utf-8"))
    page = skeleton.substitute(title=html.escape(title), body=body)
    write_text(path, page.encode(errors="replace").decode())  # names of files need not be UTF-8


def data_uri(content: bytes, kind: str) -> str:
    """A file's content as a data URI; `kind` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def image_uri(image: np.ndarray, most_width_px: int | None = None) -> str:
    """An RGB image, uint8 [H, W, 3], as the data URI of a JPEG, shrunk to `most_width_px` where it is wider."""
    height, width = image.shape[:2]
    if most_width_px is not None and width > most_width_px:
        size = (most_width_px, max(round(height * most_width_px / width), 1))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return data_uri(encode_jpeg(np.ascontiguousarray(image), quality=88), "image/jpeg")


def captioned_image(image: np.ndarray, caption: str, most_width_px: int | None = None) -> str:
    """An image with its caption below."""
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="{image_uri(image, most_width_px)}"><figcaption>{text}</figcaption></figure>'


def chart(figure: Figure, alt: str) -> str:
    """A matplotlib figure as SVG with an alternative text. It scrolls where the page is too narrow to read it."""
    least_px = round(figure.get_figwidth() * 96 * LEAST_CHART)
    attributes = f'style="min-width: {least_px}px" src="{data_uri(plots.svg_bytes(figure), "image/svg+xml")}"'
    return f'<figure class="scroll"><img class="chart" alt="{html.escape(alt)}" {attributes}></figure>'


def video(path: Path, name: str, text: str, most_bytes: int) -> str:
    """A video below a text; of one that is larger than `most_bytes`, only that `name` is its file."""
    if path.stat().st_size > most_bytes:
        return f"<p>The {name} is {html.escape(path.name)}.</p>"
    source = data_uri(path.read_bytes(), "video/mp4")
    return (
        f"<p>{html.escape(text)}</p><video controls muted loop playsinline preload='metadata' src='{source}'></video>"
    )


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], strong: Collection[str] = ()) -> str:
    """A table of plain-text cells; rows that begin with one of `strong` are. It scrolls where it is too wide."""
    lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"] if head else []
    for cells in rows:
        tag = '<tr class="strong">' if cells[0] in strong else "<tr>"
        lines.append(tag + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def levels_chart(level_pixels: Mapping[str, np.ndarray]) -> str:
    """Bars of the share of pixels at each level, side by side for the splits; {split: pixels by level [levels]}."""
    figure, axes = plots.new_plot((5, 3.4), "level", "share of the pixels, %")
    for index, name in enumerate(SPLITS):
        pixels = np.asarray(level_pixels[name], dtype=float)
        places = np.arange(len(pixels)) + (index - 1) * 0.27
        axes.bar(places, 100 * pixels / max(pixels.sum(), 1), 0.27, color=SPLIT_COLOURS[name], label=name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return chart(figure, "pixels by level")


def heat_scale(low: str, high: str) -> str:
    """The colours of `draw_heatmap` on grey, from importance 0 (its label `low`) to 1 (`high`)."""
    grey = np.full((1, SCALE_STEPS, 3), 128, np.uint8)
    return _scale(
        draw_heatmap(grey, np.linspace(0, 1, SCALE_STEPS)[None], MacroblockGrid(1, SCALE_STEPS, 1)), low, high
    )


def level_scale(levels: int) -> str:
    """The colours of the levels, the lowest first."""
    return _scale(
        level_colours(levels)[None].repeat(-(-SCALE_STEPS // levels), axis=1), "level 0", f"level {levels - 1}"
    )


def _scale(colours: np.ndarray, low: str, high: str) -> str:
    strip = image_uri(colours.repeat(12, axis=0))
    return f'<span class="scale">{html.escape(low)} <img alt="" src="{strip}"> {html.escape(high)}</span>'


def zoom(image: np.ndarray, importance: np.ndarray, grid: MacroblockGrid) -> np.ndarray:
    """The surroundings of the most important macroblock, enlarged: uint8 [H, W, 3] → uint8 [h, w, 3], same aspect.

    importance: float [rows, cols] on `grid`, the image's. Pixels are repeated, not interpolated.
    """
    row, col = np.unravel_index(int(importance.argmax()), importance.shape)
    height, width = (max(round(side * ZOOMED), 1) for side in image.shape[:2])
    top, left = (
        int(np.clip((place + 0.5) * grid.mb_size - side / 2, 0, whole - side))
        for place, side, whole in ((row, height, image.shape[0]), (col, width, image.shape[1]))
    )
    cut = image[top : top + height, left : left + width]
    return cut.repeat(round(1 / ZOOMED), axis=0).repeat(round(1 / ZOOMED), axis=1)
