"""The dataset's report: what made it, what its frames, importance and labels look like, and what to mend, on one page.

It shows a dataset at any stage. Of the pictures only the shown ones are read.
"""

import html
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from regenhance_data import plots
from regenhance_data.dataset.folder import LABELS, LR_FRAMES, Dataset, Frame
from regenhance_data.dataset.label_png import level_colours, read_label
from regenhance_data.dataset.levels import Normaliser
from regenhance_data.dataset.records import ClipRecord
from regenhance_data.dataset.statistics import (
    ClipStatistics,
    DatasetStatistics,
    DatasetWarning,
    collect_statistics,
    dataset_warnings,
)
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.regions.composite import upsample_frame
from regenhance_data.regions.overlay import draw_heatmap
from regenhance_data.reports import page

SHEET_ROWS = 10  # of the contact sheet
SHEET_PX = 420  # a picture's width on it: a third of the page, and the page stays under 5 MB
ZOOMED_FRAMES = 2
MOST_CLIPS = 12  # with charts of their own
MOST_POINTS = 600  # of a line: more than its pixels on the page


def write_dataset_report(dataset: Dataset, path: Path) -> list[DatasetWarning]:
    """Write the report of a dataset at any stage to `path`; return the warnings that stand at its top.

    InputError where a file of the dataset is broken; nothing is written then.
    """
    survey = collect_statistics(dataset)
    shown = _chosen(survey)
    pairs = [(frame, *_pair(survey, frame)) for frame in shown if survey.hr_folder]
    warned = dataset_warnings(survey, [float(_difference(blurred, clear)) for _, blurred, clear in pairs])
    name = dataset.root.resolve().name
    page.write_page(
        path,
        f"Dataset {name}",
        "dataset_template.html",
        lead=html.escape(_lead(survey)),
        next_step=_next_step(survey),
        notes=_notes(warned, is_whole=bool(survey.split_of)),
        sheet_title="Frames, from the least important to the most" if survey.has_importance else "Frames",
        sheet=_sheet(survey, shown),
        zoomed=_zoomed(survey, pairs),
        splits=_splits(survey),
        over_time=_over_time(survey),
        over_frame=_over_frame(survey),
        made_by=page.table([], [(False, row) for row in _made_by(survey)]),
        clips=_clip_table(survey),
    )
    return warned


def _chosen(survey: DatasetStatistics) -> list[Frame]:
    """Frames for the contact sheet, from the least important to the most, from as many clips and splits as can be."""
    totals = survey.totals() or {frame: 0.0 for clip in survey.clips for frame in clip.frames}
    frames = sorted(totals, key=lambda frame: totals[frame])
    used: Counter[str | None] = Counter()
    chosen = []
    for places in np.array_split(np.arange(len(frames)), min(SHEET_ROWS, len(frames))):
        traits = {i: (f"clip {frames[i].clip}", survey.split_of.get(frames[i])) for i in places}
        best = min(places, key=lambda i: (sum(used[t] for t in traits[i]), abs(i - places.mean())))
        used.update(traits[best])
        chosen.append(frames[best])
    return chosen


