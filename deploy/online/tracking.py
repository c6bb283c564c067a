"""Objects followed from frame to frame, by norfair (BSD-3-Clause, the extra `online`)."""

from typing import Any

import numpy as np

from deploy.online.rounds import EnhancedFrame
from regenhance_data.detections import Detections
from regenhance_data.errors import InputError

LEAST_IOU = 0.3  # of an object's expected box and a detection that continues it
MOST_MISSED_S = 1.0  # an object that is not found for longer is another one when it comes back


class Tracks:
    """The tracks of all cameras, each with its own.

    frames_per_second: of the frames that are searched, by camera. InputError where norfair is not installed.
    """

    def __init__(self, frames_per_second: dict[str, float]) -> None:
        try:
            import norfair
        except ImportError:
            raise InputError('--track: norfair is not installed; pip install "regenhance-kit[online]"') from None
        self._norfair: Any = norfair
        self._rates = frames_per_second
        self._trackers: dict[str, Any] = {}

    def _tracker_of(self, camera: str) -> Any:
        if camera not in self._trackers:
            self._trackers[camera] = self._norfair.Tracker(
                distance_function="iou",
                distance_threshold=1 - LEAST_IOU,
                initialization_delay=0,
                hit_counter_max=max(round(MOST_MISSED_S * self._rates[camera]), 1),
            )
        return self._trackers[camera]

    def assign(self, item: EnhancedFrame) -> list[int | None]:
        """The track of each detection in the next frame of a camera, from 1; None for class maps."""
        found = item.found
        if not isinstance(found, Detections):
            return []
        detections = [
            self._norfair.Detection(box.reshape(2, 2), scores=np.array([score] * 2), data=number, label=label)
            for number, (box, score, label) in enumerate(
                zip(found.boxes.astype(np.float64), found.scores.tolist(), found.labels.tolist(), strict=True)
            )
        ]
        tracks: list[int | None] = [None] * len(detections)
        for tracked in self._tracker_of(item.frame.camera).update(detections):
            last = tracked.last_detection
            if any(last is one for one in detections):  # else it is only expected to be there
                tracks[last.data] = tracked.id
        return tracks
