"""Statistics of a dataset at any stage.

Importance is read in blocks, and one image of each clip, so memory grows by a few numbers per frame only.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from regenhance_data.dataset.folder import HR_FOLDERS, LABELS, LR_FRAMES, Dataset, Frame
from regenhance_data.dataset.label_png import image_size, read_label
from regenhance_data.dataset.split import SPLITS
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.parallel.threads import bounded_map
from regenhance_data.regions.composite import upsample_frame

FEWEST_TEST_FRAMES = 20  # on fewer, F1 varies by several hundredths with the choice of frames
SAMPLED_FRAMES = 10  # that stand for all, in the report and for the difference of HR and upsampled frames


@dataclass(frozen=True)
class ClipStatistics:
    """Frames in order, their grid, the sum of importance of each frame [T] (NaN where it has none), and the mean
    importance of each macroblock [rows, cols] (None where no frame has importance). missing_hr: frames without an HR
    frame, 0 where the dataset has none at all. other_sizes: frames whose size is not that of the first.
    """

    name: str
    frames: list[Frame]
    grid: MacroblockGrid
    totals: np.ndarray
    mean: np.ndarray | None
    missing_hr: int = 0
    other_sizes: int = 0

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
    folders = (dataset.record.importance.hr_folder, *HR_FOLDERS)
    hr_folder = next((name for name in folders if name in HR_FOLDERS and (dataset.root / name).is_dir()), None)
    pixels = _level_pixels(dataset, split_of) if split_of else None
    return DatasetStatistics(dataset, list(_clips(dataset, hr_folder)), hr_folder, split_of, pixels)


def _clips(dataset: Dataset, hr_folder: str | None) -> Iterator[ClipStatistics]:
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
        of_frames = np.array([totals.get(frame.number, np.nan) for frame in frames])
        missing = len(missing_hr_frames(dataset, name, hr_folder)) if hr_folder else 0
        sizes = bounded_map(image_size, (dataset.path(LR_FRAMES, frame) for frame in frames))
        others = sum(size not in (None, (grid.width, grid.height)) for size in sizes)
        yield ClipStatistics(name, frames, grid, of_frames, mean, missing, others)


def missing_hr_frames(dataset: Dataset, clip: str, hr_folder: str) -> list[Frame]:
    """The frames of a clip that have no HR frame in a folder."""
    there = {frame.stem for frame in dataset.frames(clip, hr_folder)}
    return [frame for frame in dataset.frames(clip) if frame.stem not in there]


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


def sample_frames(statistics: DatasetStatistics) -> list[Frame]:
    """A few frames, from the least important to the most, spread over clips and splits."""
    totals = statistics.totals() or {frame: 0.0 for clip in statistics.clips for frame in clip.frames}
    frames = sorted(totals, key=lambda frame: totals[frame])
    used: Counter[str | None] = Counter()
    selected = []
    for indices in np.array_split(np.arange(len(frames)), min(SAMPLED_FRAMES, len(frames))):
        groups = {i: (f"clip {frames[i].clip}", statistics.split_of.get(frames[i])) for i in indices}
        best = min(indices, key=lambda i: (sum(used[group] for group in groups[i]), abs(i - indices.mean())))
        used.update(groups[best])
        selected.append(frames[best])
    return selected


def upsampled_and_hr(statistics: DatasetStatistics, frame: Frame) -> tuple[np.ndarray, np.ndarray] | None:
    """The upsampled and the HR frame, None without an HR frame. InputError where that has another size."""
    dataset, hr_folder = statistics.dataset, statistics.hr_folder
    if hr_folder is None or not dataset.path(hr_folder, frame).exists():
        return None
    lr = dataset.read(LR_FRAMES, frame)
    return upsample_frame(lr, dataset.scale), dataset.read_hr(hr_folder, frame, lr)


def frame_difference(upsampled: np.ndarray, hr: np.ndarray) -> np.ndarray:
    """|HR frame − upsampled frame| of each pixel and channel, int16 [H, W, 3]."""
    return np.abs(hr.astype(np.int16) - upsampled)
