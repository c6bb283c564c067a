"""Importance becomes label PNGs, split lists and the numbers of dataset.yaml: the PaddleSeg dataset, and its proof."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, UnidentifiedImageError

from regenhance_data.cli import InputError, progress, warn
from regenhance_data.dataset import (
    LABELS,
    ORIGIN,
    SPLITS,
    Dataset,
    Frame,
    checked_importance,
    read_importance,
    write_importance,
)
from regenhance_data.files import bounded_map, read_image, write_bytes
from regenhance_data.grid import MacroblockGrid
from regenhance_data.levels import Kind, Normaliser, to_levels
from regenhance_data.split import Ratios, split_blocks, split_clips

IGNORED = 255  # PaddleSeg leaves pixels of this value out of the loss


def level_colours(level_count: int) -> np.ndarray:
    """An RGB colour a level, dark to bright: uint8 [levels, 3]."""
    return (matplotlib.colormaps["inferno"](np.linspace(0, 1, level_count))[:, :3] * 255).round().astype(np.uint8)


def label_png(levels: np.ndarray, grid: MacroblockGrid, level_count: int) -> bytes:
    """The label of one frame: a level grid, uint8 [rows, cols] → a palette PNG of the origin image's exact size."""
    image = Image.fromarray(grid.spread(levels))
    image.putpalette(level_colours(level_count).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def read_label(path: Path) -> np.ndarray:
    """A label PNG as levels, uint8 [H, W]. InputError when it is missing, broken or no single-channel PNG."""
    if not path.is_file():
        raise InputError(f"{path}: no such label; make it with tools/make_seg_dataset.py")
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise InputError(f"{path}: is a picture of mode {image.mode}, a label has one channel of 8 bits")
            return np.asarray(image)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise InputError(f"{path}: does not decode as a PNG; make the labels again") from None


def read_importance_file(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """(importance float32 [T, rows, cols], frame numbers or None) from an .npz of this kit or a plain .npy array."""
    if path.suffix != ".npy":
        return read_importance(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        importance = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is no NumPy array ({' '.join(str(error).split())[:80]})") from None
    if importance.ndim != 3 or not np.issubdtype(importance.dtype, np.number):
        raise InputError(f"{path}: expected numbers [T, rows, cols], found {importance.dtype} {list(importance.shape)}")
    return checked_importance(path, importance), None


def make_seg_dataset(
    dataset: Dataset,
    importance_file: Path | None = None,
    levels: int = 10,
    mb_size: int | None = None,
    normalise: Kind = "log",
    ratios: Ratios | None = None,
    gap: int = 10,
    split_by: str = "block",
) -> dict[str, list[int]]:
    """Labels for every frame that has importance, split lists and dataset.yaml; return pixels a level for each split.

    The normaliser is fitted on the training frames alone. `gap` frames between the blocks of a clip are in no list.
    `mb_size`: of the macroblocks, by default what the importance was made with. `importance_file` takes the place of
    importance/<clip>.npz in a dataset of one clip. InputError for importance that does not fit the frames, and for
    settings that cannot be; nothing is written then.
    """
    ratios = ratios or Ratios(0.7, 0.15, 0.15)
    mb_size = dataset.mb_size if mb_size is None else mb_size
    to_levels(np.zeros(0), levels)
    if mb_size < 1 or gap < 0:
        raise InputError(f"--mb_size {mb_size} --gap {gap}: expected at least 1 and at least 0")
    maps = {clip: _clip_importance(dataset, clip, importance_file, mb_size) for clip in dataset.clips()}
    split = _split(maps, ratios, gap, split_by)
    normaliser = Normaliser.fit(
        normalise, np.concatenate([maps[f.clip][1][f].ravel() for f in split["train"]] or [np.zeros(0)])
    )

    level_grids = {
        frame: to_levels(normaliser(importance), levels)
        for _, by_frame in maps.values()
        for frame, importance in by_frame.items()
    }  # all that can be refused is refused by now

    if importance_file is not None:  # what the labels come from is the dataset's importance from now on
        clip = dataset.clips()[0]
        by_frame = maps[clip][1]
        numbers = np.array([frame.number for frame in by_frame])
        write_importance(dataset.importance_path(clip), np.stack(list(by_frame.values())), numbers)
        dataset.save(importance={"file": importance_file.name})
    dataset.remove_lists()
    _remove_labels_but(dataset, {dataset.path(LABELS, f) for _, by_frame in maps.values() for f in by_frame})
    split_of = {frame: name for name, frames in split.items() for frame in frames}
    pixels = {name: np.zeros(levels, np.int64) for name in SPLITS}

    def jobs() -> Iterator[tuple[Path, np.ndarray, MacroblockGrid, int]]:
        for grid, by_frame in maps.values():
            areas = grid.areas.ravel()
            for frame in by_frame:
                if frame in split_of:
                    np.add.at(pixels[split_of[frame]], level_grids[frame].ravel(), areas)
                yield dataset.path(LABELS, frame), level_grids[frame], grid, levels

    for _ in progress(bounded_map(_write_label, jobs()), "labels", len(level_grids)):
        pass
    for name in SPLITS:
        dataset.write_split(name, split[name])
    counts = {name: pixels[name].tolist() for name in SPLITS}
    dataset.save(
        scale=dataset.scale,
        mb_size=mb_size,
        levels=levels,
        normaliser=normaliser.to_dict(),
        split={"by": split_by, "ratios": asdict(ratios), "gap": gap, "frames": {n: len(split[n]) for n in SPLITS}},
        level_pixels=counts,
    )
    return counts


def _write_label(job: tuple[Path, np.ndarray, MacroblockGrid, int]) -> None:
    path, levels, grid, level_count = job
    write_bytes(path, label_png(levels, grid, level_count))


def _clip_importance(
    dataset: Dataset, clip: str, file: Path | None, mb_size: int
) -> tuple[MacroblockGrid, dict[Frame, np.ndarray]]:
    """The grid of a clip, and the importance of each of its frames, float32 [rows, cols], in frame order."""
    if file is not None and len(dataset.clips()) != 1:
        raise InputError(f"{file}: --importance is for a dataset of one clip; put others in importance/<clip>.npz")
    path = file or dataset.importance_path(clip)
    importance, numbers = read_importance_file(path)
    frames = dataset.frames(clip)
    if numbers is None:
        if len(importance) != len(frames):
            raise InputError(f"{path}: has importance of {len(importance)} frames, the clip has {len(frames)}")
        numbers = np.array([frame.number for frame in frames])
    stems = {Path(frame.name).stem for frame in frames}
    if len(stems) < len(frames) or any(" " in stem for stem in stems):
        raise InputError(
            f"{dataset.root / ORIGIN / clip}: file names need to be without spaces and to differ in more than the "
            "suffix, so that each has a label and a line of a list"
        )
    height, width = dataset.read(ORIGIN, frames[0]).shape[:2]
    grid = MacroblockGrid(height, width, mb_size)
    if importance.shape[1:] != grid.shape:
        raise InputError(
            f"{path}: importance on a grid of {importance.shape[1]}x{importance.shape[2]}, "
            f"{width}x{height} frames with --mb_size {mb_size} have {grid.rows}x{grid.cols}; "
            "make it again with tools/make_importance.py --mb_size"
        )
    by_number = {frame.number: frame for frame in frames}
    strangers = set(numbers.tolist()) - by_number.keys()
    if strangers or len(set(numbers.tolist())) != len(numbers):
        what = f"of frame {min(strangers)}, which is not in the clip" if strangers else "of one frame twice"
        raise InputError(f"{path}: has importance {what}; make it again with tools/make_importance.py")
    if len(numbers) < len(frames):
        warn(f"{path}: {len(frames) - len(numbers)} of {len(frames)} frames have no importance and get no label")
    found = {by_number[number]: values for number, values in zip(numbers.tolist(), importance, strict=True)}
    return grid, dict(sorted(found.items(), key=lambda item: item[0].number))


def _split(
    maps: dict[str, tuple[MacroblockGrid, dict[Frame, np.ndarray]]], ratios: Ratios, gap: int, split_by: str
) -> dict[str, list[Frame]]:
    split: dict[str, list[Frame]] = {name: [] for name in SPLITS}
    if split_by == "clip":
        for name, clips in split_clips(list(maps), ratios).items():
            split[name] = [frame for clip in clips for frame in maps[clip][1]]
        return split
    for clip, (_, by_frame) in maps.items():
        frames = list(by_frame)
        blocks = split_blocks(len(frames), ratios, gap)
        if len(blocks["train"]) == len(frames) and ratios.train < 1:
            warn(
                f"clip {clip or 'of the flat layout'}: {len(frames)} frames are too few to cut with a gap of {gap}; "
                "all go to train (give a smaller --gap, or more frames)"
            )
        for name, block in blocks.items():
            split[name] += [frames[i] for i in block]
    return split


def _remove_labels_but(dataset: Dataset, wanted: set[Path]) -> None:
    for clip in dataset.clips():
        for frame in dataset.frames(clip, LABELS):
            path = dataset.path(LABELS, frame)
            if path not in wanted:
                path.unlink()


def check_dataset(dataset: Dataset) -> list[str]:
    """Everything that is wrong with a dataset, a line each: the file, what is wrong, how to mend it. [] when sound.

    Checked: every listed pair exists inside the folder and decodes; label and origin image have one size; label
    values < levels and constant over each macroblock; no frame in two splits; the gap between the blocks of a clip;
    pixels a level as dataset.yaml counts them; clear frames of `scale` times the size; importance that fits.
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
        recorded = dataset.info.get("level_pixels", {}).get(name)
        if recorded is not None and recorded != counts[: dataset.levels].tolist():
            problems.append(
                f"{dataset.root}/dataset.yaml: counts {recorded} pixels a level in {name}, "
                f"its labels have {counts[: dataset.levels].tolist()}; run tools/make_seg_dataset.py again"
            )
    problems += _check_gap(dataset, listed)
    for clip in dataset.clips():
        if dataset.importance_path(clip).exists():
            try:
                _clip_importance(dataset, clip, None, dataset.mb_size)
            except InputError as error:
                problems.append(str(error))
    return problems


def _check_pair(dataset: Dataset, image: str, label: str) -> tuple[list[str], np.ndarray]:
    """(problems of one listed pair, pixels a value [256])."""
    nothing = np.zeros(256, np.int64)
    try:
        height, width = read_image(dataset.root / image).shape[:2]
        levels = read_label(dataset.root / label)
    except InputError as error:
        return [str(error)], nothing
    problems = []
    if levels.shape != (height, width):
        return [f"{dataset.root / label}: is {levels.shape[1]}x{levels.shape[0]}, its image {width}x{height}"], nothing
    high = levels[(levels >= dataset.levels) & (levels != IGNORED)]
    if high.size:
        problems.append(f"{dataset.root / label}: has value {high.max()}, levels go to {dataset.levels - 1}")
    grid = MacroblockGrid(height, width, dataset.mb_size)
    if not np.array_equal(levels, grid.spread(levels[:: grid.mb_size, :: grid.mb_size])):
        problems.append(f"{dataset.root / label}: is not constant over its {grid.mb_size}-pixel macroblocks")
    for folder in ("sr_images", "hr_images"):
        clear = dataset.root / folder / Path(image.removeprefix(f"{ORIGIN}/")).with_suffix(".png")
        if clear.exists():
            try:
                clear_wh = _size_wh(clear)
            except (UnidentifiedImageError, OSError):
                problems.append(f"{clear}: does not decode as an image; make it again")
                continue
            if clear_wh != (width * dataset.scale, height * dataset.scale):
                problems.append(f"{clear}: is {clear_wh[0]}x{clear_wh[1]}, not {dataset.scale} times {width}x{height}")
    return problems, np.bincount(levels.ravel(), minlength=256)


def _size_wh(path: Path) -> tuple[int, int]:
    """The size of a picture, from its header alone."""
    with Image.open(path) as image:
        return image.size


def _check_gap(dataset: Dataset, listed: dict[str, str]) -> list[str]:
    """Between two frames of one clip in different splits lie at least `gap` others."""
    gap = dataset.info.get("split", {}).get("gap", 0) if dataset.info.get("split", {}).get("by") == "block" else 0
    problems = []
    for clip in dataset.clips():
        order = [f"{ORIGIN}/{clip}/{frame.name}".replace("//", "/") for frame in dataset.frames(clip)]
        places = [(place, image, listed[image]) for place, image in enumerate(order) if image in listed]
        for (place, image, name), (next_place, next_image, next_name) in pairwise(places):
            if name != next_name and next_place - place <= gap:
                problems.append(
                    f"{dataset.root}: {image} ({name}) and {next_image} ({next_name}) lie "
                    f"{next_place - place - 1} frames apart, dataset.yaml promises {gap}"
                )
    return problems
