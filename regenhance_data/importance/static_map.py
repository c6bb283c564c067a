"""The static map: importance that never changes, the baseline that costs nothing for a frame."""

from collections.abc import Iterable, Sequence

import numpy as np

from regenhance_data.console import tell
from regenhance_data.dataset.folder import Dataset
from regenhance_data.io.files import digest, sha256

STATIC = "static"  # its curve
_LIST = "train"


def static_maps(dataset: Dataset, clips: Iterable[str]) -> dict[str, np.ndarray]:
    """{clip: the mean importance of its training frames, float64 [rows, cols]} for each of `clips`.

    A clip without training frames has the mean over the clips of its grid that have some, and a line says so. {} where
    a clip has neither, as without train.txt. InputError for a train.txt or an importance file that is broken.
    """
    clips = list(dict.fromkeys(clips))
    means = {clip: mean for clip, some in _training(dataset, clips).items() for mean in _means(dataset, clip, some)}
    if not means:
        return {}
    found = {}
    for clip in clips:
        if clip not in means:
            shape = dataset.grid(clip).shape
            others = [mean for mean in means.values() if mean.shape == shape]
            if not others:
                tell(f"{clip} has no training frame, nor has a clip of its size: there is no static map")
                return {}
            tell(f"{clip} has no training frame: its static map is the mean over {len(others)} clips that have some")
        found[clip] = means[clip] if clip in means else np.mean(others, axis=0)
    return found


def static_map_files(dataset: Dataset, clips: Iterable[str]) -> list[str]:
    """Identifies what the static maps of `clips` are made of."""
    training = _training(dataset, list(clips))
    paths = [path for path in map(dataset.importance_path, training) if path.is_file()]
    return [digest({clip: sorted(some) for clip, some in training.items()}), *map(sha256, paths)]


def _training(dataset: Dataset, clips: Sequence[str]) -> dict[str, set[int]]:
    """{clip: the numbers of its training frames} of those of `clips`, of all clips where one of them has none."""
    if not (dataset.root / f"{_LIST}.txt").is_file():
        return {}
    numbers: dict[str, set[int]] = {}
    for frame in dataset.split_frames(_LIST):
        numbers.setdefault(frame.clip, set()).add(frame.number)
    needed = clips if numbers.keys() >= set(clips) else numbers
    return {clip: numbers[clip] for clip in sorted(needed)}


def _means(dataset: Dataset, clip: str, numbers: set[int]) -> list[np.ndarray]:
    """The mean importance of these frames of a clip, [rows, cols]; none where it has no importance of them."""
    if not dataset.importance_path(clip).is_file():
        return []
    total, count = np.zeros(()), 0
    for block_numbers, importance in dataset.importance_file(clip).blocks():
        chosen = [number in numbers for number in block_numbers.tolist()]
        total = total + importance[chosen].sum(0, dtype=np.float64)
        count += sum(chosen)
    return [total / count] if count else []
