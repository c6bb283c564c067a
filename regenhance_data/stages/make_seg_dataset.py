"""Importance becomes label PNGs, split lists and the numbers of dataset.yaml: the PaddleSeg dataset, and its proof."""

import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, UnidentifiedImageError

from regenhance_data.cli import InputError, progress, warn
from regenhance_data.dataset.folder import (
    CLEAR_FOLDERS,
    IMPORTANCE,
    LABELS,
    MOST_MB_SIZE,
    ORIGIN,
    PARTIAL,
    SPLITS,
    Dataset,
    Frame,
    digest,
    write_importance,
)
from regenhance_data.dataset.importance_import import read_importance_file
from regenhance_data.dataset.levels import Kind, Normaliser, to_levels
from regenhance_data.dataset.split import Ratios, split_blocks, split_clips
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import bounded_map, read_image, sha256, write_new

# from the PNG specification (ISO/IEC 15948)
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE_COLOURS, _FILTER_NONE, _FILTER_UP = 3, 0, 2
_LABELS_A_JOB = 32  # handing a job to a thread costs as much as a tenth of a label
_MOST_FITTED_CELLS = 2**18  # its 99.9th percentile still stands on 260 of them
# what Pillow raises for broken pictures
_NO_PICTURE = (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError)
IGNORED = 255  # PaddleSeg leaves pixels of this value out of the loss


@lru_cache
def level_colours(level_count: int) -> np.ndarray:
    """An RGB colour a level, dark to bright: uint8 [levels, 3]."""
    return (matplotlib.colormaps["inferno"](np.linspace(0, 1, level_count))[:, :3] * 255).round().astype(np.uint8)


def label_png(levels: np.ndarray, grid: MacroblockGrid, level_count: int) -> bytes:
    """The label of one frame: a level grid, uint8 [rows, cols] → a palette PNG of the origin image's exact size.

    Encoded here and not by Pillow, which filters no palette image: a row of macroblocks is one line of pixels and
    then lines that PNG's filter Up makes zero, which costs half the time. 4 bits a pixel where the levels fit.
    """
    line = np.repeat(levels, grid.mb_size, axis=1)[:, : grid.width]
    bits = 4 if level_count <= 16 else 8
    if bits == 4:
        right = line[:, 1::2]
        line = line[:, ::2] << 4
        line[:, : right.shape[1]] |= right
    lines = np.zeros((grid.height, 1 + line.shape[1]), np.uint8)
    lines[:, 0] = _FILTER_UP
    lines[:: grid.mb_size, 0] = _FILTER_NONE
    lines[:: grid.mb_size, 1:] = line
    head = struct.pack(">IIBBBBB", grid.width, grid.height, bits, _PALETTE_COLOURS, 0, 0, 0)
    chunks = {
        "IHDR": head,
        "PLTE": level_colours(level_count).tobytes(),
        "IDAT": zlib.compress(lines.data, 3),
        "IEND": b"",
    }
    return _PNG_SIGNATURE + b"".join(_png_chunk(name.encode(), content) for name, content in chunks.items())


def _png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))


def read_label(path: Path) -> np.ndarray:
    """A label PNG as levels, uint8 [H, W]. InputError when it is missing, broken or no single-channel PNG."""
    if not path.is_file():
        raise InputError(f"{path}: no such label; make it with tools/make_seg_dataset.py")
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise InputError(f"{path}: is a picture of mode {image.mode}, a label has one channel of 8 bits")
            return np.asarray(image)
    except _NO_PICTURE:
        raise InputError(f"{path}: does not decode as a PNG; make the labels again") from None


