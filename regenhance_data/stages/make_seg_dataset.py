"""Importance becomes label PNGs, split lists and the numbers of dataset.yaml: the PaddleSeg dataset, and its proof."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from regenhance_data.console import progress, warn
from regenhance_data.dataset.folder import IMPORTANCE, LABELS, PARTIAL, SPLITS, Dataset, Frame
from regenhance_data.dataset.importance_file import write_importance
from regenhance_data.dataset.importance_source import ImportanceSource, importance_source, stems_of
from regenhance_data.dataset.label_png import label_png
from regenhance_data.dataset.levels import Kind, Normaliser, to_levels
from regenhance_data.dataset.split import Ratios, split_blocks, split_clips
from regenhance_data.defaults import MOST_MB_SIZE
from regenhance_data.errors import InputError
from regenhance_data.io.files import digest, write_new
from regenhance_data.parallel.threads import bounded_map

_LABELS_A_JOB = 32  # handing a job to a thread costs as much as a tenth of a label
_MOST_FITTED_CELLS = 2**18  # its 99.9th percentile still stands on 260 of them


def make_seg_dataset(
    dataset: Dataset,
    importance_file: Path | None = None,
    levels: int = 10,
    mb_size: int | None = None,
    normalise: Kind = "log",
    ratios: Ratios | None = None,
    gap: int = 10,
    split_by: str = "block",
) -> bool:
    """Labels for every frame that has importance, split lists and dataset.yaml; False if all were there already.

    The normaliser is fitted on the training frames alone. `gap` frames between the blocks of a clip are in no list.
    `mb_size`: of the macroblocks, by default what the importance was made with. `importance_file` takes the place of
    importance/. Memory is flat in the clips' length. InputError for importance that does not fit the frames, and for
    settings that cannot be; nothing is written then.
    """
    ratios = ratios or Ratios(0.7, 0.15, 0.15)
    mb_size = dataset.mb_size if mb_size is None else mb_size
    to_levels(np.zeros(0), levels)
    if not 1 <= mb_size <= MOST_MB_SIZE or gap < 0:
        raise InputError(f"--mb_size {mb_size} --gap {gap}: expected 1 to {MOST_MB_SIZE}, and at least 0")
    sources = {clip: importance_source(dataset, clip, importance_file, mb_size) for clip in dataset.clips()}
    settings = {"levels": levels, "normalise": normalise, "ratios": asdict(ratios), "gap": gap, "by": split_by}
    digests = {"settings": digest(settings), "clips": {clip: source.made_from() for clip, source in sources.items()}}
    is_same = dataset.info.get("made", {}).get(LABELS) == digests
    if is_same and _all_there(dataset, sources) and _has_counts(dataset.info):
        return False

    split = _split(dataset, sources, ratios, gap, split_by)
    split_of = {frame: name for name, frames in split.items() for frame in frames}
    normaliser = Normaliser.fit(normalise, _training_cells(sources, set(split["train"])))
    if normalise == "none":  # the one that cannot do all: what is above 1 is refused before anything is written
        for _, importance in (block for source in sources.values() for block in source.blocks()):
            normaliser(importance)

    if importance_file is not None:  # what the labels come from is the dataset's importance from now on
        made = {what: digests for what, digests in dataset.info.get("made", {}).items() if what != IMPORTANCE}
        dataset.save(importance={"file": importance_file.name}, made=made)
        for clip, source in sources.items():
            ((numbers, maps),) = source.blocks()
            write_importance(dataset.importance_path(clip), maps, numbers)
    dataset.remove_lists()
    partial = {clip: _partial_folder(dataset, clip) for clip in sources}
    for folder in partial.values():
        folder.mkdir(parents=True)
    pixels = {name: np.zeros(levels, np.int64) for name in SPLITS}

    def jobs() -> Iterator[tuple[ImportanceSource, Path, list[Frame], np.ndarray]]:
        for clip, source in sources.items():
            for numbers, importance in source.blocks():
                frames = [source.frames[number] for number in numbers.tolist()]
                for start in range(0, len(frames), _LABELS_A_JOB):
                    part = slice(start, start + _LABELS_A_JOB)
                    yield source, partial[clip], frames[part], importance[part]

    def write_labels(job: tuple[ImportanceSource, Path, list[Frame], np.ndarray]) -> tuple[list[Frame], np.ndarray]:
        """Write the labels of some frames; returns these, and how many pixels each has of each level [n, levels]."""
        source, folder, frames, importance = job
        level_grids = to_levels(normaliser(importance), levels)
        for frame, level_grid in zip(frames, level_grids, strict=True):
            write_new(folder / f"{frame.stem}.png", label_png(level_grid, source.grid, levels))
        of_levels = level_grids[:, None] == np.arange(levels)[:, None, None]
        return frames, (of_levels * source.grid.areas).sum((2, 3))

    def written() -> Iterator[Frame]:
        for frames, counts in bounded_map(write_labels, jobs()):
            for frame, count in zip(frames, counts, strict=True):
                if frame in split_of:
                    pixels[split_of[frame]] += count
            yield from frames

    for _ in progress(written(), "labels", sum(len(s.frames) for s in sources.values())):
        pass
    for clip, folder in partial.items():
        shutil.rmtree(dataset.root / LABELS / clip, ignore_errors=True)
        os.replace(folder, dataset.root / LABELS / clip)
    for name in SPLITS:
        dataset.write_split(name, split[name])
    of_clip = {name: sorted({frame.clip for frame in split[name]}) for name in SPLITS}
    unused = sum(len(s.frames) for s in sources.values()) - len(split_of)
    dataset.save(
        scale=dataset.scale,
        mb_size=mb_size,
        levels=levels,
        normaliser=normaliser.to_dict(),
        split={
            "by": split_by,
            "ratios": asdict(ratios),
            "gap": gap,
            "frames": {name: len(split[name]) for name in SPLITS} | {"unused": unused},
            **({"clips": of_clip} if split_by == "clip" else {}),
        },
        level_pixels={name: pixels[name].tolist() for name in SPLITS},
        made={**dataset.info.get("made", {}), LABELS: digests},
    )
    return True


def _partial_folder(dataset: Dataset, clip: str) -> Path:
    """Where the labels of a clip are until all are written: without a rename each, two cores make files faster."""
    return dataset.root / LABELS / f"{PARTIAL}{clip}" if clip else dataset.root / f"{PARTIAL}{LABELS}"


def _all_there(dataset: Dataset, sources: dict[str, ImportanceSource]) -> bool:
    """Whether every label and list is there; their content is that of the last run that came to its end."""
    return all((dataset.root / f"{name}.txt").exists() for name in SPLITS) and all(
        stems_of(dataset.frames(clip, LABELS)) == stems_of(source.frames.values()) for clip, source in sources.items()
    )


def _has_counts(info: Mapping[str, Any]) -> bool:
    """Whether dataset.yaml tells the frames and pixels of every split; somebody may have edited it."""
    frames, pixels = info.get("split", {}).get("frames"), info.get("level_pixels", {})
    if not isinstance(frames, dict) or not all(isinstance(pixels.get(name), list) for name in SPLITS):
        return False
    counts = [frames.get(name) for name in (*SPLITS, "unused")] + [count for name in SPLITS for count in pixels[name]]
    return all(type(count) is int for count in counts)


def _training_cells(sources: dict[str, ImportanceSource], training: set[Frame]) -> np.ndarray:
    """The importance of the training frames' cells [n]; of very many frames, of every second, third, … alone."""
    cells = sum(s.grid.rows * s.grid.cols for s in sources.values() for f in s.frames.values() if f in training)
    every = -(-cells // _MOST_FITTED_CELLS) or 1
    fitted, place = [np.zeros(0, np.float32)], 0
    for source in sources.values():
        for numbers, importance in source.blocks():
            for number, values in zip(numbers.tolist(), importance, strict=True):
                if source.frames[number] in training:
                    if place % every == 0:
                        fitted.append(values.ravel().copy())  # a view would keep its block
                    place += 1
    return np.concatenate(fitted)


def _split(
    dataset: Dataset, sources: dict[str, ImportanceSource], ratios: Ratios, gap: int, split_by: str
) -> dict[str, list[Frame]]:
    split: dict[str, list[Frame]] = {name: [] for name in SPLITS}
    if split_by == "clip":
        recorded = dataset.info.get("split", {})
        same = recorded.get("by") == "clip" and recorded.get("ratios") == asdict(ratios)
        for name, clips in split_clips(list(sources), ratios, recorded.get("clips") if same else None).items():
            split[name] = [frame for clip in clips for frame in sources[clip].frames.values()]
        return split
    for clip, source in sources.items():
        frames = list(source.frames.values())
        blocks = split_blocks(len(frames), ratios, gap)
        if len(blocks["train"]) == len(frames) and ratios.train < 1:
            warn(
                f"clip {clip or 'of the flat layout'}: {len(frames)} frames are too few to cut with a gap of {gap}; "
                "all go to train (give a smaller --gap, or more frames)"
            )
        for name, block in blocks.items():
            split[name] += [frames[i] for i in block]
    return split
