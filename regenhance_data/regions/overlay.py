"""What is drawn over a frame: importance as a heat map, the outline of the selected macroblocks, detections."""

from collections.abc import Sequence

import cv2
import numpy as np

from regenhance_data.detections import Detections
from regenhance_data.grid import MacroblockGrid

HEATMAP_OPACITY = 0.6  # of the most important macroblock: the frame below stays visible
OUTLINE_RGB = (0, 255, 120)  # a green that the heat map's colours (inferno) do not contain
_BOX_COLOURS = ((255, 176, 0), (100, 170, 255), (255, 120, 170), (190, 140, 255), (255, 240, 90), (255, 110, 60))


def draw_heatmap(frame: np.ndarray, importance: np.ndarray, grid: MacroblockGrid) -> np.ndarray:
    """Colour each macroblock by its importance: uint8 RGB [H, W, 3], float [rows, cols] in [0, 1] → uint8 RGB.

    Opacity grows with importance; where importance is 0 the frame is unchanged.
    """
    share = grid.spread(np.clip(importance, 0, 1).astype(np.float32))
    inferno = cv2.applyColorMap((share * 255).round().astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    weight = (HEATMAP_OPACITY * share)[:, :, None]
    return (frame * (1 - weight) + inferno * weight).round().astype(np.uint8)


def draw_outline(
    frame: np.ndarray, selected: np.ndarray, grid: MacroblockGrid, rgb: tuple[int, int, int] = OUTLINE_RGB
) -> np.ndarray:
    """Draw a line around the selected regions, inside them: uint8 RGB [H, W, 3], bool [rows, cols] → uint8 RGB."""
    thickness = max(1, grid.mb_size // 16)
    inside = grid.spread(selected).astype(np.uint8)
    core = cv2.erode(inside, np.ones((2 * thickness + 1,) * 2, np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.where((inside > core)[:, :, None], np.array(rgb, np.uint8), frame)


def draw_boxes(
    frame: np.ndarray, found: Detections, class_names: Sequence[str], tracks: Sequence[int | None] | None = None
) -> np.ndarray:
    """Draw detections with their classes and scores over a frame of their size: uint8 RGB [H, W, 3] → the same.

    tracks: a number of each, shown instead of its score. The words of a detection stand above its box, below it or
    inside it, where they cover no others; in a crowd the box of a lower score has none.
    """
    drawn = np.ascontiguousarray(frame).copy()
    size = max(0.4, frame.shape[0] / 1600)
    thickness = max(1, round(2 * size))
    boxes = found.boxes.round().astype(int).tolist()
    colours = [_BOX_COLOURS[int(label) % len(_BOX_COLOURS)] for label in found.labels]
    for (left, top, right, bottom), colour in zip(boxes, colours, strict=True):
        cv2.rectangle(drawn, (left, top), (right, bottom), colour, thickness)
    taken = np.zeros(drawn.shape[:2], bool)  # by words
    for index in np.argsort(-found.scores, kind="stable"):
        track = tracks[index] if tracks else None
        text = f"{class_names[int(found.labels[index])]} "
        text += f"{found.scores[index]:.2f}" if track is None else f"#{track}"
        (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)
        height += 2
        left, top, _, bottom = boxes[index]
        left = max(min(left, drawn.shape[1] - width), 0)
        for place in (top - height - below, bottom, top):
            area = np.s_[place : place + height + below, left : left + width]
            if 0 <= place <= drawn.shape[0] - height - below and not taken[area].any():
                taken[area], drawn[area] = True, colours[index]
                at = (left, place + height)
                cv2.putText(drawn, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), thickness, cv2.LINE_AA)
                break
    return drawn
