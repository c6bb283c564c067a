"""The static map: importance that never changes, the baseline that costs nothing for a frame."""

from collections.abc import Iterable

import numpy as np

from regenhance_data.console import tell
from regenhance_data.dataset.folder import Dataset
from regenhance_data.io.files import sha256

STATIC = "static"  # its curve
_LIST = "train"


def static_maps(dataset: Dataset, clips: Iterable[str]) -> dict[str, np.ndarray]:
    """{clip: the mean importance of its training frames, float64 [rows, cols]} for each of `clips`.

    A clip without training frames has the mean over the clips of its grid that have some, which is told. {} where a
    clip has neither, as without train.txt. InputError for a train.txt or an importance file that is broken.
    """
    if not (dataset.root / f"{_LIST}.txt").is_file():
        return {}
    numbers: dict[str, set[int]] = {}
    for frame in dataset.split_frames(_LIST):
        numbers.setdefault(frame.clip, set()).add(frame.number)
    means = {clip: mean for clip, some in sorted(numbers.items()) for mean in _means(dataset, clip, some)}
    found = {}
    for clip in dict.fromkeys(clips):
        if clip not in means:
            shape = dataset.grid(clip).shape
            others = [mean for mean in means.values() if mean.shape == shape]
            if not others:
                return {}
            tell(f"{clip} has no training frame: its static map is the mean over {len(others)} clips that have some")
        found[clip] = means[clip] if clip in means else np.mean(others, axis=0)
    return found


def static_map_files(dataset: Dataset) -> list[str]:
    """Identifies what the static maps are made of."""
    listed = dataset.root / f"{_LIST}.txt"
    if not listed.is_file():
        return []
    paths = [dataset.importance_path(clip) for clip in sorted({frame.clip for frame in dataset.split_frames(_LIST)})]
    return [sha256(path) for path in (listed, *paths) if path.is_file()]


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
