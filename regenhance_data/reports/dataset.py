"""The dataset's report on one page: warnings, frames, importance, labels, splits and settings.

It shows a dataset at any stage. Only the frames that it shows are read.
"""

import html
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from regenhance_data import plots
from regenhance_data.dataset.folder import LABELS, LR_FRAMES, Dataset, Frame, evenly_spread
from regenhance_data.dataset.label_png import level_colours, read_label
from regenhance_data.dataset.levels import Normaliser
from regenhance_data.dataset.next_steps import hr_frames_command, importance_command
from regenhance_data.dataset.records import ClipRecord
from regenhance_data.dataset.statistics import (
    ClipStatistics,
    DatasetStatistics,
    collect_statistics,
    frame_difference,
    sample_frames,
    upsampled_and_hr,
)
from regenhance_data.dataset.warnings import DatasetWarning, dataset_warnings
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.regions.overlay import draw_heatmap
from regenhance_data.reports import page

SHEET_PX = 420  # an image's width on it: a third of the page, which stays under 5 MB
ZOOMED_FRAMES = 2
MOST_CLIPS = 12  # shown in charts
MOST_POINTS = 600  # of a line: more than its pixels on the page


def write_dataset_report(dataset: Dataset, path: Path) -> list[DatasetWarning]:
    """Write the report of a dataset at any stage to `path`; return the warnings at its top.

    InputError where a file of the dataset is broken; nothing is written then.
    """
    statistics = collect_statistics(dataset)
    frames = sample_frames(statistics)
    pairs = [(frame, *pair) for frame in frames if (pair := upsampled_and_hr(statistics, frame)) is not None]
    warnings = dataset_warnings(statistics)
    name = dataset.root.resolve().name
    page.write_page(
        path,
        f"Dataset {name}",
        "dataset_template.html",
        lead=html.escape(_lead(statistics)),
        next_step=_next_step(statistics),
        warnings=_warning_list(warnings, is_complete=bool(statistics.split_of)),
        frames_title="Frames, from the least important to the most" if statistics.has_importance else "Frames",
        contact_sheet=_contact_sheet(statistics, frames),
        enhancement=_enhancement(statistics, pairs),
        splits=_splits(statistics),
        over_time=_over_time(statistics),
        over_frame=_over_frame(statistics),
        settings=page.html_table([], _settings(statistics)),
        clips=_clip_table(statistics),
    )
    return warnings


def _lead(statistics: DatasetStatistics) -> str:
    frames, clips = sum(len(clip.frames) for clip in statistics.clips), len(statistics.clips)
    text = f"{frames} frames of {clips} clips" if clips > 1 else f"{frames} frames of one clip"
    if statistics.split_of:
        text += ": " + ", ".join(f"{count} {name}" for name, count in statistics.counts().items())
    return text + "."


def _next_step(statistics: DatasetStatistics) -> str:
    """What is missing and the command that makes it, as HTML."""
    data = f"--data {shlex.quote(str(statistics.dataset.root))}"
    if statistics.split_of:
        missing, command = "", f"check_dataset.py {data}"
    elif statistics.has_importance:
        missing, command = "There are no labels yet. ", f"make_seg_dataset.py {data}"
    elif statistics.hr_folder:
        words = importance_command(statistics.dataset, statistics.hr_folder)
        missing, command = "There is no importance yet. ", shlex.join(words)
    else:
        missing, command = "There are no HR frames yet. ", shlex.join(hr_frames_command(statistics.dataset))
    return f"{missing}Next: <code>python tools/{html.escape(command.removeprefix('python tools/'))}</code>"


def _warning_list(warnings: Sequence[DatasetWarning], is_complete: bool) -> str:
    """The warnings, as HTML; of an incomplete dataset little is known yet, so no warning means nothing there."""
    if is_complete and not warnings:
        return '<ul class="warnings"><li class="fine">No warnings.</li></ul>'
    lines = [
        f"<li><b>{html.escape(w.problem[0].upper() + w.problem[1:])}.</b> "
        f"<span>{html.escape(w.advice[0].upper() + w.advice[1:])}.</span></li>"
        for w in warnings
    ]
    return f'<ul class="warnings">{"".join(lines)}</ul>'


