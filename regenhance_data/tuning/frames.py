"""The frames of a split with their originals, which an upscaler is trained on and judged by."""

from collections.abc import Sequence

import numpy as np

from regenhance_data.console import progress, tell
from regenhance_data.dataset.folder import HR_IMAGES, Dataset, Frame, evenly_spread
from regenhance_data.errors import InputError
from regenhance_data.importance.frame_pairs import FramePair, read_pair
from regenhance_data.parallel.threads import bounded_map

# of the training frames in memory; of a longer clip, evenly spread ones, whose neighbours are alike
MOST_BYTES = 1 << 30


def frames_with_originals(dataset: Dataset, split: str) -> list[Frame]:
    """The frames of a split. InputError where the list is missing, and where a frame has no original."""
    frames = dataset.split_frames(split)
    dataset.refuse_missing_originals(frames)
    return frames


def read_training_pairs(dataset: Dataset, frames: Sequence[Frame]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(LR frame uint8 [h, w, 3], original [h·scale, w·scale, 3]) of the training frames, or of as many of them as
    MOST_BYTES hold. InputError without frames, and for an original of another size.
    """
    if not frames:
        raise InputError(f"{dataset.root}/train.txt: lists no frame; make it again with tools/make_seg_dataset.py")
    first = read_pair(dataset, frames[0], HR_IMAGES)
    chosen = evenly_spread(frames, max(MOST_BYTES // (first.lr.nbytes + first.hr.nbytes), 1))
    if len(chosen) < len(frames):
        tell(f"trains on {len(chosen)} of {len(frames)} frames, evenly spread: {MOST_BYTES >> 30} GB of memory")
    pairs = bounded_map(lambda frame: read_pair(dataset, frame, HR_IMAGES), chosen)
    return [(pair.lr, pair.hr) for pair in progress(pairs, "read", len(chosen))]


def read_pairs_of(dataset: Dataset, frames: Sequence[Frame], most: int) -> list[FramePair]:
    """At most `most` of the frames, evenly spread, with their originals."""
    return list(bounded_map(lambda frame: read_pair(dataset, frame, HR_IMAGES), evenly_spread(frames, most)))
