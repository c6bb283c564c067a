"""Checks of a whole dataset: pairs, labels, splits, HR frames and importance."""

from itertools import pairwise
from pathlib import Path

import numpy as np

from regenhance_data.console import progress
from regenhance_data.dataset.folder import HR_FOLDERS, HR_IMAGES, IMPORTANCE, LR_FRAMES, SR_IMAGES, Dataset
from regenhance_data.dataset.importance_source import importance_source
from regenhance_data.dataset.label_png import image_size, read_label
from regenhance_data.dataset.levels import IGNORED_LEVEL
from regenhance_data.dataset.records import ClipRecord
from regenhance_data.dataset.split import SPLITS
from regenhance_data.dataset.staleness import refuse_stale_labels
from regenhance_data.dataset.statistics import missing_hr_frames
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.images import read_image
from regenhance_data.parallel.threads import bounded_map


def check_dataset(dataset: Dataset) -> list[str]:
    """All problems of a dataset, a line each: the file, what is wrong, how to fix it. [] for a valid dataset.

    Checked: every listed pair exists inside the folder and decodes; label and LR frame have the same size; label values
    are below `levels` and constant over each macroblock; no frame is in two splits; the gap between the blocks of a
    clip; the pixels of each level that dataset.yaml counts; HR frames have `scale` times the size, and none is missing
    where dataset.yaml says how they were made; importance fits the frames, and labels were made from it.
    """
    problems: list[str] = []
    listed: dict[str, str] = {}
    for name in SPLITS:
        counts = np.zeros(256, np.int64)
        try:
            pairs = dataset.read_split(name)
        except InputError as error:
            problems.append(str(error))
            continue
        if name == "train" and not pairs:
            problems.append(f"{dataset.root}/train.txt: lists no frame; make it with tools/make_seg_dataset.py")
        results = bounded_map(lambda pair: _check_pair(dataset, *pair), pairs)
        for (image, _), result in zip(pairs, progress(results, f"check {name}", len(pairs)), strict=True):
            if image in listed:
                problems.append(f"{dataset.root / name}.txt: {image} is also in {listed[image]}.txt; keep one")
            listed[image] = name
            problems += result[0]
            counts += result[1]
        recorded = dataset.record.level_pixels.get(name)
        if recorded is not None and recorded != counts[: dataset.levels].tolist():
            problems.append(
                f"{dataset.root}/dataset.yaml: counts {recorded} pixels of each level in {name}, "
                f"its labels have {counts[: dataset.levels].tolist()}; run tools/make_seg_dataset.py again"
            )
    problems += _check_gap(dataset, listed)
    for clip in dataset.clips():
        problems += _check_hr_frames(dataset, clip)
        try:
            _check_importance(dataset, clip)
        except InputError as error:
            problems.append(str(error))
    return problems


def _check_hr_frames(dataset: Dataset, clip: str) -> list[str]:
    """Problems where HR frames of a clip are missing though dataset.yaml says how they were made."""
    problems = []
    record = dataset.record
    recorded = {
        record.importance.hr_folder if clip in record.made.get(IMPORTANCE, {}) else None,
        SR_IMAGES if clip in record.made.get(SR_IMAGES, {}) else None,
        HR_IMAGES if clip in record.clips and record.clips[clip].keep_hr else None,
    }
    for folder in HR_FOLDERS:
        if folder in recorded and (dataset.root / folder).is_dir():
            missing = missing_hr_frames(dataset, clip, folder)
            command = "extract.py --keep_hr" if folder == HR_IMAGES else "super_resolve.py"
            if missing:
                problems.append(
                    f"{dataset.path(folder, missing[0])}: is missing, as {len(missing)} of "
                    f"{len(dataset.frames(clip))} HR frames of the clip are; run tools/{command} again"
                )
    return problems


def _check_importance(dataset: Dataset, clip: str) -> None:
    """InputError where the importance of a clip is broken, lost, or not what its labels were made from."""
    source = None
    if dataset.importance_path(clip).exists():
        source = importance_source(dataset, clip, None, dataset.mb_size)
        for _ in source.blocks():
            pass
    refuse_stale_labels(dataset, clip, source.label_digest() if source else None)


def _check_pair(dataset: Dataset, image: str, label: str) -> tuple[list[str], np.ndarray]:
    """(problems of one listed pair, pixels of each label value [256])."""
    no_pixels = np.zeros(256, np.int64)
    try:
        height, width = read_image(dataset.root / image).shape[:2]
        levels = read_label(dataset.root / label)
    except InputError as error:
        return [str(error)], no_pixels
    if levels.shape != (height, width):
        problem = f"{dataset.root / label}: is {levels.shape[1]}x{levels.shape[0]}, its image {width}x{height}"
        return [problem], no_pixels
    problems = []
    too_high = levels[(levels >= dataset.levels) & (levels != IGNORED_LEVEL)]
    if too_high.size:
        problems.append(f"{dataset.root / label}: has value {too_high.max()}, levels go to {dataset.levels - 1}")
    grid = MacroblockGrid(height, width, dataset.mb_size)
    if not np.array_equal(levels, grid.spread(levels[:: grid.mb_size, :: grid.mb_size])):
        problems.append(f"{dataset.root / label}: is not constant over its {grid.mb_size}-pixel macroblocks")
    for folder in HR_FOLDERS:
        hr_path = dataset.root / folder / Path(image.removeprefix(f"{LR_FRAMES}/")).with_suffix(".png")
        if hr_path.exists():
            hr_wh = image_size(hr_path)
            if hr_wh is None:
                problems.append(f"{hr_path}: does not decode as an image; make it again")
            elif hr_wh != (width * dataset.scale, height * dataset.scale):
                problems.append(f"{hr_path}: is {hr_wh[0]}x{hr_wh[1]}, not {dataset.scale} times {width}x{height}")
    return problems, np.bincount(levels.ravel(), minlength=256)


def _check_gap(dataset: Dataset, listed: dict[str, str]) -> list[str]:
    """Problems where fewer than `gap` frames lie between two frames of one clip in different splits."""
    split = dataset.record.split
    problems = []
    for clip in dataset.clips() if split.by == "block" else []:
        gap = dataset.record.clips.get(clip, ClipRecord()).default_gap if split.gap is None else split.gap
        order = [f"{LR_FRAMES}/{clip}/{frame.name}".replace("//", "/") for frame in dataset.frames(clip)]
        positions = [(position, image, listed[image]) for position, image in enumerate(order) if image in listed]
        for (position, image, name), (next_position, next_image, next_name) in pairwise(positions):
            if name != next_name and next_position - position <= gap:
                problems.append(
                    f"{dataset.root}: {image} ({name}) and {next_image} ({next_name}) lie "
                    f"{next_position - position - 1} frames apart, dataset.yaml records a gap of {gap}"
                )
    return problems
