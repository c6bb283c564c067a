"""Importance → label PNGs, split lists and their record in dataset.yaml: the dataset that PaddleSeg trains on."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from regenhance_data.console import progress, tell, warn
from regenhance_data.dataset.folder import LABELS, LR_FRAMES, PARTIAL, Dataset, Frame
from regenhance_data.dataset.importance_file import write_importance
from regenhance_data.dataset.importance_import import importance_read_as
from regenhance_data.dataset.importance_source import ImportanceSource, importance_source
from regenhance_data.dataset.label_png import label_png
from regenhance_data.dataset.levels import Kind, Normaliser, to_levels
from regenhance_data.dataset.records import ClipRecord, ImportanceRecord, SplitRecord
from regenhance_data.dataset.split import LEAST_OF_SHARE, SPLITS, Ratios, balanced_blocks, split_blocks, split_clips
from regenhance_data.dataset.split_lists import path_inside
from regenhance_data.dataset.staging import replace_folder
from regenhance_data.dataset.staleness import label_digests, labels_are_current, made_without_importance
from regenhance_data.defaults import MOST_MB_SIZE
from regenhance_data.errors import InputError
from regenhance_data.io.files import write_new
from regenhance_data.parallel.threads import bounded_map

_LABELS_PER_JOB = 32  # handing a job to a thread costs as much as a tenth of a label
_MOST_FITTED_CELLS = 2**23  # 67 MB as float64; nine thousand frames of 640×360


def make_seg_dataset(
    dataset: Dataset,
    importance_file: Path | None = None,
    levels: int = 10,
    mb_size: int | None = None,
    normalise: Kind = "log",
    ratios: Ratios | None = None,
    gap: int | None = None,
    split_by: str = "block",
) -> bool:
    """Write a label for every frame that has importance, split lists and dataset.yaml; False if all were current.

    The normaliser is fitted on the training frames only. The `gap` frames between the blocks of a clip are in no list;
    by default they last as long as 10 frames of its video, however few of those were extracted.
    `mb_size`: macroblock size, by default that of the importance. `importance_file` replaces importance/. Memory does
    not grow with the clips' length. InputError for importance that does not fit the frames, and for invalid settings;
    nothing is written then.
    """
    ratios = ratios or Ratios(0.7, 0.15, 0.15)
    mb_size = dataset.mb_size if mb_size is None else mb_size
    to_levels(np.zeros(0), levels)
    if not 1 <= mb_size <= MOST_MB_SIZE or (gap is not None and gap < 0):
        raise InputError(f"--mb_size {mb_size} --gap {gap}: expected 1 to {MOST_MB_SIZE}, and at least 0")
    if importance_file is not None:
        read_as = importance_read_as(importance_file)
        tell(f"{importance_file}: read as {read_as}")
    sources = {clip: importance_source(dataset, clip, importance_file, mb_size) for clip in dataset.clips()}
    gaps = {clip: _gap(dataset, clip, gap) for clip in sources}
    gap = gap if len(set(gaps.values())) != 1 else next(iter(gaps.values()))
    known_gap = gaps if gap is None else gap
    settings = {"levels": levels, "normalise": normalise, "ratios": asdict(ratios), "gap": known_gap, "by": split_by}
    digests = label_digests(settings, {clip: source.label_digest() for clip, source in sources.items()})
    if labels_are_current(dataset, digests, {clip: source.frames.values() for clip, source in sources.items()}):
        return False

    for frame in (frame for source in sources.values() for frame in source.frames.values()):
        path = dataset.path(LR_FRAMES, frame).relative_to(dataset.root)
        path_inside(path.as_posix(), dataset.root, str(dataset.root))  # the lists name it
    split = _split(dataset, sources, ratios, gaps, split_by)
    normaliser = _fit(normalise, sources, set(split["train"]))
    pixels = _write_labels(dataset, sources, split, normaliser, levels)
    # everything new is there: from here to the end the old files are replaced
    dataset.remove_lists()
    if importance_file is not None:
        _import_importance(dataset, ImportanceRecord(file=importance_file.name, read_as=read_as), sources)
    _replace_labels(dataset, sources)
    for name in SPLITS:
        dataset.write_split(name, split[name])
    dataset.save(
        mb_size=mb_size,
        levels=levels,
        normaliser=normaliser.to_dict(),
        split=_split_record(sources, split, ratios, gap, split_by).to_dict(),
        level_pixels={name: pixels[name].tolist() for name in SPLITS},
        made={**dataset.record.made, LABELS: digests},
    )
    return True


def recorded_settings(dataset: Dataset) -> dict[str, Any]:
    """The settings that the labels were made with, as `make_seg_dataset` takes them; {} where none are recorded.

    InputError where they are broken.
    """
    record = dataset.record
    if record.split.by is None or record.normaliser is None:
        return {}
    try:
        ratios = Ratios(**record.split.ratios)
    except TypeError:
        raise InputError(f"{record.path}: split is broken; make the labels again") from None
    return {
        "levels": record.levels,
        "normalise": record.read_normaliser().kind,
        "ratios": ratios,
        "gap": record.split.gap,
        "split_by": record.split.by,
    }


def _gap(dataset: Dataset, clip: str, gap: int | None) -> int:
    return dataset.record.clips.get(clip, ClipRecord()).default_gap if gap is None else gap


def _split(
    dataset: Dataset,
    sources: Mapping[str, ImportanceSource],
    ratios: Ratios,
    gaps: Mapping[str, int],
    split_by: str,
) -> dict[str, list[Frame]]:
    split: dict[str, list[Frame]] = {name: [] for name in SPLITS}
    if split_by == "clip":
        recorded = dataset.record.split
        same = recorded.by == "clip" and recorded.ratios == asdict(ratios)
        for name, clips in split_clips(list(sources), ratios, recorded.clips if same else None).items():
            split[name] = [frame for clip in clips for frame in sources[clip].frames.values()]
        return split
    for clip, source in sources.items():
        frames = list(source.frames.values())
        blocks = _blocks(clip or "of the flat layout", _importance_of_frames(source), ratios, gaps[clip])
        for name, parts in blocks.items():
            split[name] += [frames[i] for block in parts for i in block]
    return split


def _importance_of_frames(source: ImportanceSource) -> np.ndarray:
    """The sum over the macroblocks of each frame, float64 [frames], in their order; at most twice the median of those
    above 0, so that a single frame does not count as many.
    """
    totals = {
        number: float(cells.sum(dtype=np.float64))
        for numbers, importance in source.blocks()
        for number, cells in zip(numbers.tolist(), importance, strict=True)
    }
    sums = np.array([totals[number] for number in source.frames])
    return np.minimum(sums, 2 * np.median(sums[sums > 0])) if sums.any() else sums


def _blocks(clip: str, importance: np.ndarray, ratios: Ratios, gap: int) -> dict[str, list[range]]:
    """The blocks of each split of a clip from the importance [frames]; prints what is unusual about them."""
    frames, usual = len(importance), split_blocks(len(importance), ratios, gap)
    blocks, served = balanced_blocks(importance, ratios, gap)
    if len(usual["train"]) == frames and ratios.train < 1:
        warn(
            f"clip {clip}: {frames} frames are too few to cut with a gap of {gap}; all go to train (give a smaller "
            "--gap, or more frames)"
        )
    elif importance.any() and served < LEAST_OF_SHARE:
        warn(
            f"clip {clip}: no cut was found that gives each split a quarter of its share of importance, which "
            f"{np.count_nonzero(importance)} of {frames} frames have; extract more of the video, or use --split_by clip"
        )
    if [block for parts in blocks.values() for block in parts] != [block for block in usual.values() if block]:
        cut = ", ".join(f"{name} {' + '.join(str(len(block)) for block in parts)}" for name, parts in blocks.items())
        tell(f"clip {clip}: cut into other blocks, for the sake of the splits' shares of importance ({cut} frames)")
    return blocks


def _fit(normalise: Kind, sources: Mapping[str, ImportanceSource], training: set[Frame]) -> Normaliser:
    """The normaliser, fitted on the training frames."""
    normaliser = Normaliser.fit(normalise, _training_cells(sources, training))
    if normalise == "none":  # the only kind that refuses some importance: do so before anything is written
        for _, importance in (block for source in sources.values() for block in source.blocks()):
            normaliser(importance)
    return normaliser


def _training_cells(sources: Mapping[str, ImportanceSource], training: set[Frame]) -> np.ndarray:
    """The importance of the training frames' macroblocks [n]. Of very many, only every second, third, …, of every
    frame: where objects are rare, a frame that is left out may be one of few that have any. Which ones turns from frame
    to frame.
    """
    cells = sum(s.grid.rows * s.grid.cols for s in sources.values() for f in s.frames.values() if f in training)
    every = -(-cells // _MOST_FITTED_CELLS) or 1
    fitted, position = [np.zeros(0, np.float32)], 0
    for source in sources.values():
        for numbers, importance in source.blocks():
            for number, values in zip(numbers.tolist(), importance, strict=True):
                if source.frames[number] in training:
                    fitted.append(values.ravel()[position % every :: every].copy())  # a view would keep its block
                    position += 1
    return np.concatenate(fitted)


def _import_importance(dataset: Dataset, record: ImportanceRecord, sources: Mapping[str, ImportanceSource]) -> None:
    """Copy importance to importance/ from the file of the `record`, and record that it comes from there."""
    dataset.save(importance=record.to_dict(), made=made_without_importance(dataset.record))
    for clip, source in sources.items():
        ((numbers, maps),) = source.blocks()
        write_importance(dataset.importance_path(clip), maps, numbers)


def _write_labels(
    dataset: Dataset,
    sources: Mapping[str, ImportanceSource],
    split: Mapping[str, list[Frame]],
    normaliser: Normaliser,
    levels: int,
) -> dict[str, np.ndarray]:
    """Write all labels beside the old ones; return the pixels of each level in each split, int64 [levels]."""
    split_of = {frame: name for name, frames in split.items() for frame in frames}
    pixels = {name: np.zeros(levels, np.int64) for name in SPLITS}
    partial = {clip: _partial_folder(dataset, clip) for clip in sources}
    for folder in partial.values():
        folder.mkdir(parents=True)

    def jobs() -> Iterator[tuple[ImportanceSource, Path, list[Frame], np.ndarray]]:
        for clip, source in sources.items():
            for numbers, importance in source.blocks():
                frames = [source.frames[number] for number in numbers.tolist()]
                for start in range(0, len(frames), _LABELS_PER_JOB):
                    part = slice(start, start + _LABELS_PER_JOB)
                    yield source, partial[clip], frames[part], importance[part]

    def write(job: tuple[ImportanceSource, Path, list[Frame], np.ndarray]) -> tuple[list[Frame], np.ndarray]:
        """Write the labels of some frames; return these, and the pixels of each level in each [n, levels]."""
        source, folder, frames, importance = job
        level_grids = to_levels(normaliser(importance), levels)
        for frame, level_grid in zip(frames, level_grids, strict=True):
            write_new(folder / f"{frame.stem}.png", label_png(level_grid, source.grid, levels))
        of_levels = level_grids[:, None] == np.arange(levels)[:, None, None]
        return frames, (of_levels * source.grid.areas).sum((2, 3))

    written = (pair for frames, counts in bounded_map(write, jobs()) for pair in zip(frames, counts, strict=True))
    for frame, count in progress(written, "labels", sum(len(s.frames) for s in sources.values())):
        if frame in split_of:
            pixels[split_of[frame]] += count
    return pixels


def _replace_labels(dataset: Dataset, clips: Iterable[str]) -> None:
    for clip in clips:
        replace_folder(_partial_folder(dataset, clip), dataset.root / LABELS / clip)


def _partial_folder(dataset: Dataset, clip: str) -> Path:
    """The folder of a clip's labels until all are written: it is faster than renaming each file."""
    return dataset.root / LABELS / f"{PARTIAL}{clip}" if clip else dataset.root / f"{PARTIAL}{LABELS}"


def _split_record(
    sources: Mapping[str, ImportanceSource],
    split: Mapping[str, list[Frame]],
    ratios: Ratios,
    gap: int | None,
    split_by: str,
) -> SplitRecord:
    counts = {name: len(split[name]) for name in SPLITS}
    unused = sum(len(source.frames) for source in sources.values()) - sum(counts.values())
    clips = {name: sorted({frame.clip for frame in split[name]}) for name in SPLITS} if split_by == "clip" else {}
    return SplitRecord(split_by, asdict(ratios), gap, {**counts, "unused": unused}, clips)
