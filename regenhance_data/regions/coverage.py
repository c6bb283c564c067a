"""How much of each macroblock the detector's boxes cover."""

from dataclasses import replace

import numpy as np

from regenhance_data.detections import Detections
from regenhance_data.grid import MacroblockGrid


def box_coverage(found: Detections, grid: MacroblockGrid) -> np.ndarray:
    """The covered share of each macroblock, summed over the boxes, weighted by their scores: float64 [rows, cols].

    The share is that of a whole macroblock's pixels: one that the frame's edge cuts has less to enhance. `found` and
    `grid` are in pixels of the same frame. Boxes found on the upsampled frame select macroblocks without a predictor.
    """
    (lefts, tops), (rights, bottoms) = found.boxes.astype(np.float64)[:, :2].T, found.boxes.astype(np.float64)[:, 2:].T
    col_starts, row_starts = (np.arange(count) * grid.mb_size for count in (grid.cols, grid.rows))
    # [boxes, cols] and [boxes, rows] of pixels
    across = np.minimum(rights[:, None], col_starts + grid.mb_size) - np.maximum(lefts[:, None], col_starts)
    down = np.minimum(bottoms[:, None], row_starts + grid.mb_size) - np.maximum(tops[:, None], row_starts)
    return np.einsum("n,nr,nc->rc", found.scores.astype(np.float64), down.clip(0), across.clip(0)) / grid.mb_size**2


def found_coverage(found: Detections, grid: MacroblockGrid) -> np.ndarray:
    """How much of each macroblock is where something was found, whatever its score: float32 [rows, cols] in [0, 1].

    Boxes are half a macroblock larger on each side: in the next frame, what was found there may have moved.
    """
    margin = np.array([-1, -1, 1, 1], np.float32) * grid.mb_size / 2
    larger = replace(found, boxes=found.boxes + margin, scores=np.ones_like(found.scores))
    return np.minimum(box_coverage(larger, grid), 1).astype(np.float32)
