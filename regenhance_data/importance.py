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
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.nn import functional

from regenhance_data.cli import InputError, progress
from regenhance_data.dataset import ORIGIN, Dataset, Frame, blurred_frame, read_importance, write_importance
from regenhance_data.detectors import Detector, detector_record
from regenhance_data.files import bounded_map
from regenhance_data.grid import MacroblockGrid

FORMULAS = ("product", "gradient", "first_order", "path")
CLEAR_FOLDERS = ("sr_images", "hr_images")
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


def clear_folder(dataset: Dataset, wanted: str | None = None) -> str:
    """The folder of clear frames: the wanted one, else hr_images where there is one, else sr_images."""
    if wanted not in CLEAR_FOLDERS:
        wanted = "hr_images" if (dataset.root / "hr_images").is_dir() else "sr_images"
    if not (dataset.root / wanted).is_dir():
        raise InputError(f"{dataset.root / wanted}: no such folder; make it with tools/super_resolve.py --data")
    return wanted


def recorded_clear(dataset: Dataset) -> str | None:
    """The folder that the importance files were made from, None where dataset.yaml does not say."""
    recorded = dataset.info.get("importance")
    return recorded.get("clear") if isinstance(recorded, dict) else None


def read_pair(dataset: Dataset, frame: Frame, clear: str) -> FramePair:
    """Both forms of a frame. InputError when the clear one is not exactly `scale` times the origin image."""
    origin, clear_image = dataset.read(ORIGIN, frame), dataset.read(clear, frame)
    height, width = origin.shape[:2]
    scale = dataset.scale
    if clear_image.shape[:2] != (height * scale, width * scale):
        raise InputError(
            f"{dataset.path(clear, frame)}: is {clear_image.shape[1]}x{clear_image.shape[0]}, expected "
            f"{width * scale}x{height * scale} ({scale} times the origin image's {width}x{height}); make it again"
        )
    grid = MacroblockGrid(height, width, dataset.mb_size).scaled(scale)
    return FramePair(origin, clear_image, blurred_frame(origin, scale), grid)


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
    _, scores, _, (kept,) = detector.kept(frames)
    if not len(kept):
        return None, 0
    (gradient,) = torch.autograd.grad(scores[0, kept].sum(), frames)
    if path is not None:
        blurred = detector.tensor(path.blurred[None])
        for share in PATH_POINTS[1:]:
            between = torch.lerp(blurred, clear.detach(), share).requires_grad_()
            gradient = gradient + torch.autograd.grad(detector.dense(between)[1][0, kept].sum(), between)[0]
        gradient = gradient / len(PATH_POINTS)
    clear.requires_grad_(False)
    return gradient, len(kept)


def importance_record(dataset: Dataset, clear: str, formula: str) -> dict[str, Any]:
    """What dataset.yaml says about how importance was made; where it changes, importance is made anew."""
    record = {"formula": formula, "clear": clear, "scale": dataset.scale, "mb_size": dataset.mb_size}
    return record | ({"upscaler": dataset.info.get("upscaler")} if clear == "sr_images" else {})


def make_importance(dataset: Dataset, detector: Detector, formula: str, clear: str) -> tuple[int, int]:
    """Write importance/<clip>.npz of every clip; return (frames, frames without any detection).

    A clip made before from the same frames with the same settings is kept; files made with others are removed first,
    so that an interrupted run never leaves a mixture. Memory is flat in the clip's length but for its importance.
    """
    records = {
        "detector": detector_record(detector.settings),
        "importance": importance_record(dataset, clear, formula),
    }
    if any(dataset.info.get(key) != record for key, record in records.items()):
        for clip in dataset.clips():
            dataset.importance_path(clip).unlink(missing_ok=True)
        dataset.save(**records)
    total = empty = 0
    for clip in dataset.clips():
        frames = dataset.frames(clip)
        path = dataset.importance_path(clip)
        if not _is_made(path, frames):
            write_importance(path, *_clip_importance(dataset, detector, formula, clear, frames))
        maps, _ = read_importance(path)
        total += len(maps)
        empty += int((maps.max(axis=(1, 2)) == 0).sum())
    return total, empty


def _is_made(path: Path, frames: list[Frame]) -> bool:
    return path.exists() and np.array_equal(read_importance(path)[1], [f.number for f in frames])


def _clip_importance(
    dataset: Dataset, detector: Detector, formula: str, clear: str, frames: list[Frame]
) -> tuple[np.ndarray, np.ndarray]:
    pairs = bounded_map(lambda frame: read_pair(dataset, frame, clear), frames)
    maps: list[np.ndarray] = []
    for frame, pair in zip(frames, progress(pairs, frames[0].clip or "importance", len(frames)), strict=True):
        maps.append(importance_map(detector, pair, formula)[0])
        if maps[-1].shape != maps[0].shape:
            raise InputError(f"{dataset.path(ORIGIN, frame)}: differs in size from the clip's first frame")
    return np.stack(maps), np.array([f.number for f in frames])
