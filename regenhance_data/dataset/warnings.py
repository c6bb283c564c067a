"""Warnings about what is valid in a dataset but probably not intended: one source for the check and the report."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from regenhance_data.dataset.folder import HR_IMAGES
from regenhance_data.dataset.split import SPLITS
from regenhance_data.dataset.statistics import (
    FEWEST_TEST_FRAMES,
    DatasetStatistics,
    frame_difference,
    sample_frames,
    upsampled_and_hr,
)

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


def dataset_warnings(statistics: DatasetStatistics) -> list[DatasetWarning]:
    """All warnings: those that the check prints and that stand in the report. InputError for an HR frame of another
    size.
    """
    return [
        *(_label_warnings(statistics) if statistics.split_of else []),
        *_hr_frame_warnings(statistics),
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


def _hr_frame_warnings(statistics: DatasetStatistics) -> Iterator[DatasetWarning]:
    record = statistics.dataset.record
    if statistics.hr_folder is None and record.importance.hr_folder is not None:
        yield DatasetWarning(
            f"the HR frames in {record.importance.hr_folder}/ that importance was made from are gone",
            "training needs none; make them again before tools/evaluate.py",
        )
    for clip in statistics.clips:
        if clip.missing_hr:
            command = "extract.py --keep_hr" if statistics.hr_folder == HR_IMAGES else "super_resolve.py"
            yield DatasetWarning(
                f"{clip.missing_hr} of {len(clip.frames)} HR frames of {clip} are missing in {statistics.hr_folder}/",
                f"run tools/{command} again",
            )
    pairs = [pair for frame in sample_frames(statistics) if (pair := upsampled_and_hr(statistics, frame)) is not None]
    differences = [float(frame_difference(*pair).mean()) for pair in pairs]
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
            "lower --score_threshold of tools/make_importance.py, or look at the HR frames",
        )


def _clip_warnings(statistics: DatasetStatistics) -> Iterator[DatasetWarning]:
    if len(statistics.clips) == 1:
        yield DatasetWarning(
            "there is only one clip, so test frames look like training frames: same time of day, same weather",
            "add clips from other times with tools/extract.py --video",
        )
    for clip in statistics.clips:
        if clip.other_sizes:
            yield DatasetWarning(
                f"{clip.other_sizes} of {len(clip.frames)} LR frames of {clip} differ in size from its first one",
                "extract the clip again: importance and an exported predictor need one size",
            )
    difference = size_difference({str(clip): (clip.grid.height, clip.grid.width) for clip in statistics.clips})
    if difference:
        yield difference


def size_difference(clips: Mapping[str, tuple[int, int]]) -> DatasetWarning | None:
    """What clips whose LR frames differ in size are good for; {clip: (height, width)}. None where all are equal."""
    clips_of: dict[tuple[int, int], list[str]] = {}
    for clip, hw in clips.items():
        clips_of.setdefault(hw, []).append(clip)
    if len(clips_of) < 2:
        return None
    sizes = ", ".join(
        f"{width}x{height} ({', '.join(names[:3])}{' …' if len(names) > 3 else ''})"
        for (height, width), names in clips_of.items()
    )
    aspects = [width / height for height, width in clips_of]
    if max(aspects) < 1.02 * min(aspects):
        fix = f"to make them equal, give each the same height in a --manifest ('height: {min(clips_of)[0]}')"
    else:
        fix = (
            "no height makes these shapes equal (a --manifest gives each clip its own): export with --all_sizes, "
            "evaluate with --clips"
        )
    return DatasetWarning(
        f"LR frames have {len(clips_of)} sizes: {sizes}; labels and training take them together, but a predictor is "
        "exported and evaluated for one size",
        fix,
    )