def _maps(dataset: Dataset, frames: Iterable[Frame]) -> dict[Frame, np.ndarray]:
    """The importance of these frames, read clip by clip."""
    maps: dict[Frame, np.ndarray] = {}
    for clip, wanted in groupby(sorted(frames, key=lambda frame: frame.clip), key=lambda frame: frame.clip):
        by_number = {frame.number: frame for frame in wanted}
        if not dataset.importance_path(clip).exists():
            continue
        for numbers, importance in dataset.importance_file(clip).blocks():
            for index in np.flatnonzero(np.isin(numbers, list(by_number))):
                maps[by_number[int(numbers[index])]] = importance[index].copy()
    return maps


def _normaliser(dataset: Dataset, maps: Iterable[np.ndarray]) -> Normaliser:
    """The dataset's own; one fitted on these maps where it has none yet."""
    if dataset.record.normaliser is not None:
        return dataset.record.read_normaliser()
    values = np.concatenate([importance.ravel() for importance in maps])
    return Normaliser.fit("log", values) if values.any() else Normaliser("none")


def _contact_sheet(statistics: DatasetStatistics, frames: Sequence[Frame]) -> str:
    """A row for each frame: its LR frame, then importance (the HR frame before there is any), then its label."""
    dataset, totals = statistics.dataset, statistics.totals()
    maps = _maps(dataset, frames)
    if not (maps or statistics.hr_folder or statistics.pixels):
        figures = (page.captioned_image(dataset.read(LR_FRAMES, frame), _name(frame), SHEET_PX) for frame in frames)
        return f'<div class="grid">{"".join(figures)}</div>'
    normaliser = _normaliser(dataset, maps.values()) if maps else None
    heads = ["LR frame"]
    heads += ["importance"] if maps else ["HR frame"] if statistics.hr_folder else []
    heads += [f"label: {dataset.levels} levels"] if statistics.pixels else []
    cells = [f'<p class="head">{head}</p>' for head in heads]
    ranks = sorted(totals.values())
    for frame in frames:
        parts = [_name(frame), *([statistics.split_of.get(frame, "unused (gap)")] if statistics.split_of else [])]
        if frame in totals:
            share = np.searchsorted(ranks, totals[frame]) / max(len(ranks) - 1, 1)
            parts.append("no detection" if totals[frame] == 0 else f"more important than {share:.0%} of the frames")
        cells.append(f'<p class="row">{html.escape(" · ".join(parts))}</p>')
        images = _sheet_images(statistics, frame, maps, normaliser)
        cells += [_sheet_cell(image, head) for image, head in zip(images, heads, strict=True)]
    scales = page.heat_scale("importance 0", "1, most important") if maps else ""
    scales += page.level_scale(dataset.levels) if statistics.pixels else ""
    columns = f"grid-template-columns: repeat({len(heads)}, minmax(0, {SHEET_PX}px))"
    return f'<p>{scales}</p><div class="sheet" style="{columns}">{"".join(cells)}</div>'


def _name(frame: Frame) -> str:
    return f"{frame.clip or 'frame'} {frame.number}"


def _sheet_images(
    statistics: DatasetStatistics, frame: Frame, maps: dict[Frame, np.ndarray], normaliser: Normaliser | None
) -> Iterator[np.ndarray]:
    """The images of a row, in the order of the sheet's columns."""
    dataset = statistics.dataset
    lr = dataset.read(LR_FRAMES, frame)
    grid = MacroblockGrid(lr.shape[0], lr.shape[1], dataset.mb_size)
    yield lr
    if normaliser is not None:
        if frame in maps and maps[frame].shape != grid.shape:
            raise InputError(
                f"{dataset.path(LR_FRAMES, frame)}: differs in size from the clip's first frame; extract again"
            )
        yield draw_heatmap(lr, normaliser(maps[frame]), grid) if frame in maps else lr
    elif statistics.hr_folder:
        has_hr = dataset.path(statistics.hr_folder, frame).exists()
        yield dataset.read(statistics.hr_folder, frame) if has_hr else np.zeros_like(lr)
    if statistics.pixels:
        yield _label_image(dataset, frame, lr)


def _label_image(dataset: Dataset, frame: Frame, lr: np.ndarray) -> np.ndarray:
    """The label in the colours of the levels; black for a frame without one."""
    path = dataset.path(LABELS, frame)
    if not path.exists():
        return np.zeros_like(lr)
    return level_colours(dataset.levels)[np.minimum(read_label(path), dataset.levels - 1)]