@dataclass(frozen=True)
class _Source:
    """The importance of one clip: its frames by number, their grid, and a way to read it in blocks of
    (numbers int64 [n], importance float32 [n, rows, cols]) as often as needed.
    """

    frames: dict[int, Frame]
    grid: MacroblockGrid
    blocks: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]
    digest: str

    def made_from(self) -> str:
        """What the labels of the clip depend on but for the settings."""
        return digest([self.digest, self.grid.height, self.grid.width, self.grid.mb_size])


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
    sources = {clip: _source(dataset, clip, importance_file, mb_size) for clip in dataset.clips()}
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

    def jobs() -> Iterator[tuple[_Source, Path, list[Frame], np.ndarray]]:
        for clip, source in sources.items():
            for numbers, importance in source.blocks():
                frames = [source.frames[number] for number in numbers.tolist()]
                for start in range(0, len(frames), _LABELS_A_JOB):
                    part = slice(start, start + _LABELS_A_JOB)
                    yield source, partial[clip], frames[part], importance[part]

    def write_labels(job: tuple[_Source, Path, list[Frame], np.ndarray]) -> tuple[list[Frame], np.ndarray]:
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


def _all_there(dataset: Dataset, sources: dict[str, _Source]) -> bool:
    """Whether every label and list is there; their content is that of the last run that came to its end."""
    return all((dataset.root / f"{name}.txt").exists() for name in SPLITS) and all(
        _names(dataset.frames(clip, LABELS)) == _names(source.frames.values()) for clip, source in sources.items()
    )


def _has_counts(info: Mapping[str, Any]) -> bool:
    """Whether dataset.yaml tells the frames and pixels of every split; somebody may have edited it."""
    frames, pixels = info.get("split", {}).get("frames"), info.get("level_pixels", {})
    if not isinstance(frames, dict) or not all(isinstance(pixels.get(name), list) for name in SPLITS):
        return False
    counts = [frames.get(name) for name in (*SPLITS, "unused")] + [count for name in SPLITS for count in pixels[name]]
    return all(type(count) is int for count in counts)


def _names(frames: Iterable[Frame]) -> set[str]:
    """The file names of frames without their suffix."""
    return {frame.stem for frame in frames}


def _training_cells(sources: dict[str, _Source], training: set[Frame]) -> np.ndarray:
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


def _source(dataset: Dataset, clip: str, file: Path | None, mb_size: int) -> _Source:
    """The importance of a clip, from importance/ or, in its place, from `file`; InputError where it does not fit."""
    frames = dataset.frames(clip)
    _refuse_odd_names(dataset, clip, frames)
    if file is None:
        dataset.refuse_stale_importance(clip)
        path, stored = dataset.importance_path(clip), dataset.importance_file(clip)
        numbers, shape, blocks = stored.numbers, stored.shape, stored.blocks
    else:
        path = file
        numbers, importance = _imported(file, dataset, clip, frames)
        shape, blocks = importance.shape, lambda: iter([(numbers, importance)])
    height, width = dataset.read(ORIGIN, frames[0]).shape[:2]
    grid = MacroblockGrid(height, width, mb_size)
    if shape[1:] != grid.shape:
        raise InputError(
            f"{path}: importance on a grid of {shape[1]}x{shape[2]}, "
            f"{width}x{height} frames with --mb_size {mb_size} have {grid.rows}x{grid.cols}; "
            "make it again with tools/make_importance.py --mb_size"
        )
    by_number = {frame.number: frame for frame in frames}
    listed = numbers.tolist()
    strangers = set(listed) - by_number.keys()
    if strangers or len(set(listed)) != len(listed):
        what = f"of frame {min(strangers)}, which is not in the clip" if strangers else "of one frame twice"
        raise InputError(f"{path}: has importance {what}; make it again with tools/make_importance.py")
    if len(listed) < len(frames):
        warn(f"{path}: {len(frames) - len(listed)} of {len(frames)} frames have no importance and get no label")
    return _Source({number: by_number[number] for number in sorted(listed)}, grid, blocks, sha256(path))


