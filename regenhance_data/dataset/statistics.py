"""Statistics of a dataset at any stage, and warnings about what is valid but probably not intended.

Importance is read in blocks, and one image of each clip, so memory grows by a few numbers per frame only.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from regenhance_data.dataset.folder import HR_FOLDERS, LABELS, Dataset, Frame
from regenhance_data.dataset.label_png import read_label
from regenhance_data.dataset.split import SPLITS
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.parallel.threads import bounded_map

FEWEST_TEST_FRAMES = 20  # on fewer, F1 varies by several hundredths with the choice of frames
MOST_LEVEL_0 = 0.95
MOST_IN_GAPS = 0.25
# Mean |HR − upsampled| of a frame, of 255. Bicubic interpolation, which adds no detail, differs by about 1.3 on the
# built-in street scene, the built-in upscaler by 4.
LEAST_DIFFERENCE = 0.5


@dataclass(frozen=True)
class DatasetWarning:
    """Something that is valid but probably not intended, and what to do about it: a sentence each."""

    problem: str
    advice: str

    def __str__(self) -> str:
        return f"{self.problem}; {self.advice}"


@dataclass(frozen=True)
class ClipStatistics:
    """Frames in order, their grid, the sum of importance of each frame [T] (NaN where it has none), and the mean
    importance of each macroblock [rows, cols] (None where no frame has importance).
    """

    name: str
    frames: list[Frame]
    grid: MacroblockGrid
    totals: np.ndarray
    mean: np.ndarray | None

    def __str__(self) -> str:
        return self.name or "the one clip"


@dataclass(frozen=True)
class DatasetStatistics:
    """hr_folder: the folder of HR frames, None without them. split_of: the split of each listed frame. pixels: pixels
    of each level [levels] in each split, None without labels.
    """

    dataset: Dataset
    clips: list[ClipStatistics]
    hr_folder: str | None
    split_of: dict[Frame, str]
    pixels: dict[str, np.ndarray] | None

    @property
    def has_importance(self) -> bool:
        return any(clip.mean is not None for clip in self.clips)

    def totals(self) -> dict[Frame, float]:
        """The sum of importance of each frame that has it."""
        pairs = [(frame, float(total)) for c in self.clips for frame, total in zip(c.frames, c.totals, strict=True)]
        return {frame: total for frame, total in pairs if not np.isnan(total)}

    def counts(self) -> dict[str, int]:
        """Frames in each split."""
        return {name: sum(split == name for split in self.split_of.values()) for name in SPLITS}


def collect_statistics(dataset: Dataset) -> DatasetStatistics:
    """InputError where a split list, a label or an importance file is broken."""
    split_of: dict[Frame, str] = {}
    for name in SPLITS:
        if (dataset.root / f"{name}.txt").exists():
            split_of |= dict.fromkeys(dataset.split_frames(name), name)
    hr_folder = next((folder for folder in HR_FOLDERS if (dataset.root / folder).is_dir()), None)
    pixels = _level_pixels(dataset, split_of) if split_of else None
    return DatasetStatistics(dataset, list(_clips(dataset)), hr_folder, split_of, pixels)


def _clips(dataset: Dataset) -> Iterator[ClipStatistics]:
    for name in dataset.clips():
        frames, grid = dataset.frames(name), dataset.grid(name)
        totals: dict[int, float] = {}
        mean = None
        if dataset.importance_path(name).exists():
            sums = np.zeros(grid.shape)
            for numbers, importance in dataset.importance_file(name).blocks():
                if importance.shape[1:] != grid.shape:
                    rows, cols = importance.shape[1:]
                    raise InputError(
                        f"{dataset.importance_path(name)}: has a grid of {rows}x{cols}, the frames "
                        f"{grid.rows}x{grid.cols}; make it again with tools/make_importance.py"
                    )
                totals |= dict(zip(numbers.tolist(), importance.sum((1, 2), dtype=np.float64).tolist(), strict=True))
                sums += importance.sum(0, dtype=np.float64)
            mean = sums / max(len(totals), 1)
        yield ClipStatistics(name, frames, grid, np.array([totals.get(frame.number, np.nan) for frame in frames]), mean)


def _level_pixels(dataset: Dataset, split_of: Mapping[Frame, str]) -> dict[str, np.ndarray]:
    """Pixels of each level in each split: from dataset.yaml, else counted in the labels."""
    recorded = dataset.record.read_level_pixels()
    if recorded is not None:
        return recorded
    counts = {name: np.zeros(dataset.levels) for name in SPLITS}
    labels = bounded_map(lambda frame: read_label(dataset.path(LABELS, frame)), split_of)
    for name, label in zip(split_of.values(), labels, strict=True):
        counts[name] += np.bincount(label.ravel(), minlength=256)[: dataset.levels]
    return counts


def split_warnings(frames: Mapping[str, int]) -> list[DatasetWarning]:
    """Warnings about splits with too few frames, from {split: number of frames}."""
    more = "use longer or more clips, a smaller --gap or another --split with tools/make_seg_dataset.py"
    effects = {"val": "checkpoints cannot be compared", "test": "the predictor cannot be evaluated"}
    warnings = [
        DatasetWarning(f"{name} has no frame: {effect}", more) for name, effect in effects.items() if not frames[name]
    ]
    if 0 < frames["test"] < FEWEST_TEST_FRAMES:
        warnings.append(DatasetWarning(f"test has {frames['test']} frames, too few for a reliable F1", more))
    return warnings


def dataset_warnings(statistics: DatasetStatistics, differences: Sequence[float]) -> list[DatasetWarning]:
    """All warnings, from the statistics and the mean |HR − upsampled| (0 to 255) of some frames."""
    return [
        *(_label_warnings(statistics) if statistics.split_of else []),
        *_hr_frame_warnings(differences),
        *_importance_warnings(statistics),
        *_clip_warnings(statistics),
    ]


def _label_warnings(statistics: DatasetStatistics) -> Iterator[DatasetWarning]:
    yield from split_warnings(statistics.counts())
    assert statistics.pixels is not None
    for name, pixels in statistics.pixels.items():
        if pixels.sum() and pixels[0] / pixels.sum() > MOST_LEVEL_0:
            yield DatasetWarning(
                f"{pixels[0] / pixels.sum():.1%} of the {name} pixels are level 0, so a network that always predicts 0 "
                "is nearly always right",
                "make labels with --normalize log or rank, or importance with a lower --score_threshold",
            )
    totals = statistics.totals()
    for name in SPLITS:
        for clip in statistics.clips:
            found = [totals[f] for f in clip.frames if statistics.split_of.get(f) == name and f in totals]
            if found and not any(found):
                yield DatasetWarning(
                    f"the {name} block of {clip} has no object: none of its {len(found)} frames has importance",
                    "use a clip with objects throughout, or --split_by clip",
                )
    frames = sum(len(clip.frames) for clip in statistics.clips)
    lost = sum(frame not in statistics.split_of for frame in totals)
    if lost / frames > MOST_IN_GAPS:
        yield DatasetWarning(
            f"{lost} of {frames} frames ({lost / frames:.0%}) lie in the gaps between the blocks and are unused",
            "use longer clips, or a smaller --gap where the scene changes fast",
        )


def _hr_frame_warnings(differences: Sequence[float]) -> Iterator[DatasetWarning]:
    if differences and np.mean(differences) < LEAST_DIFFERENCE:
        yield DatasetWarning(
            f"HR frames differ from upsampled ones by only {np.mean(differences):.2f} of 255 on average, "
            "so they cannot help a detector",
            "use another --model with tools/super_resolve.py, or the originals (--keep_hr of tools/extract.py)",
        )


def _importance_warnings(statistics: DatasetStatistics) -> Iterator[DatasetWarning]:
    if not statistics.has_importance:
        return
    totals = statistics.totals()
    missing = sum(len(clip.frames) for clip in statistics.clips) - len(totals)
    if missing:
        yield DatasetWarning(f"{missing} frames have no importance", "run tools/make_importance.py again")
    if not any(totals.values()):
        yield DatasetWarning(
            "importance is 0 everywhere",
            "lower --score_threshold of tools/make_importance.py, or look at the HR frames below",
        )


def _clip_warnings(statistics: DatasetStatistics) -> Iterator[DatasetWarning]:
    if len(statistics.clips) == 1:
        yield DatasetWarning(
            "there is only one clip, so test frames look like training frames: same time of day, same weather",
            "add clips from other times with tools/extract.py --video",
        )
    sizes = Counter(f"{clip.grid.width}x{clip.grid.height}" for clip in statistics.clips)
    if len(sizes) > 1:
        yield DatasetWarning(
            f"clips differ in size ({', '.join(sizes)}), and a predictor is exported for one size",
            "extract them all with the same --height, or make a dataset for each size",
        )
