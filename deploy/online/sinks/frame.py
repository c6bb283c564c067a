"""One frame's result, as every sink gets it."""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np

from deploy.online.loop import EnhancedFrame
from regenhance_data.detections import Detections

Draw = Callable[[EnhancedFrame, Sequence[int | None] | None], np.ndarray]


@dataclass(frozen=True)
class Listing:
    """What is found in one frame, without its pixels.

    frame: counted from 0. size: (width, height). detections: [{"box" [x1, y1, x2, y2], "score", "class", "track" or
    None}], boxes in pixels of the camera's own frames; None where the detector gives class maps. captured: when it came
    from a live camera, UTC in ISO 8601.
    """

    camera: str
    frame: int
    time_s: float
    size: tuple[int, int]
    detections: list[dict[str, Any]] | None
    captured: str | None = None

    def json(self) -> bytes:
        """The frame as one line of JSON, without its end; class maps have no detections."""
        about = {"camera": self.camera, "frame": self.frame, "time_s": self.time_s, "size": self.size}
        came = {} if self.captured is None else {"captured": self.captured}
        return json.dumps({**about, **came, "detections": self.detections or []}, ensure_ascii=False).encode()


class FrameResult:
    """A frame of the loop with what is listed of it. tracks: of each detection, where objects are followed. draw: makes
    the annotated picture.
    """

    def __init__(
        self, item: EnhancedFrame, names: Sequence[str], draw: Draw, tracks: Sequence[int | None] | None = None
    ) -> None:
        frame = item.frame
        size = frame.rgb.shape[1], frame.rgb.shape[0]
        ratios = size[0] / item.image.shape[1], size[1] / item.image.shape[0]  # a pixel may have been rounded away
        found = _listed(item.found, ratios, names, tracks)
        self.item = item
        captured = _utc(frame.captured_s)
        self.listing = Listing(frame.camera, frame.number, round(frame.time_s, 3), size, found, captured)
        self._draw, self._tracks = draw, tracks
        self._picture: np.ndarray | None = None
        self._lock = threading.Lock()

    @cached_property
    def json(self) -> bytes:
        """The listing as JSON, made once for all sinks; the loop's thread alone asks for it."""
        return self.listing.json()

    def picture(self) -> np.ndarray:
        """The annotated picture, uint8 RGB [H, W, 3]; drawn once, by the first sink that asks."""
        with self._lock:
            if self._picture is None:
                self._picture = self._draw(self.item, self._tracks)
            return self._picture


def _listed(
    found: Any, ratios: tuple[float, float], names: Sequence[str], tracks: Sequence[int | None] | None
) -> list[dict[str, Any]] | None:
    if not isinstance(found, Detections):
        return None
    boxes = (found.boxes.astype(np.float64) * (ratios * 2)).round(2).tolist()
    scores, labels = found.scores.astype(np.float64).round(4).tolist(), found.labels.tolist()
    return [
        {"box": box, "score": score, "class": names[label], "track": track}
        for box, score, label, track in zip(boxes, scores, labels, tracks or [None] * len(boxes), strict=True)
    ]


def _utc(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def left_top_size(box: Sequence[float]) -> tuple[float, float, float, float]:
    """(left, top, width, height) of a box [x1, y1, x2, y2]."""
    left, top, right, bottom = box
    return left, top, round(right - left, 2), round(bottom - top, 2)
