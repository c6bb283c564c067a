"""Upscalers: what turns origin images into the clear frames of a dataset without high-resolution originals."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from regenhance_data.cli import InputError, progress
from regenhance_data.dataset import ORIGIN, Dataset, Frame
from regenhance_data.files import bounded_map, sha256, write_image

EXISTING = "builtin, bicubic"
BUILTIN_SCALE = 3  # what the builtin network was made for
SR = "sr_images"

Upscaler = Callable[[np.ndarray], np.ndarray]  # uint8 [N, H, W, 3] RGB → uint8 [N, H·scale, W·scale, 3]


def load_upscaler(spec: str, scale: int) -> Upscaler:
    """The upscaler of a spec ('builtin' or 'bicubic'). InputError for others, or a scale that it cannot do."""
    if not 2 <= scale <= 8:
        raise InputError(f"--scale {scale}: expected a whole number from 2 to 8")
    if spec == "bicubic":
        return lambda frames: np.stack([_bicubic(frame, scale) for frame in frames])
    if spec != "builtin":
        raise InputError(f"--model {spec}: no such upscaler; there are: {EXISTING}")
    if scale != BUILTIN_SCALE:
        raise InputError(f"--scale {scale}: the builtin upscaler does x{BUILTIN_SCALE} only; use --model bicubic")
    return _builtin()


def _bicubic(frame: np.ndarray, scale: int) -> np.ndarray:
    height, width = frame.shape[:2]
    return cv2.resize(frame, (width * scale, height * scale), interpolation=cv2.INTER_CUBIC)


def _builtin() -> Upscaler:
    import torch

    from regenhance_data.builtin_upscaler import load_street_upscaler, upscale

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return partial(upscale, load_street_upscaler().to(device).to(memory_format=torch.channels_last))


def upscaler_record(spec: str) -> dict[str, Any]:
    """What dataset.yaml says about the upscaler: its spec and the sha256 of its weights, None where it has none."""
    if spec != "builtin":
        return {"spec": spec, "sha256": None}
    from regenhance_data.builtin_upscaler import WEIGHTS

    return {"spec": spec, "sha256": sha256(WEIGHTS)}


def super_resolve(dataset: Dataset, spec: str, scale: int, batch_size: int = 1, overwrite: bool = False) -> int:
    """Write sr_images/ for every clip; return how many frames there are. Memory is flat in the clips' length.

    Frames of an earlier run of the same upscaler are kept. Those of another are removed first, so that an interrupted
    run never leaves a mixture; those that dataset.yaml does not know are refused unless `overwrite`.
    """
    if batch_size < 1:
        raise InputError(f"--batch_size {batch_size}: expected at least 1")
    if (dataset.root / "hr_images").is_dir() and scale != dataset.scale:
        raise InputError(f"--scale {scale}: hr_images/ are at {dataset.scale} times the origin's size; use that")
    upscale = load_upscaler(spec, scale)
    records = {"upscaler": upscaler_record(spec), "scale": scale}
    recorded = {key: dataset.info.get(key) for key in records}
    if recorded != records:
        if (dataset.root / SR).exists() and recorded["upscaler"] is None and not overwrite:
            raise InputError(f"{dataset.root / SR}: was not made by this tool; move it away or give --overwrite")
        shutil.rmtree(dataset.root / SR, ignore_errors=True)
        dataset.save(**records)
    total = 0
    for clip in dataset.clips():
        frames = dataset.frames(clip)
        missing = [f for f in frames if not dataset.path(SR, f).exists()]
        made = _upscaled(dataset, missing, upscale, batch_size)
        for _ in progress(bounded_map(lambda job: write_image(*job), made), clip or SR, len(missing)):
            pass
        total += len(frames)
    return total


def _upscaled(
    dataset: Dataset, frames: list[Frame], upscale: Upscaler, batch_size: int
) -> Iterator[tuple[Path, np.ndarray]]:
    """Where each clear frame belongs, and the frame."""
    origins = bounded_map(lambda frame: dataset.read(ORIGIN, frame), frames)
    for start in range(0, len(frames), batch_size):
        batch = frames[start : start + batch_size]
        images = [next(origins) for _ in batch]
        if len({image.shape for image in images}) > 1:
            raise InputError(f"{dataset.path(ORIGIN, batch[0])}: the frames after it differ in size; extract again")
        for frame, clear in zip(batch, upscale(np.stack(images)), strict=True):
            yield dataset.path(SR, frame), clear
