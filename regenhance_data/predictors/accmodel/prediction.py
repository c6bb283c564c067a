"""Importance by a trained AccModel."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np

from regenhance_data.errors import InputError
from regenhance_data.predictors.accmodel.network import AccModel


def predict(model: AccModel, frames: Iterable[np.ndarray], source: str | Path, batch_size: int = 8) -> np.ndarray:
    """The importance of a clip's frames, uint8 [H, W, 3] RGB each: float32 [T, rows, cols] in [0, 1].

    Only `batch_size` of the frames are there at once. InputError, that names `source`, where they differ in size, and
    for a model that puts out what is no number.
    """
    maps: list[np.ndarray] = []
    frames, shape = iter(frames), None
    while batch := list(islice(frames, batch_size)):
        shape = shape or batch[0].shape
        if any(frame.shape != shape for frame in batch):
            raise InputError(f"{source}: its frames differ in size; one clip has one size")
        maps.append(model.importance(np.stack(batch)))
        if not np.isfinite(maps[-1]).all():
            raise InputError(f"{source}: --model puts out NaN for its frames; the model is damaged, train it again")
    return np.concatenate(maps)
