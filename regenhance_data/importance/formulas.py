"""Importance: how much the detector's accuracy gains when a macroblock becomes clear.

With Acc, the accuracy of what is found on the clear frame (`Detector.accuracy`), change = clear − blurred, and mean_b
over the pixels that a macroblock really has, in pixel units of 0..255; |∂Acc/∂x| and |change| are L1 norms over the
channels c:

    product      mean_b |∂Acc/∂clear| · mean_b |change|                 RegenHance's form (NSDI '25)
    gradient     mean_b |∂Acc/∂clear|                                   what its published code computes
    first_order  mean_b |Σ_c ∂Acc/∂clear · change|
    path         mean_α mean_b |∂Acc/∂x| · mean_b |change|              at x = blurred + α · change
    gain         mean_α mean_b |e| + 5 · max(0, mean_α mean_b e)        with e = Σ_c ∂Acc/∂x · change

Along the way from blurred to clear (`path`, `gain`) the gradient also sees what lifts a score that is still low; Acc
stays that of the detections kept on the clear frame. `gain` adds what the macroblock brings in sum, as integrated
gradients have it (Sundararajan et al. 2017), to what it moves either way: the sum alone ranks well only the few
macroblocks where it is far above zero. Each point α costs a forward and a backward pass; where 1, the clear frame
itself, is not among the points, finding its detections costs a forward pass more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch.nn import functional

from regenhance_data.detectors.base import Detector, Objective
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid

CLEAR = 1.0  # the point that is the clear frame itself
# The points α of each formula; those of `path` and `gain` can be chosen.
POINTS: dict[str, tuple[float, ...]] = {
    "product": (CLEAR,),
    "gradient": (CLEAR,),
    "first_order": (CLEAR,),
    "path": (0.1, 0.5, 0.9),
    "gain": (0.33, CLEAR),
}
FORMULAS = tuple(POINTS)
ALONG_THE_WAY = ("path", "gain")
DEFAULT_FORMULA = "gain"
# How much more a macroblock counts for what it brings in sum than for what it moves either way: 5 did better than 2
# and 0, the sum alone far worse.
SUM_WEIGHT = 5


@dataclass(frozen=True)
class FramePair:
    """One frame: LR uint8 [H/scale, W/scale, 3], HR and upsampled uint8 [H, W, 3], all RGB, and its macroblocks
    on the pixels of the HR frame.
    """

    lr: np.ndarray
    hr: np.ndarray
    upsampled: np.ndarray
    grid: MacroblockGrid


def formula_spec(name: str, points: Sequence[float] | None = None) -> str:
    """A formula as one string: its name, and the points where they are not its own (path:0.1,0.5).

    InputError for points outside [0, 1], points given twice, and points of a formula that has a fixed one.
    """
    if points is None or tuple(points) == POINTS[name]:
        return name
    if name not in ALONG_THE_WAY:
        raise InputError(f"--points: {name} takes its gradient at the clear frame; give --formula path or gain")
    if not points or not all(0 <= point <= 1 for point in points) or len(set(points)) < len(points):
        raise InputError(f"--points {' '.join(map(str, points))}: expected distinct numbers from 0 to 1")
    return f"{name}:{','.join(f'{point:g}' for point in points)}"


def parsed(spec: str) -> tuple[str, tuple[float, ...]]:
    """The name and the points of a formula given as one string. InputError when there is no such formula."""
    name, colon, listed = spec.partition(":")
    if name not in POINTS:
        raise InputError(f"formula {spec}: there are {', '.join(FORMULAS)}; path:0.1,0.5 also says at which points")
    if not colon:
        return name, POINTS[name]
    try:
        points = tuple(float(point) for point in listed.split(","))
    except ValueError:
        raise InputError(f"formula {spec}: expected numbers from 0 to 1 between commas, as in path:0.1,0.5") from None
    formula_spec(name, points)
    return name, points


def cell_norms(pictures: torch.Tensor, mb_size: int) -> torch.Tensor:
    """The L1 norm over channels, averaged over the pixels each macroblock has: [N, C, H, W] → [N, rows, cols]."""
    return _cell_means(pictures.abs(), mb_size)


def _cell_means(pictures: torch.Tensor, mb_size: int) -> torch.Tensor:
    """The sum over channels, averaged in the same way."""
    return functional.avg_pool2d(pictures, mb_size, ceil_mode=True, count_include_pad=False).sum(1)


def difference_map(pair: FramePair) -> np.ndarray:
    """mean_b |clear − blurred|: float32 [rows, cols]."""
    difference = torch.from_numpy(cv2.absdiff(pair.hr, pair.upsampled)).permute(2, 0, 1).float()
    return cell_norms(difference[None], pair.grid.mb_size)[0].numpy()


def importance_map(detector: Detector, pair: FramePair, formula: str = DEFAULT_FORMULA) -> tuple[np.ndarray, int]:
    """(importance float32 [rows, cols], how many detections the clear frame has). Without detections it is zero.

    formula: one of FORMULAS, or one with other points, as `formula_spec` writes it.
    """
    name, points = parsed(formula)
    clear = detector.tensor(pair.hr[None])
    with torch.set_grad_enabled(CLEAR in points):
        objective = detector.accuracy(clear.requires_grad_(CLEAR in points))
    if not objective.detections:
        return np.zeros(pair.grid.shape, np.float32), 0
    by_effect = name in ("first_order", "gain")
    blurred = detector.tensor(pair.upsampled[None]) if by_effect or points != (CLEAR,) else None
    change = clear.detach() - blurred if by_effect and blurred is not None else None
    moved, brought = [], []
    for point in sorted(points, reverse=True):  # the clear frame's first: it lets go of that graph's memory
        effect = _gradient(objective, clear, blurred, point)
        if change is not None:
            effect = effect.mul_(change).sum(1, keepdim=True)
        moved.append(cell_norms(effect, pair.grid.mb_size))
        if name == "gain":
            brought.append(_cell_means(effect, pair.grid.mb_size))
    importance = torch.cat(moved).mean(0)
    if name == "gain":
        importance += SUM_WEIGHT * torch.cat(brought).mean(0).clamp(min=0)
    cells = importance.cpu().numpy()
    return cells * difference_map(pair) if name in ("product", "path") else cells, objective.detections


def _gradient(objective: Objective, clear: torch.Tensor, blurred: torch.Tensor | None, point: float) -> torch.Tensor:
    """∂Acc/∂x [1, 3, H, W] at a point of the way from `blurred` (0) to `clear` (1), where it is not needed."""
    if blurred is None or point == CLEAR:
        return torch.autograd.grad(objective.value, clear)[0]
    between = blurred.lerp(clear.detach(), point).requires_grad_()
    return torch.autograd.grad(objective.at(between).sum(), between)[0]
