"""The frames of a split with their originals, which an upscaler is trained on and judged by."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from regenhance_data.console import progress, tell
from regenhance_data.dataset.folder import HR_IMAGES, Dataset, Frame, evenly_spread
from regenhance_data.errors import InputError
from regenhance_data.importance.frame_pairs import FramePair, read_pair
from regenhance_data.parallel.threads import bounded_map

if TYPE_CHECKING:
    from regenhance_data.detectors.base import Detector

# of the training frames in memory; of a longer clip, evenly spread ones, whose neighbours are alike
MOST_BYTES = 1 << 30
_LOOKED_AT = 200  # frames, until one has a detection: a camera may be empty most of the time


def frames_with_originals(dataset: Dataset, split: str) -> list[Frame]:
    """The frames of a split. InputError where the list is missing, and where a frame has no original."""
    frames = dataset.split_frames(split)
    dataset.refuse_missing_originals(frames)
    return frames


def refuse_no_frame(dataset: Dataset, split: str, frames: Sequence[Frame]) -> None:
    """InputError where a split that is needed lists no frame."""
    if not frames:
        raise InputError(f"{dataset.root}/{split}.txt: lists no frame; make it again with tools/make_seg_dataset.py")


def read_training_pairs(dataset: Dataset, frames: Sequence[Frame]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(LR frame uint8 [h, w, 3], original [h·scale, w·scale, 3]) of the training frames, or of as many of them as
    MOST_BYTES hold, at the largest size. InputError without frames, and for an original of another size.
    """
    refuse_no_frame(dataset, "train", frames)
    grids = [dataset.grid(clip) for clip in {frame.clip for frame in frames}]
    largest = max(3 * (1 + dataset.scale**2) * grid.height * grid.width for grid in grids)
    chosen = evenly_spread(frames, max(MOST_BYTES // largest, 1))
    if len(chosen) < len(frames):
        tell(f"trains on {len(chosen)} of {len(frames)} frames, evenly spread: {MOST_BYTES >> 30} GB of memory")
    pairs = bounded_map(lambda frame: read_pair(dataset, frame, HR_IMAGES), chosen)
    return [(pair.lr, pair.hr) for pair in progress(pairs, "read", len(chosen))]


def read_pairs_of(dataset: Dataset, frames: Sequence[Frame], most: int) -> list[FramePair]:
    """At most `most` of the frames, evenly spread, with their originals."""
    return list(bounded_map(lambda frame: read_pair(dataset, frame, HR_IMAGES), evenly_spread(frames, most)))


def refuse_blind(detector: "Detector", dataset: Dataset, frames: Sequence[Frame]) -> None:
    """InputError where the detector finds nothing in the originals of the frames, of very many in some of them."""
    from regenhance_data.detectors.diagnosis import why_nothing
    from regenhance_data.stages.make_importance import sampled_hr_frames

    looked_at = evenly_spread(frames, _LOOKED_AT)
    counts = set(detector.counted_classes())
    for frame in looked_at:
        (found,) = detector.detect(dataset.read(HR_IMAGES, frame)[None])
        if counts & {*found.ravel().tolist()} if detector.task == "segmentation" else len(found.labels):
            return
    why = why_nothing(detector.settings, sampled_hr_frames(dataset, HR_IMAGES, frames))
    raise InputError(f"{dataset.root / HR_IMAGES}: the detector finds nothing in {len(looked_at)} HR frames: {why}")
