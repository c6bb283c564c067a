"""Importance: how much the detector's accuracy gains when a macroblock is enhanced.

Acc is the accuracy of the detections on the HR frame (`Detector.accuracy`), change = HR − upsampled, and mean_b the
mean over the pixels of a macroblock, in units of 0..255; |∂Acc/∂x| and |change| are L1 norms over the channels c:

    product      mean_b |∂Acc/∂HR| · mean_b |change|                    RegenHance's formula (NSDI '25)
    gradient     mean_b |∂Acc/∂HR|                                      what its published code computes
    first_order  mean_b |Σ_c ∂Acc/∂HR · change|
    path         mean_α mean_b |∂Acc/∂x| · mean_b |change|              at x = upsampled + α · change
    gain         mean_α mean_b |e| + 5 · max(0, mean_α mean_b e)        with e = Σ_c ∂Acc/∂x · change

Between the upsampled and the HR frame (`path`, `gain`), the gradient also sees what raises a score that is still low;
Acc stays that of the detections on the HR frame. `gain` adds the signed effect of a macroblock, as in integrated
gradients (Sundararajan et al. 2017), to its absolute effect: the signed effect alone ranks only those few macroblocks
well where it is far above zero. Each point α costs a forward and a backward pass; if 1, the HR frame itself, is not
among the points, its detections cost one more forward pass.
"""

import cv2
import numpy as np
import torch
from torch.nn import functional

from regenhance_data.detectors.base import Detector, Objective
from regenhance_data.importance.formula_spec import DEFAULT_FORMULA, HR_POINT, parse_formula
from regenhance_data.importance.frame_pairs import FramePair

# The weight of the signed effect relative to the absolute one in `gain`: 5 gave better results than 2 and 0; the signed
# effect alone was far worse.
SIGNED_WEIGHT = 5


def cell_norms(images: torch.Tensor, mb_size: int) -> torch.Tensor:
    """The L1 norm over channels, averaged over the pixels each macroblock has: [N, C, H, W] → [N, rows, cols]."""
    return _cell_means(images.abs(), mb_size)


def _cell_means(images: torch.Tensor, mb_size: int) -> torch.Tensor:
    """The sum over channels, averaged in the same way."""
    return functional.avg_pool2d(images, mb_size, ceil_mode=True, count_include_pad=False).sum(1)


def difference_map(pair: FramePair) -> np.ndarray:
    """mean_b |HR − upsampled|: float32 [rows, cols]."""
    difference = torch.from_numpy(cv2.absdiff(pair.hr, pair.upsampled)).permute(2, 0, 1).float()
    return cell_norms(difference[None], pair.grid.mb_size)[0].numpy()


def importance_map(detector: Detector, pair: FramePair, formula: str = DEFAULT_FORMULA) -> tuple[np.ndarray, int]:
    """(importance float32 [rows, cols], the number of detections on the HR frame). Without detections it is zero.

    formula: one of FORMULAS, or one with other points, as `formula_spec` writes it.
    """
    name, points = parse_formula(formula)
    hr = detector.tensor(pair.hr[None])
    with torch.set_grad_enabled(HR_POINT in points):
        objective = detector.accuracy(hr.requires_grad_(HR_POINT in points))
    if not objective.detections:
        return np.zeros(pair.grid.shape, np.float32), 0
    by_effect = name in ("first_order", "gain")
    upsampled = detector.tensor(pair.upsampled[None]) if by_effect or points != (HR_POINT,) else None
    change = hr.detach() - upsampled if by_effect and upsampled is not None else None
    absolute, signed = [], []
    for point in sorted(points, reverse=True):  # the HR frame first: it frees the memory of that graph
        effect = _gradient(objective, hr, upsampled, point)
        if change is not None:
            effect = effect.mul_(change).sum(1, keepdim=True)
        absolute.append(cell_norms(effect, pair.grid.mb_size))
        if name == "gain":
            signed.append(_cell_means(effect, pair.grid.mb_size))
    importance = torch.cat(absolute).mean(0)
    if name == "gain":
        importance += SIGNED_WEIGHT * torch.cat(signed).mean(0).clamp(min=0)
    cells = importance.cpu().numpy()
    return cells * difference_map(pair) if name in ("product", "path") else cells, objective.detections


def _gradient(objective: Objective, hr: torch.Tensor, upsampled: torch.Tensor | None, point: float) -> torch.Tensor:
    """∂Acc/∂x [1, 3, H, W] at a point between `upsampled` (0) and `hr` (1); at 1, `upsampled` is not needed."""
    if upsampled is None or point == HR_POINT:
        return torch.autograd.grad(objective.value, hr)[0]
    between = upsampled.lerp(hr.detach(), point).requires_grad_()
    return torch.autograd.grad(objective.at(between).sum(), between)[0]
