"""The annotated picture of a frame: boxes, and outlines of what is enhanced."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from deploy.online.loop import EnhancedFrame
from regenhance_data.detections import Detections
from regenhance_data.grid import MacroblockGrid
from regenhance_data.regions.overlay import OUTLINE_RGB, draw_boxes, draw_outline

KEPT_RGB = (90, 160, 255)  # the outline of macroblocks that were enhanced in an earlier frame


class Annotator:
    """Draws frames. names: the detector's classes. grid: of the HR frames."""

    def __init__(self, names: Sequence[str], grid: MacroblockGrid) -> None:
        self._names, self._grid = names, grid

    def draw(self, item: EnhancedFrame, tracks: Sequence[int | None] | None) -> np.ndarray:
        """uint8 RGB; beside it the frame with nothing enhanced, where both are known."""
        outlined = draw_outline(item.image, item.cached, self._grid, KEPT_RGB)
        ours = self._with_boxes(draw_outline(outlined, item.selected, self._grid, OUTLINE_RGB), item.found, tracks)
        if item.plain is None:
            return ours
        pictures = [self._with_boxes(item.plain, item.found_plain), ours]
        for picture, title in zip(pictures, ("nothing enhanced", "enhanced where it matters"), strict=True):
            _write_title(picture, title)
        return np.hstack(pictures)

    def _with_boxes(self, picture: np.ndarray, found: Any, tracks: Sequence[int | None] | None = None) -> np.ndarray:
        return draw_boxes(picture, found, self._names, tracks) if isinstance(found, Detections) else picture.copy()


def _write_title(picture: np.ndarray, title: str) -> None:
    size = max(0.5, picture.shape[0] / 1000)
    thickness = max(1, round(2 * size))
    (width, height), below = cv2.getTextSize(title, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)
    picture[: height + 2 * below, : width + 2 * below] //= 3
    where = (below, height + below // 2)
    cv2.putText(picture, title, where, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), thickness, cv2.LINE_AA)
