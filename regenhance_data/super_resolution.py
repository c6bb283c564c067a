"""Super-resolution of a dataset: every origin image becomes a clear frame in sr_images/."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from regenhance_data.cli import InputError, progress
from regenhance_data.dataset import ORIGIN, Dataset, Frame
from regenhance_data.files import bounded_map, write_image
from regenhance_data.upscalers import Upscaler, load_upscaler, upscaler_record

SR = "sr_images"


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
