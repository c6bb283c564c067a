"""Warnings about frames that are in a list they should not be in: figures on learnt frames are too good."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from regenhance_data.console import warn
from regenhance_data.dataset.folder import Dataset, Frame


def learnt_frames(dataset: Dataset, name: str, frames: Sequence[Frame]) -> set[Frame]:
    """Those of the frames that a split list of the dataset has; none without that list."""
    is_there = (dataset.root / f"{name}.txt").is_file()
    return set(dataset.split_frames(name)).intersection(frames) if is_there else set()


def warn_of_learnt_frames(
    dataset: Dataset, frames: Sequence[Frame], lists: Sequence[str] = ("train", "val"), advice: str = "see --split"
) -> None:
    """Say how many of the frames that are evaluated what was trained on this dataset has learnt from."""
    of_list = {name: found for name in lists if (found := learnt_frames(dataset, name, frames))}
    if of_list:
        static = ", and the static map," if "train" in of_list else ""
        warn(
            f"{sum(map(len, of_list.values()))} of {len(frames)} frames are of "
            f"{' and '.join(f'{name}.txt' for name in of_list)}: predictors that were trained with them{static} score "
            f"better here than on new frames; {advice}"
        )


def warn_of_shared_frames(root: Path, frames: Mapping[str, Sequence[Frame]]) -> None:
    """Say how many frames of each purpose of a training ('training', 'validation', …) are of an earlier one too."""
    for first, second in combinations(frames, 2):
        if shared := set(frames[first]).intersection(frames[second]):
            warn(
                f"{root}: {len(shared)} of {len(frames[second])} {second} frames are {first} frames too, so their "
                "figures are too good; keep each frame in one list, see tools/check_dataset.py"
            )
