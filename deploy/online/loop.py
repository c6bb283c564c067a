"""Importance of the frames of several videos, batched."""

from collections.abc import Iterator

import numpy as np

from deploy.backends.base import Predictor
from deploy.online.streams import Shown
from regenhance_data.parallel.threads import ahead, bounded_map


def predicted(
    predictor: Predictor, shown: Iterator[Shown], streams: int
) -> Iterator[tuple[int, np.ndarray | None, np.ndarray]]:
    """(number of the video, its frame, importance float32 [rows, cols]), one after the other.

    Frames that are not predicted have the map of their video's last one that was.
    """

    def batches() -> Iterator[list[Shown]]:
        batch: list[Shown] = []
        for item in ahead(shown, 2 * predictor.batch):
            batch.append(item)
            due = sum(bgr is not None for *_, bgr in batch)
            if due == predictor.batch or len(batch) == 4 * predictor.batch:
                yield batch
                batch = []
        if batch:
            yield batch

    def predict(batch: list[Shown]) -> tuple[list[Shown], np.ndarray]:
        due = [bgr for *_, bgr in batch if bgr is not None]
        return batch, predictor.predict(np.stack(due) if due else np.zeros((0, *predictor.input_hw, 3), np.uint8))

    last: dict[int, np.ndarray] = {}
    for batch, importance in bounded_map(predict, batches(), streams):
        maps = iter(importance)
        for number, frame, bgr in batch:
            last[number] = last[number] if bgr is None else next(maps)
            yield number, frame, last[number]
