"""Frames of several videos in turn, and their importance in batches."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from deploy.backends.base import Predictor, fit_frame
from regenhance_data.errors import InputError
from regenhance_data.io.video import read_video
from regenhance_data.parallel.threads import ahead, bounded_map
from regenhance_data.regions.reuse import ClipReuse


class VideoFrame(NamedTuple):
    """The next frame of a video.

    video: its number. rgb: uint8 [h, w, 3]; None where it is not drawn. due_bgr: uint8 [H, W, 3] at the model's size;
    None where the video's last importance is kept. known: its importance, float32 [rows, cols], from an earlier run.
    """

    video: int
    rgb: np.ndarray | None
    due_bgr: np.ndarray | None
    known: np.ndarray | None = None


def frames_in_turn(
    videos: Sequence[Path],
    reuses: Sequence[ClipReuse],
    size_hw: tuple[int, int],
    max_frames: int | None,
    allow_cut: bool,
    is_drawn: bool,
    known: Sequence[np.ndarray],
    failed: dict[int, InputError],
) -> Iterator[VideoFrame]:
    """One frame of each video that has one left, then the next of each; a video's own frames are in order.

    known: for each video the importance of its first frames, float32 [n, rows, cols], which are not predicted. failed:
    gets what is wrong with a video that ends in an error, by its number; the others go on.
    """
    running = {n: islice(read_video(video, allow_cut=allow_cut), max_frames) for n, video in enumerate(videos)}
    while running:
        for number, frames in list(running.items()):
            try:
                frame = next(frames, None)
                lr = None if frame is None else fit_frame(frame, size_hw, videos[number])
            except InputError as error:
                failed[number], frame, lr = error, None, None
            if frame is None or lr is None:
                del running[number]
                continue
            at = reuses[number].seen
            is_due = reuses[number].is_due(lr)
            importance = known[number][at] if at < len(known[number]) else None
            bgr = cv2.cvtColor(lr, cv2.COLOR_RGB2BGR) if is_due and importance is None else None
            yield VideoFrame(number, frame if is_drawn else None, bgr, importance)


def predict_frames(
    predictor: Predictor, frames: Iterator[VideoFrame], streams: int
) -> Iterator[tuple[VideoFrame, np.ndarray]]:
    """(frame, importance float32 [rows, cols]) of each frame, in order; `streams` batches are predicted at a time.

    A frame that is not due has the importance of its video's last frame that was.
    """

    def batches() -> Iterator[list[VideoFrame]]:
        batch: list[VideoFrame] = []
        for frame in ahead(frames, 2 * predictor.batch):
            batch.append(frame)
            due = sum(frame.due_bgr is not None for frame in batch)
            if due == predictor.batch or len(batch) == 4 * predictor.batch:
                yield batch
                batch = []
        if batch:
            yield batch

    def predict(batch: list[VideoFrame]) -> tuple[list[VideoFrame], np.ndarray]:
        due = [frame.due_bgr for frame in batch if frame.due_bgr is not None]
        return batch, predictor.predict(np.stack(due) if due else np.zeros((0, *predictor.input_hw, 3), np.uint8))

    last: dict[int, np.ndarray] = {}
    for batch, importance in bounded_map(predict, batches(), streams):
        predicted = iter(importance)
        for frame in batch:
            if frame.known is not None:
                last[frame.video] = frame.known
            elif frame.due_bgr is not None:
                last[frame.video] = next(predicted)
            yield frame, last[frame.video]