def _imported(file: Path, dataset: Dataset, clip: str, frames: list[Frame]) -> tuple[np.ndarray, np.ndarray]:
    """(frame numbers int64 [T], importance float32 [T, rows, cols]) of a clip in a file from elsewhere."""
    importance, numbers = read_importance_file(file, clip, dataset.clips())
    if numbers is None:
        if len(importance) != len(frames):
            raise InputError(f"{file}: has importance of {len(importance)} frames, the clip has {len(frames)}")
        numbers = np.array([frame.number for frame in frames])
    return numbers, importance


def _refuse_odd_names(dataset: Dataset, clip: str, frames: list[Frame]) -> None:
    stems = _names(frames)
    if len(stems) < len(frames) or any(" " in stem for stem in stems):
        raise InputError(
            f"{dataset.root / ORIGIN / clip}: file names need to be without spaces and to differ in more than the "
            "suffix, so that each has a label and a line of a list"
        )


def _split(
    dataset: Dataset, sources: dict[str, _Source], ratios: Ratios, gap: int, split_by: str
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


def recorded_settings(dataset: Dataset) -> dict[str, Any]:
    """The settings that the labels were made with, as `make_seg_dataset` takes them; {} where dataset.yaml tells none.

    InputError where they are broken.
    """
    split = dataset.info.get("split")
    if split is None or "normaliser" not in dataset.info:
        return {}
    try:
        ratios = Ratios(**split["ratios"])
    except (KeyError, TypeError):
        raise InputError(f"{dataset.root / 'dataset.yaml'}: split is broken; make the labels again") from None
    return {
        "levels": dataset.levels,
        "normalise": recorded_normaliser(dataset).kind,
        "ratios": ratios,
        "gap": split.get("gap", 0),
        "split_by": split.get("by"),
    }


def recorded_normaliser(dataset: Dataset) -> Normaliser:
    """The normaliser that the labels were made with. InputError where dataset.yaml has none, or a broken one."""
    recorded = dataset.info.get("normaliser")
    try:
        if recorded is not None:
            return Normaliser.from_dict(recorded)
    except (TypeError, ValueError):
        pass
    what = "has no normaliser" if recorded is None else "normaliser is broken"
    raise InputError(f"{dataset.root / 'dataset.yaml'}: {what}; run tools/make_seg_dataset.py again")


def check_dataset(dataset: Dataset) -> list[str]:
    """Everything that is wrong with a dataset, a line each: the file, what is wrong, how to mend it. [] when sound.

    Checked: every listed pair exists inside the folder and decodes; label and origin image have one size; label
    values < levels and constant over each macroblock; no frame in two splits; the gap between the blocks of a clip;
    pixels a level as dataset.yaml counts them; clear frames of `scale` times the size; importance that fits the frames,
    and that the labels were made from.
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
        try:
            _check_importance(dataset, clip)
        except InputError as error:
            problems.append(str(error))
    return problems


def _check_importance(dataset: Dataset, clip: str) -> None:
    """InputError where importance is broken, was lost, or is not what the labels of the clip were made from."""
    path, made = dataset.importance_path(clip), dataset.info.get("made", {})
    labelled = made.get(LABELS, {}).get("clips")
    if path.exists():
        source = _source(dataset, clip, None, dataset.mb_size)
        for _ in source.blocks():
            pass
        if "file" in dataset.info.get(IMPORTANCE, {}):  # labels were made from that file, of which this is a copy
            return
        if isinstance(labelled, dict) and labelled.get(clip) != source.made_from():
            what = "is other importance than its labels were made from" if clip in labelled else "has no labels yet"
            raise InputError(f"{path}: {what}; run tools/make_seg_dataset.py again")
    elif clip in made.get(IMPORTANCE, {}) or (isinstance(labelled, dict) and clip not in labelled):
        raise InputError(f"{path}: is not there (yet); run tools/make_importance.py")


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
    for folder in CLEAR_FOLDERS:
        clear = dataset.root / folder / Path(image.removeprefix(f"{ORIGIN}/")).with_suffix(".png")
        if clear.exists():
            try:
                clear_wh = _size_wh(clear)
            except _NO_PICTURE:
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
