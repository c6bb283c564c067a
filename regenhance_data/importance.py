"""Importance of every frame of a dataset: from clear and blurred frames to importance/<clip>.npz."""

from pathlib import Path
from typing import Any

import numpy as np

from regenhance_data.cli import InputError, progress
from regenhance_data.dataset import ORIGIN, Dataset, Frame, blurred_frame, read_importance, write_importance
from regenhance_data.detectors import Detector, detector_record
from regenhance_data.files import bounded_map
from regenhance_data.formulas import FramePair, importance_map
from regenhance_data.grid import MacroblockGrid

CLEAR_FOLDERS = ("sr_images", "hr_images")


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
