"""What there is of a dataset at any stage, in numbers, and warnings in words about what is allowed but seldom meant.

Importance is read in blocks, and one picture a clip, so that memory grows by a few numbers a frame alone.
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

FEWEST_TEST_FRAMES = 20  # F1 on fewer moves by several hundredths from one choice of frames to the next
MOST_LEVEL_0 = 0.95
MOST_IN_GAPS = 0.25
# Of 255, on average over a frame. Bicubic interpolation, which adds no detail, differs by about 1.3 on the built-in
# street, the built-in upscaler by 4.
LEAST_DIFFERENCE = 0.5


@dataclass(frozen=True)
class Warned:
    """Something about a dataset that is allowed but seldom meant, and what to do about it: two plain sentences."""

    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.what}; {self.mend}"


@dataclass(frozen=True)
class Clip:
    """A clip: its frames in order, their grid, the sum of importance of each frame [T] (NaN where it has none), and
    the mean importance of each macroblock [rows, cols] (None where no frame has importance).
    """

    name: str
    frames: list[Frame]
    grid: MacroblockGrid
    totals: np.ndarray
    mean: np.ndarray | None

    def __str__(self) -> str:
        return self.name or "the one clip"


@dataclass(frozen=True)
class Survey:
    """What there is of a dataset. `clear` is a folder of clear frames, `pixels` counts pixels a level for each split;
    None where there are none. `split_of` gives the split of each listed frame.
    """

    dataset: Dataset
    clips: list[Clip]
    clear: str | None
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


def survey_dataset(dataset: Dataset) -> Survey:
    """What there is of a dataset. InputError where a split list, a label or an importance file is broken."""
    split_of: dict[Frame, str] = {}
    for name in SPLITS:
        if (dataset.root / f"{name}.txt").exists():
            split_of |= dict.fromkeys(dataset.split_frames(name), name)
    clears = [folder for folder in HR_FOLDERS if (dataset.root / folder).is_dir()]
    pixels = _level_pixels(dataset, split_of) if split_of else None
    return Survey(dataset, list(_clips(dataset)), clears[0] if clears else None, split_of, pixels)


def _clips(dataset: Dataset) -> Iterator[Clip]:
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
        yield Clip(name, frames, grid, np.array([totals.get(frame.number, np.nan) for frame in frames]), mean)


def _level_pixels(dataset: Dataset, split_of: Mapping[Frame, str]) -> dict[str, np.ndarray]:
    """Pixels a level for each split: as dataset.yaml counts them, from the labels themselves where it does not."""
    recorded = dataset.record.read_level_pixels()
    if recorded is not None:
        return recorded
    counts = {name: np.zeros(dataset.levels) for name in SPLITS}
    labels = bounded_map(lambda frame: read_label(dataset.path(LABELS, frame)), split_of)
    for name, label in zip(split_of.values(), labels, strict=True):
        counts[name] += np.bincount(label.ravel(), minlength=256)[: dataset.levels]
    return counts


def thin_splits(frames: Mapping[str, int]) -> list[Warned]:
    """Warnings about splits with too few frames to tell anything, from {split: number of frames}."""
    more = "take longer or more clips, a smaller --gap or another --split with tools/make_seg_dataset.py"
    purpose = {"val": "no checkpoint can be chosen by it", "test": "nothing tells what the predictor is worth"}
    warned = [Warned(f"{name} has no frame: {words}", more) for name, words in purpose.items() if not frames[name]]
    if 0 < frames["test"] < FEWEST_TEST_FRAMES:
        warned.append(Warned(f"test has {frames['test']} frames, too few for an F1 that can be trusted", more))
    return warned


def warnings_about(survey: Survey, differences: Sequence[float]) -> list[Warned]:
    """All that is to be said, from the survey and the mean |clear − blurred| (0 to 255) of some frames."""
    return [
        *(_about_labels(survey) if survey.split_of else []),
        *_about_clear_frames(differences),
        *_about_importance(survey),
        *_about_clips(survey),
    ]


def _about_labels(survey: Survey) -> Iterator[Warned]:
    yield from thin_splits(survey.counts())
    assert survey.pixels is not None
    for name, pixels in survey.pixels.items():
        if pixels.sum() and pixels[0] / pixels.sum() > MOST_LEVEL_0:
            yield Warned(
                f"{pixels[0] / pixels.sum():.1%} of the {name} pixels are level 0, so a network that always says 0 is "
                "nearly always right",
                "make labels with --normalize log or rank, or importance with a lower --score_threshold",
            )
    totals = survey.totals()
    for name in SPLITS:
        for clip in survey.clips:
            found = [totals[f] for f in clip.frames if survey.split_of.get(f) == name and f in totals]
            if found and not any(found):
                yield Warned(
                    f"the {name} block of {clip} has no object: none of its {len(found)} frames has importance",
                    "take a clip where something happens to the end, or --split_by clip",
                )
    frames = sum(len(clip.frames) for clip in survey.clips)
    lost = sum(frame not in survey.split_of for frame in totals)
    if lost / frames > MOST_IN_GAPS:
        yield Warned(
            f"{lost} of {frames} frames ({lost / frames:.0%}) lie in the gaps between the blocks and are used nowhere",
            "longer clips lose fewer; a smaller --gap does where the scene changes fast",
        )


def _about_clear_frames(differences: Sequence[float]) -> Iterator[Warned]:
    if differences and np.mean(differences) < LEAST_DIFFERENCE:
        yield Warned(
            f"clear frames differ from blurred ones by {np.mean(differences):.2f} of 255 on average, next to nothing, "
            "so there is nothing for a detector to gain",
            "take another --model with tools/super_resolve.py, or real originals (--keep_hr of tools/extract.py)",
        )


def _about_importance(survey: Survey) -> Iterator[Warned]:
    if not survey.has_importance:
        return
    totals = survey.totals()
    missing = sum(len(clip.frames) for clip in survey.clips) - len(totals)
    if missing:
        yield Warned(f"{missing} frames have no importance", "run tools/make_importance.py again")
    if not any(totals.values()):
        yield Warned(
            "importance is 0 everywhere",
            "lower --score_threshold of tools/make_importance.py, or look at the clear frames below",
        )


def _about_clips(survey: Survey) -> Iterator[Warned]:
    if len(survey.clips) == 1:
        yield Warned(
            "there is one clip only, so test frames look like training frames, of the same hour and weather",
            "add clips of other hours with tools/extract.py --video",
        )
    sizes = Counter(f"{clip.grid.width}x{clip.grid.height}" for clip in survey.clips)
    if len(sizes) > 1:
        yield Warned(
            f"clips differ in size ({', '.join(sizes)}), and a predictor is exported for one",
            "extract them all with the same --height, or make a dataset for each size",
        )
