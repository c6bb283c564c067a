"""mIoU of class maps."""

from collections.abc import Sequence

import numpy as np


def count_pixels(found: np.ndarray, reference: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """(true positives, false positives, false negatives) of each of the classes in the pixels of two class maps uint8
    [H, W]: int64 [classes, 3].
    """
    both, of_found, of_reference = (
        np.bincount(some.ravel(), minlength=256)[classes] for some in (found[found == reference], found, reference)
    )
    return np.stack([both, of_found - both, of_reference - both], axis=-1)


def miou(counts: np.ndarray) -> np.ndarray:
    """The mean of TP / (TP + FP + FN) of counts [..., classes, 3] over the classes in the reference; 1 where it has
    none.
    """
    is_present = counts[..., 0] + counts[..., 2] > 0
    ious = counts[..., 0] / counts.sum(-1).clip(min=1)
    number = is_present.sum(-1)
    return np.divide((ious * is_present).sum(-1), number, out=np.ones(counts.shape[:-2]), where=number > 0)
