"""Objects followed from frame to frame, by norfair (BSD-3-Clause, the extra `online`)."""

from typing import Any

import numpy as np

from deploy.online.loop import EnhancedFrame
from regenhance_data.detections import Detections
from regenhance_data.errors import InputError

LEAST_IOU = 0.3  # of an object's expected box and a detection that continues it
MOST_MISSED_S = 1.0  # an object that is not found for longer is another one when it comes back
_FOR_EVER = 10**9  # norfair counts frames; here the time of frames ends a track


class Tracks:
    """The tracks of all cameras, each with its own. InputError where norfair is not installed."""

    def __init__(self) -> None:
        try:
            import norfair
        except ImportError:
            raise InputError('--track: norfair is not installed; pip install "regenhance-kit[online]"') from None
        self._norfair: Any = norfair
        self._trackers: dict[str, Any] = {}
        self._last: dict[str, tuple[int, float]] = {}  # the shot and the time of the last frame

    def _tracker_of(self, camera: str) -> Any:
        if camera not in self._trackers:
            self._trackers[camera] = self._norfair.Tracker(
                distance_function="iou",
                distance_threshold=1 - LEAST_IOU,
                initialization_delay=0,
                hit_counter_max=_FOR_EVER,
            )
        return self._trackers[camera]

    def forget(self, camera: str) -> None:
        """Nothing of a camera goes on; its numbers do, so that no two objects of a run have one."""
        if self._last.pop(camera, None) is not None:
            self._trackers[camera].tracked_objects = []

    def assign(self, item: EnhancedFrame) -> list[int | None]:
        """The track of each detection in the next frame of a camera, from 1; [] for class maps.

        An object keeps its track while it is found again within MOST_MISSED_S, or in the next frame that is searched;
        none goes on in another shot.
        """
        found, camera, shot, now_s = item.found, item.frame.camera, item.frame.shot, item.frame.time_s
        if not isinstance(found, Detections):
            return []
        detections = [
            self._norfair.Detection(box.reshape(2, 2), scores=np.array([score] * 2), data=(number, now_s), label=label)
            for number, (box, score, label) in enumerate(
                zip(found.boxes.astype(np.float64), found.scores.tolist(), found.labels.tolist(), strict=True)
            )
        ]
        tracker, (last_shot, last_s) = self._tracker_of(camera), self._last.get(camera, (shot, now_s))
        self._last[camera] = shot, now_s
        since_s = min(last_s, now_s - MOST_MISSED_S) - 1e-3  # time stamps are rounded
        known = tracker.tracked_objects if shot == last_shot else []
        tracker.tracked_objects = [one for one in known if _found_s(one) >= since_s]
        tracks: list[int | None] = [None] * len(detections)
        for tracked in tracker.update(detections):
            tracked.hit_counter = _FOR_EVER
            last = tracked.last_detection
            if any(last is one for one in detections):  # else it is only expected to be there
                tracks[last.data[0]] = tracked.id
        return tracks


def _found_s(tracked: Any) -> float:
    """When an object was found last, by the time of its camera's frames."""
    found_s: float = tracked.last_detection.data[1]
    return found_s
