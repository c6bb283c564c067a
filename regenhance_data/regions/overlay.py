"""Importance drawn over a frame: a heat map, and the outline of the selected macroblocks."""

import cv2
import numpy as np

from regenhance_data.grid import MacroblockGrid

HEATMAP_OPACITY = 0.6  # of the most important macroblock: the frame below stays visible
OUTLINE_RGB = (0, 255, 120)  # a green that the heat map's colours (inferno) do not contain


def draw_heatmap(frame: np.ndarray, importance: np.ndarray, grid: MacroblockGrid) -> np.ndarray:
    """Colour each macroblock by its importance: uint8 RGB [H, W, 3], float [rows, cols] in [0, 1] → uint8 RGB.

    Opacity grows with importance; where importance is 0 the frame is unchanged.
    """
    share = grid.spread(np.clip(importance, 0, 1).astype(np.float32))
    inferno = cv2.applyColorMap((share * 255).round().astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    weight = (HEATMAP_OPACITY * share)[:, :, None]
    return (frame * (1 - weight) + inferno * weight).round().astype(np.uint8)


def draw_outline(frame: np.ndarray, selected: np.ndarray, grid: MacroblockGrid) -> np.ndarray:
    """Draw a line around the selected regions, inside them: uint8 RGB [H, W, 3], bool [rows, cols] → uint8 RGB."""
    thickness = max(1, grid.mb_size // 16)
    inside = grid.spread(selected).astype(np.uint8)
    core = cv2.erode(inside, np.ones((2 * thickness + 1,) * 2, np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.where((inside > core)[:, :, None], np.array(OUTLINE_RGB, np.uint8), frame)
