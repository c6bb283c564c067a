"""Frames on which an export is compared and calibrated."""

import cv2
import numpy as np

from regenhance_data.dataset.folder import LR_FRAMES, Dataset
from regenhance_data.errors import InputError

COMPARED_FRAMES = 4


def compared_frames(dataset: Dataset | None, input_size_hw: tuple[int, int] | None) -> np.ndarray:
    """LR frames to compare on, uint8 RGB [n, H, W, 3]: evenly from the test list, else the training list, else a clip.

    They have the given size, else that of the first. Without a dataset: noise of the given size.
    """
    if dataset is None:
        assert input_size_hw is not None
        return np.random.default_rng(0).integers(256, size=(COMPARED_FRAMES, *input_size_hw, 3), dtype=np.uint8)
    lists = [dataset.split_frames(name) for name in ("test", "train") if (dataset.root / f"{name}.txt").is_file()]
    frames = next((listed for listed in lists if listed), None) or dataset.frames(dataset.clips()[0])
    spread = sorted({round(at) for at in np.linspace(0, len(frames) - 1, COMPARED_FRAMES)})
    images = [dataset.read(LR_FRAMES, frames[at]) for at in spread]
    height, width = input_size_hw or images[0].shape[:2]
    return np.stack([cv2.resize(image, (width, height)) for image in images])


def training_frames(dataset: Dataset | None, input_size_hw: tuple[int, int], most: int) -> np.ndarray:
    """At most `most` LR frames to calibrate on, uint8 BGR [n, H, W, 3] of that size: evenly from the training list.

    From the first clip where the dataset is not split. Without a dataset: noise, for random weights.
    """
    if dataset is None:
        return np.random.default_rng(1).integers(256, size=(most, *input_size_hw, 3), dtype=np.uint8)
    is_split = (dataset.root / "train.txt").is_file()
    listed = dataset.split_frames("train") if is_split else dataset.frames(dataset.clips()[0])
    if not listed:
        raise InputError(f"{dataset.root}/train.txt: lists no frame to calibrate on; run tools/make_seg_dataset.py")
    height, width = input_size_hw
    spread = sorted({round(at) for at in np.linspace(0, len(listed) - 1, most)})
    images = [cv2.resize(dataset.read(LR_FRAMES, listed[at]), (width, height)) for at in spread]
    return np.ascontiguousarray(np.stack(images)[..., ::-1])
