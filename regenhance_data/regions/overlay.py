"""Importance drawn over a frame, for people: a heat map, and the outline of the chosen macroblocks."""

import cv2
import numpy as np

from regenhance_data.grid import MacroblockGrid

HEAT = 0.6  # the share of the hottest cell's colour: the picture under it can still be told
OUTLINE_RGB = (0, 255, 120)  # a green that the inferno colours of the heat do not have


def draw_heatmap(frame: np.ndarray, importance: np.ndarray, grid: MacroblockGrid) -> np.ndarray:
    """Colour each macroblock by its importance: uint8 RGB [H, W, 3], float [rows, cols] in [0, 1] → uint8 RGB.

    The colour is the stronger the more important the macroblock is; where importance is 0 the frame is as it was.
    """
    share = grid.spread(np.clip(importance, 0, 1).astype(np.float32))
    inferno = cv2.applyColorMap((share * 255).round().astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    weight = (HEAT * share)[:, :, None]
    return (frame * (1 - weight) + inferno * weight).round().astype(np.uint8)


def draw_outline(frame: np.ndarray, chosen: np.ndarray, grid: MacroblockGrid) -> np.ndarray:
    """Draw a line around the chosen regions, inside them: uint8 RGB [H, W, 3], bool [rows, cols] → uint8 RGB."""
    thickness = max(1, grid.mb_size // 16)
    inside = grid.spread(chosen).astype(np.uint8)
    core = cv2.erode(inside, np.ones((2 * thickness + 1,) * 2, np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.where((inside > core)[:, :, None], np.array(OUTLINE_RGB, np.uint8), frame)