def _enhancement(statistics: DatasetStatistics, pairs: Sequence[tuple[Frame, np.ndarray, np.ndarray]]) -> str:
    """Upsampled and HR frame around the most important macroblock, of the most important frames."""
    pairs = pairs[-ZOOMED_FRAMES:]
    if not pairs:
        return ""
    maps = _maps(statistics.dataset, [frame for frame, _, _ in pairs])
    figures = []
    for frame, upsampled, hr in pairs:
        grid = MacroblockGrid(hr.shape[0], hr.shape[1], statistics.dataset.mb_size * statistics.dataset.scale)
        importance = maps.get(frame, grid.mean(frame_difference(upsampled, hr).sum(2)))
        for kind, image in (("upsampled frame", upsampled), ("HR frame", hr)):
            figures.append(page.captioned_image(page.zoom(image, importance, grid), f"{_name(frame)}: {kind}"))
    what = "the most important macroblock" if maps else "the macroblock that differs most"
    return _section(
        "Effect of enhancement",
        f"A crop of the upsampled frame and of the HR frame, around {what}. Where the two look the same, enhancement "
        "gains a detector nothing.",
        f'<div class="grid pairs">{"".join(figures)}</div>',
    )


def _section(title: str, text: str, content: str) -> str:
    return f"<section><h2>{title}</h2><p>{html.escape(text)}</p>{content}</section>"


def _splits(statistics: DatasetStatistics) -> str:
    """The splits in a table, the shares of their levels as bars."""
    if statistics.pixels is None:
        return ""
    totals = statistics.totals()
    rows = []
    for name, count in statistics.counts().items():
        found = [totals[frame] for frame, split in statistics.split_of.items() if split == name and frame in totals]
        empty = f"{found.count(0.0) / len(found):.1%}" if found else "–"
        pixels = statistics.pixels[name]
        rows.append([name, str(count), empty, f"{pixels[0] / pixels.sum():.1%}" if pixels.sum() else "–"])
    return _section(
        "Splits and levels",
        "A budget selects only macroblocks of the highest levels. Frames without a detection have no importance: a "
        "few of them teach a predictor what an empty scene looks like, many make it predict 0 everywhere.",
        f'<div class="beside">{page.levels_chart(statistics.pixels)}'
        + page.html_table(["split", "frames", "without a detection", "pixels at level 0"], rows)
        + "</div>",
    )


def _charted_clips(statistics: DatasetStatistics) -> tuple[list[ClipStatistics], str]:
    """The clips with importance that get charts, evenly from all, and a sentence about the others."""
    clips = [clip for clip in statistics.clips if clip.mean is not None]
    shown = evenly_spread(clips, MOST_CLIPS)
    return shown, f" {len(shown)} of the {len(clips)} clips are shown." if len(shown) < len(clips) else ""


def _over_time(statistics: DatasetStatistics) -> str:
    clips, text = _charted_clips(statistics)
    if not clips:
        return ""
    figure = Figure(figsize=(9.6, 0.7 + 1.5 * len(clips)), layout="constrained")
    for axes, clip in zip(figure.subplots(len(clips), squeeze=False)[:, 0], clips, strict=True):
        last = clip is clips[-1]
        plots.plain_axes(axes, "frame" if last else "", "")
        axes.set_title(str(clip), fontsize=9, loc="left", color=plots.TEXT_COLOUR)
        numbers = np.array([frame.number for frame in clip.frames], dtype=float)
        axes.plot(*_thinned(numbers, clip.totals), color="#1b2430", linewidth=1.1)
        axes.set_ylim(bottom=0)
        axes.margins(x=0)
        _shade_splits(axes, statistics, clip)
    handles = [Patch(color=colour, alpha=0.25, label=name) for name, colour in page.SPLIT_COLOURS.items()]
    handles.append(Patch(facecolor="white", edgecolor="#9aa4af", hatch="////", label="gap, unused"))
    if statistics.split_of:
        figure.legend(handles=handles, loc="outside upper right", ncols=4, frameon=False, fontsize=9)
    return _section(
        "Importance over time",
        "The sum over each frame's macroblocks. Where one split looks unlike the others, the clip changes over "
        f"time.{text}",
        page.chart(figure, "importance over time"),
    )


