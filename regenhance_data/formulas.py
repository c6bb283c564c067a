"""Importance: how much the detector's accuracy gains when a macroblock becomes clear.

With Acc, the sum of the scores of the detections kept on the clear frame (`Detector.accuracy`), and mean_b over the
pixels a macroblock really has, of the L1 norm over channels, in pixel units of 0..255 (RegenHance, NSDI '25):

    product      mean_b |∂Acc/∂clear| · mean_b |clear − blurred|     the paper's form
    gradient     mean_b |∂Acc/∂clear|                                what the paper's published code computes
    first_order  mean_b |Σ_c ∂Acc/∂clear · (clear − blurred)|
    path         product, with the gradient averaged along the way from blurred to clear, of the detections kept on
                 the clear frame (as integrated gradients do), at three times the cost
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch.nn import functional

from regenhance_data.detectors import Detector
from regenhance_data.grid import MacroblockGrid

FORMULAS = ("product", "gradient", "first_order", "path")
# Where `path` takes the gradient, as shares of the way from blurred to clear.
PATH_POINTS = (1.0, 2 / 3, 1 / 3)


@dataclass(frozen=True)
class FramePair:
    """A frame, clear and blurred (uint8 [H, W, 3] RGB both), its origin image (uint8 [H/scale, W/scale, 3]), and its
    macroblocks on the clear frame's pixels.
    """

    origin: np.ndarray
    clear: np.ndarray
    blurred: np.ndarray
    grid: MacroblockGrid


def cell_norms(pictures: torch.Tensor, mb_size: int) -> torch.Tensor:
    """The L1 norm over channels, averaged over the pixels each macroblock has: [N, C, H, W] → [N, rows, cols]."""
    return functional.avg_pool2d(pictures.abs(), mb_size, ceil_mode=True, count_include_pad=False).sum(1)


def difference_map(pair: FramePair) -> np.ndarray:
    """mean_b |clear − blurred|: float32 [rows, cols]."""
    difference = torch.from_numpy(cv2.absdiff(pair.clear, pair.blurred)).permute(2, 0, 1).float()
    return cell_norms(difference[None], pair.grid.mb_size)[0].numpy()


def importance_map(detector: Detector, pair: FramePair, formula: str = "product") -> tuple[np.ndarray, int]:
    """(importance float32 [rows, cols], how many detections the clear frame has). Without detections it is zero."""
    clear = detector.tensor(pair.clear[None])
    gradient, detections = _gradient(detector, clear, pair if formula == "path" else None)
    if gradient is None:
        return np.zeros(pair.grid.shape, np.float32), 0
    if formula == "first_order":
        change = clear - detector.tensor(pair.blurred[None])
        gradient = (gradient * change).sum(1, keepdim=True)
    importance = cell_norms(gradient, pair.grid.mb_size)[0].cpu().numpy()
    return importance if formula in ("gradient", "first_order") else importance * difference_map(pair), detections


def _gradient(detector: Detector, clear: torch.Tensor, path: FramePair | None) -> tuple[torch.Tensor | None, int]:
    """∂Acc/∂frame [1, 3, H, W] at the clear frame, or averaged along the `path` to it; None without detections."""
    frames = clear.requires_grad_()
    objective = detector.accuracy(frames)
    if not objective.detections:
        return None, 0
    (gradient,) = torch.autograd.grad(objective.value, frames)
    if path is not None:
        blurred = detector.tensor(path.blurred[None])
        for share in PATH_POINTS[1:]:
            between = torch.lerp(blurred, clear.detach(), share).requires_grad_()
            gradient = gradient + torch.autograd.grad(objective.at(between).sum(), between)[0]
        gradient = gradient / len(PATH_POINTS)
    clear.requires_grad_(False)
    return gradient, objective.detections
