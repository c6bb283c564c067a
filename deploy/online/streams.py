"""Frames of several videos in turn, and overlay videos."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from deploy.backends.frames import fitted
from regenhance_data.io.video import read_video
from regenhance_data.regions.reuse import Reuse

# number of the video; its next frame uint8 RGB [h, w, 3], None where nobody draws it; the same as the model takes it,
# BGR, where it is to be predicted
Shown = tuple[int, np.ndarray | None, np.ndarray | None]


def in_turn(
    videos: Sequence[Path],
    reuses: Sequence[Reuse],
    size_hw: tuple[int, int],
    max_frames: int | None,
    allow_cut: bool,
    is_drawn: bool,
) -> Iterator[Shown]:
    """A frame of each video that has one left, then the next of each …; a video's own frames are in order."""
    running = {n: islice(read_video(video, allow_cut=allow_cut), max_frames) for n, video in enumerate(videos)}
    while running:
        for number, frames in list(running.items()):
            frame = next(frames, None)
            if frame is None:
                del running[number]
            else:
                origin = fitted(frame, size_hw, videos[number])
                is_due = reuses[number].is_due(origin)
                bgr = cv2.cvtColor(origin, cv2.COLOR_RGB2BGR) if is_due else None
                yield number, frame if is_drawn else None, bgr