def _thinned(numbers: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as means of neighbours where they are more than a line can show."""
    if len(numbers) <= MOST_POINTS:
        return numbers, totals
    parts = [np.array_split(values, MOST_POINTS) for values in (numbers, totals)]
    return np.array([p.mean() for p in parts[0]]), np.array([p.mean() for p in parts[1]])


def _shade_splits(axes: Any, statistics: DatasetStatistics, clip: ClipStatistics) -> None:
    if not statistics.split_of:
        return
    for split, run in groupby(clip.frames, key=statistics.split_of.get):
        numbers = [frame.number for frame in run]
        look = (
            {"color": page.SPLIT_COLOURS[split], "alpha": 0.16, "linewidth": 0}
            if split
            else {"facecolor": "none", "edgecolor": "#9aa4af", "hatch": "////", "linewidth": 0}
        )
        axes.axvspan(numbers[0] - 0.5, numbers[-1] + 0.5, **look)


def _over_frame(statistics: DatasetStatistics) -> str:
    clips, text = _charted_clips(statistics)
    figures = []
    for clip in clips:
        assert clip.mean is not None
        frame = statistics.dataset.read(LR_FRAMES, clip.frames[len(clip.frames) // 2])
        if frame.shape[:2] == (clip.grid.height, clip.grid.width):
            figures.append(
                page.captioned_image(
                    draw_heatmap(frame, clip.mean / max(clip.mean.max(), 1e-12), clip.grid), str(clip), SHEET_PX
                )
            )
    if not figures:
        return ""
    scale = page.heat_scale("importance 0", "the clip’s most important macroblock")
    return _section(
        "Importance over the frame",
        "The mean of all frames of a clip, drawn over one of them. With a fixed camera a predictor learns this first; "
        f"it adds to that only where frames differ from this mean.{text}",
        f'<p>{scale}</p><div class="grid">{"".join(figures)}</div>',
    )


def _settings(statistics: DatasetStatistics) -> list[list[str]]:
    """The settings in dataset.yaml, a row each: (setting, value)."""
    dataset, record = statistics.dataset, statistics.dataset.record
    rows = [["grid", f"macroblocks of {dataset.mb_size}×{dataset.mb_size} LR pixels"]]
    if statistics.hr_folder == "hr_images":
        rows.append(["HR frames", f"original, {dataset.scale} times as large"])
    elif statistics.hr_folder:
        rows.append(["HR frames", f"{dataset.scale} times as large, by upscaler {_recorded(record.upscaler, 'spec')}"])
    if record.detector is not None:
        spec, threshold, classes = (_recorded(record.detector, key) for key in ("spec", "score_threshold", "classes"))
        rows.append(["detector", f"{spec}, scores from {threshold}, {classes or 'all classes'}"])
    if importance := record.importance.to_dict():
        rows.append(["importance", ", ".join(f"{key} {value}" for key, value in importance.items())[:200]])
    if record.normaliser is not None:
        low, high = _recorded(record.normaliser, "low"), _recorded(record.normaliser, "high")
        rows.append(
            ["normaliser", f"{_recorded(record.normaliser, 'kind')}, from {low} to {high}, fitted on training frames"]
        )
        rows.append(["levels", str(dataset.levels)])
    if record.split.by is not None:
        gap = "by clip, as long as 10 frames of its video" if record.split.gap is None else f"{record.split.gap} frames"
        rows.append(["split", f"by {_plain(record.split.by)}, gap {gap}"])
    return [*rows, ["kit version", _plain(record.kit_version or "unknown")]]


def _clip_table(statistics: DatasetStatistics) -> str:
    rows = []
    for clip in statistics.clips[:MOST_CLIPS]:
        record = statistics.dataset.record.clips.get(clip.name, ClipRecord())
        source, rate = ("–" if value is None else _plain(value) for value in (record.source, record.frame_rate))
        empty = np.mean(clip.totals[~np.isnan(clip.totals)] == 0) if clip.mean is not None else None
        size = f"{clip.grid.width}×{clip.grid.height}"
        share = "–" if empty is None else f"{empty:.1%}"
        rows.append([str(clip), source, str(len(clip.frames)), size, rate, share])
    more = len(statistics.clips) - len(rows)
    table = page.html_table(["clip", "source", "frames", "size", "frames/s", "without a detection"], rows)
    return table + (f"<p>And {more} more clips.</p>" if more else "")


def _recorded(record: Mapping[str, Any] | None, key: str) -> str:
    """The value under a key of a mapping in dataset.yaml, as text; "–" for none."""
    value = (record or {}).get(key)
    return "–" if value is None else _plain(value)


def _plain(value: Any) -> str:
    """A number, a string or a list of them as short text."""
    if isinstance(value, list):
        return ", ".join(_plain(part) for part in value[:20] if not isinstance(part, list | dict))
    return f"{value:.3g}" if isinstance(value, float) else "…" if isinstance(value, dict) else str(value)[:100]


def _sheet_cell(image: np.ndarray, alt: str) -> str:
    return f'<img alt="{html.escape(alt)}" src="{page.image_uri(image, SHEET_PX)}">'