def _pair(survey: DatasetStatistics, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """(blurred, clear) of a frame. InputError where the clear one has another size."""
    dataset, clear = survey.dataset, str(survey.hr_folder)
    blurred = upsample_frame(dataset.read(LR_FRAMES, frame), dataset.scale)
    found = dataset.read(clear, frame)
    if found.shape != blurred.shape:
        raise InputError(
            f"{dataset.path(clear, frame)}: is {found.shape[1]}x{found.shape[0]}, expected "
            f"{blurred.shape[1]}x{blurred.shape[0]}; make it again"
        )
    return blurred, found


def _difference(blurred: np.ndarray, clear: np.ndarray) -> float:
    return np.abs(clear.astype(np.int16) - blurred).mean()


def _lead(survey: DatasetStatistics) -> str:
    frames, clips = sum(len(clip.frames) for clip in survey.clips), len(survey.clips)
    words = f"{frames} frames of {clips} clips" if clips > 1 else f"{frames} frames of one clip"
    if survey.split_of:
        words += ": " + ", ".join(f"{count} {name}" for name, count in survey.counts().items())
    return words + "."


def _next_step(survey: DatasetStatistics) -> str:
    """What is lacking and the command that makes it, as HTML."""
    data = f"--data {shlex.quote(str(survey.dataset.root))}"
    if survey.split_of:
        lacks, command = "", f"check_dataset.py {data}"
    elif survey.has_importance:
        lacks, command = "There are no labels yet. ", f"make_seg_dataset.py {data}"
    elif survey.hr_folder:
        lacks, command = "There is no importance yet. ", f"make_importance.py {data} --detector onnx:YOUR_DETECTOR.onnx"
    else:
        lacks, command = "There are no clear frames yet. ", f"super_resolve.py {data} --model builtin"
    return f"{lacks}Next: <code>python tools/{html.escape(command)}</code>"


def _notes(warned: Sequence[DatasetWarning], is_whole: bool) -> str:
    """The warnings; that there are none is said of a whole dataset only, as of others little is known yet."""
    if is_whole and not warned:
        return '<ul class="notes"><li class="fine">Nothing stands out that would spoil a predictor.</li></ul>'
    lines = [
        f"<li><b>{html.escape(w.problem[0].upper() + w.problem[1:])}.</b> "
        f"<span>{html.escape(w.advice[0].upper() + w.advice[1:])}.</span></li>"
        for w in warned
    ]
    return f'<ul class="notes">{"".join(lines)}</ul>'


def _maps(dataset: Dataset, frames: Iterable[Frame]) -> dict[Frame, np.ndarray]:
    """The importance of these frames, read clip by clip."""
    maps: dict[Frame, np.ndarray] = {}
    for clip, wanted in groupby(sorted(frames, key=lambda frame: frame.clip), key=lambda frame: frame.clip):
        by_number = {frame.number: frame for frame in wanted}
        if not dataset.importance_path(clip).exists():
            continue
        for numbers, importance in dataset.importance_file(clip).blocks():
            for place in np.flatnonzero(np.isin(numbers, list(by_number))):
                maps[by_number[int(numbers[place])]] = importance[place].copy()
    return maps


def _normaliser(dataset: Dataset, maps: Iterable[np.ndarray]) -> Normaliser:
    """The dataset's own; before it has one, one fitted on these maps."""
    if dataset.record.normaliser is not None:
        return dataset.record.read_normaliser()
    values = np.concatenate([importance.ravel() for importance in maps])
    return Normaliser.fit("log", values) if values.any() else Normaliser("none")


def _sheet(survey: DatasetStatistics, frames: Sequence[Frame]) -> str:
    """The contact sheet: a row a frame, with what there is of frame, clear frame, importance and label."""
    dataset, totals = survey.dataset, survey.totals()
    maps = _maps(dataset, frames)
    if not (maps or survey.hr_folder or survey.pixels):
        images = (page.shown(dataset.read(LR_FRAMES, frame), _place(frame), SHEET_PX) for frame in frames)
        return f'<div class="grid">{"".join(images)}</div>'
    normaliser = _normaliser(dataset, maps.values()) if maps else None
    heads = ["origin image"]
    heads += ["importance"] if maps else ["clear frame"] if survey.hr_folder else []
    heads += [f"label: {dataset.levels} levels"] if survey.pixels else []
    cells = [f'<p class="head">{head}</p>' for head in heads]
    ranks = sorted(totals.values())
    for frame in frames:
        words = [_place(frame), survey.split_of.get(frame, "in no split")]
        if frame in totals:
            share = np.searchsorted(ranks, totals[frame]) / max(len(ranks) - 1, 1)
            words.append("no detection" if totals[frame] == 0 else f"more at stake than in {share:.0%} of the frames")
        cells.append(
            f'<p class="row">{html.escape(" · ".join(words if survey.split_of else [words[0], *words[2:]]))}</p>'
        )
        cells += [_cell(image, head) for image, head in zip(_row(survey, frame, maps, normaliser), heads, strict=True)]
    scales = page.heat_scale("importance 0", "1, most important") if maps else ""
    scales += page.level_scale(dataset.levels) if survey.pixels else ""
    columns = f"grid-template-columns: repeat({len(heads)}, minmax(0, {SHEET_PX}px))"
    return f'<p>{scales}</p><div class="sheet" style="{columns}">{"".join(cells)}</div>'


def _place(frame: Frame) -> str:
    return f"{frame.clip or 'frame'} {frame.number}"


def _row(
    survey: DatasetStatistics, frame: Frame, maps: dict[Frame, np.ndarray], normaliser: Normaliser | None
) -> Iterator[np.ndarray]:
    """The pictures of a row, in the order of the sheet's heads."""
    dataset = survey.dataset
    origin = dataset.read(LR_FRAMES, frame)
    grid = MacroblockGrid(origin.shape[0], origin.shape[1], dataset.mb_size)
    yield origin
    if normaliser is not None:
        if frame in maps and maps[frame].shape != grid.shape:
            raise InputError(
                f"{dataset.path(LR_FRAMES, frame)}: differs in size from the clip's first frame; extract again"
            )
        yield draw_heatmap(origin, normaliser(maps[frame]), grid) if frame in maps else origin
    elif survey.hr_folder:
        yield dataset.read(survey.hr_folder, frame)
    if survey.pixels:
        yield _label_picture(dataset, frame, origin)


def _label_picture(dataset: Dataset, frame: Frame, origin: np.ndarray) -> np.ndarray:
    """The label in the colours of the levels; black where there is none."""
    path = dataset.path(LABELS, frame)
    if not path.exists():
        return np.zeros_like(origin)
    return level_colours(dataset.levels)[np.minimum(read_label(path), dataset.levels - 1)]


def _zoomed(survey: DatasetStatistics, pairs: Sequence[tuple[Frame, np.ndarray, np.ndarray]]) -> str:
    """Blurred and clear frame around the most important macroblock, of the frames where most is at stake."""
    shown = pairs[-ZOOMED_FRAMES:]
    if not shown:
        return ""
    maps = _maps(survey.dataset, [frame for frame, _, _ in shown])
    figures = []
    for frame, blurred, clear in shown:
        grid = MacroblockGrid(clear.shape[0], clear.shape[1], survey.dataset.mb_size * survey.dataset.scale)
        importance = maps.get(frame, grid.mean(np.abs(clear.astype(np.int16) - blurred).sum(2)))
        figures.append(page.shown(page.zoom(blurred, importance, grid), f"{_place(frame)}: blurred frame"))
        figures.append(page.shown(page.zoom(clear, importance, grid), f"{_place(frame)}: clear frame"))
    what = "the most important macroblock" if maps else "the macroblock that differs most"
    return _section(
        "What enhancement adds",
        f"A cut-out of the blurred frame (the origin image, interpolated up) and of the clear frame, around {what}. "
        "What cannot be told apart here, a detector gains nothing from.",
        f'<div class="grid pairs">{"".join(figures)}</div>',
    )


def _section(title: str, words: str, content: str) -> str:
    return f"<section><h2>{title}</h2><p>{html.escape(words)}</p>{content}</section>"


def _splits(survey: DatasetStatistics) -> str:
    """The table of the splits and the bars of their levels."""
    if survey.pixels is None:
        return ""
    totals = survey.totals()
    rows = []
    for name, count in survey.counts().items():
        found = [totals[frame] for frame, split in survey.split_of.items() if split == name and frame in totals]
        empty = f"{found.count(0.0) / len(found):.1%}" if found else "–"
        pixels = survey.pixels[name]
        rows.append((False, [name, str(count), empty, f"{pixels[0] / pixels.sum():.1%}" if pixels.sum() else "–"]))
    return _section(
        "Splits and levels",
        "A budget only ever reaches the upper levels. Frames without a detection have no importance anywhere: some "
        "teach a predictor what an empty road is, many make it say 0.",
        f'<div class="beside">{page.levels_chart(survey.pixels)}'
        + page.table(["split", "frames", "without a detection", "pixels at level 0"], rows)
        + "</div>",
    )


def _shown_clips(survey: DatasetStatistics) -> tuple[list[ClipStatistics], str]:
    """The clips with importance that get charts, evenly from all, and words about the others."""
    clips = [clip for clip in survey.clips if clip.mean is not None]
    if len(clips) <= MOST_CLIPS:
        return clips, ""
    places = np.linspace(0, len(clips) - 1, MOST_CLIPS).round().astype(int)
    return [clips[place] for place in places], f" {MOST_CLIPS} of the {len(clips)} clips are shown."


def _over_time(survey: DatasetStatistics) -> str:
    clips, words = _shown_clips(survey)
    if not clips:
        return ""
    figure = Figure(figsize=(9.6, 0.7 + 1.5 * len(clips)), layout="constrained")
    for axes, clip in zip(figure.subplots(len(clips), squeeze=False)[:, 0], clips, strict=True):
        last = clip is clips[-1]
        plots.plain_axes(axes, "frame" if last else "", "")
        axes.set_title(str(clip), fontsize=9, loc="left", color="#5b6675")
        numbers = np.array([frame.number for frame in clip.frames], dtype=float)
        axes.plot(*_thinned(numbers, clip.totals), color="#1b2430", linewidth=1.1)
        axes.set_ylim(bottom=0)
        axes.margins(x=0)
        _shade_splits(axes, survey, clip)
    handles = [Patch(color=colour, alpha=0.25, label=name) for name, colour in page.SPLIT_COLOURS.items()]
    handles.append(Patch(facecolor="white", edgecolor="#9aa4af", hatch="////", label="gap, in no split"))
    if survey.split_of:
        figure.legend(handles=handles, loc="outside upper right", ncols=4, frameon=False, fontsize=9)
    return _section(
        "Importance over time",
        "The sum over each frame's macroblocks. Blocks of one split that look unlike the others tell that the clip "
        f"changes on the way.{words}",
        page.chart(figure, "importance over time"),
    )


def _thinned(numbers: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both, in means of neighbours where there are more than a line can show."""
    if len(numbers) <= MOST_POINTS:
        return numbers, totals
    parts = [np.array_split(values, MOST_POINTS) for values in (numbers, totals)]
    return np.array([p.mean() for p in parts[0]]), np.array([p.mean() for p in parts[1]])


def _shade_splits(axes: Any, survey: DatasetStatistics, clip: ClipStatistics) -> None:
    if not survey.split_of:
        return
    for split, run in groupby(clip.frames, key=survey.split_of.get):
        numbers = [frame.number for frame in run]
        look = (
            {"color": page.SPLIT_COLOURS[split], "alpha": 0.16, "linewidth": 0}
            if split
            else {"facecolor": "none", "edgecolor": "#9aa4af", "hatch": "////", "linewidth": 0}
        )
        axes.axvspan(numbers[0] - 0.5, numbers[-1] + 0.5, **look)


def _over_frame(survey: DatasetStatistics) -> str:
    clips, words = _shown_clips(survey)
    figures = []
    for clip in clips:
        assert clip.mean is not None
        frame = survey.dataset.read(LR_FRAMES, clip.frames[len(clip.frames) // 2])
        if frame.shape[:2] == (clip.grid.height, clip.grid.width):
            figures.append(
                page.shown(draw_heatmap(frame, clip.mean / max(clip.mean.max(), 1e-12), clip.grid), str(clip), SHEET_PX)
            )
    if not figures:
        return ""
    scale = page.heat_scale("nothing", "the clip’s most important macroblock")
    return _section(
        "Importance over the frame",
        "The mean of all frames of a clip, over one of them. Where a camera stands still, this is what a predictor "
        f"learns first; a predictor is worth its time only if frames differ from it.{words}",
        f'<p>{scale}</p><div class="grid">{"".join(figures)}</div>',
    )


def _made_by(survey: DatasetStatistics) -> list[list[str]]:
    """What dataset.yaml says about how the dataset was made, a row each: (what, in words)."""
    dataset, record = survey.dataset, survey.dataset.record
    rows = [["grid", f"macroblocks of {dataset.mb_size}×{dataset.mb_size} origin pixels"]]
    if survey.hr_folder == "hr_images":
        rows.append(["clear frames", f"the originals, {dataset.scale} times as large"])
    elif survey.hr_folder:
        rows.append(["clear frames", f"{dataset.scale} times as large, by upscaler {_said(record.upscaler, 'spec')}"])
    if record.detector is not None:
        spec, threshold, classes = (_said(record.detector, key) for key in ("spec", "score_threshold", "classes"))
        rows.append(["detector", f"{spec}, scores from {threshold}, {classes or 'all classes'}"])
    if importance := record.importance.to_dict():
        rows.append(["importance", ", ".join(f"{key} {value}" for key, value in importance.items())[:200]])
    if record.normaliser is not None:
        low, high = _said(record.normaliser, "low"), _said(record.normaliser, "high")
        rows.append(
            ["normaliser", f"{_said(record.normaliser, 'kind')}, from {low} to {high}, fitted on training frames"]
        )
        rows.append(["levels", str(dataset.levels)])
    if record.split.by is not None:
        rows.append(["split", f"by {_plain(record.split.by)}, gap {record.split.gap} frames"])
    return [*rows, ["kit version", _plain(record.kit_version or "not said")]]


def _clip_table(survey: DatasetStatistics) -> str:
    rows = []
    for clip in survey.clips[:MOST_CLIPS]:
        record = survey.dataset.record.clips.get(clip.name, ClipRecord())
        source, rate = ("–" if value is None else _plain(value) for value in (record.source, record.frame_rate))
        empty = np.mean(clip.totals[~np.isnan(clip.totals)] == 0) if clip.mean is not None else None
        size = f"{clip.grid.width}×{clip.grid.height}"
        rows.append(
            (False, [str(clip), source, str(len(clip.frames)), size, rate, "–" if empty is None else f"{empty:.1%}"])
        )
    more = len(survey.clips) - len(rows)
    table = page.table(["clip", "source", "frames", "size", "frames/s", "without a detection"], rows)
    return table + (f"<p>And {more} more clips.</p>" if more else "")


def _said(record: Mapping[str, Any] | None, key: str) -> str:
    """What a mapping of dataset.yaml records under a key, as text; "–" where it records nothing."""
    value = (record or {}).get(key)
    return "–" if value is None else _plain(value)


def _plain(value: Any) -> str:
    """A number, a word or a list of them as short text."""
    if isinstance(value, list):
        return ", ".join(_plain(part) for part in value[:20] if not isinstance(part, list | dict))
    return f"{value:.3g}" if isinstance(value, float) else "…" if isinstance(value, dict) else str(value)[:100]


def _cell(image: np.ndarray, alt: str) -> str:
    return f'<img alt="{html.escape(alt)}" src="{page.picture(image, SHEET_PX)}">'
