"""Why a detector finds nothing, or little: what was dropped on the way, and what another pixel format would find."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from regenhance_data.console import warn
from regenhance_data.detectors.base import BATCH, BoxDetector
from regenhance_data.detectors.class_names import name_of
from regenhance_data.detectors.kinds import KINDS
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.kinds import kind_of

_MOST_EMPTY = 0.5  # of the frames; where more have no detection, the likely cause is printed
_FEW = 3  # a setting is a likely cause where without it there are so many times as many detections
_FORMATS = ((255, None), (1, None), (255, "RGB"), (255, "BGR"), (1, "RGB"), (1, "BGR"))  # None: the order as it is


def warn_of_empty_frames(empty: int, total: int, why: Callable[[], str]) -> None:
    """Warn where most of `total` frames are `empty`, which is without a detection, with the likely cause."""
    if empty > _MOST_EMPTY * total:
        few = "no frame has a detection" if empty == total else f"{empty} of {total} frames have no detection"
        warn(f"{few}: {why()}")


def why_nothing(settings: DetectorSettings, frames: np.ndarray) -> str:
    """The likely cause, and the flag that mends it, for HR frames uint8 [N, H, W, 3] RGB without detections, or with
    few.
    """
    detector = load_detector(settings)
    if not isinstance(detector, BoxDetector):
        return "check --classes and the HR frames"
    count = len(frames)
    found = sum(len(one.labels) for one in detector.detect(frames))
    many = max(_FEW * found, 1)
    of_any_size = _found(replace(settings, max_box_area=1.0), frames)
    if of_any_size >= many:
        return (
            f"{of_any_size - found} detections in {count} frames are larger than --max_box_area "
            f"{settings.max_box_area:g} of the frame; --max_box_area 1 keeps them"
        )
    others = replace(settings, classes=(), max_box_area=1.0)
    if settings.classes and (of_all := _found(others, frames)) >= many:
        names = ", ".join(_classes_found(others, frames))
        left_out = f"{of_all - found} of" if found else "all"
        return f"--classes leaves out {left_out} {of_all} detections in {count} frames: {names}"
    if found:
        return _why_few(others, frames, found)
    best = _best_score(detector, frames)
    said = f"the best score in {count} frames is {best:.2g}, --score_threshold is {settings.score_threshold:g}"
    for flags, found in _with_other_pixels(others, frames):
        return f"{said}; with {flags} it finds {found} detections"
    if best >= settings.score_threshold / 3:
        return f"{said}; lower it"
    layout = ", --detector_layout" if settings.read_as else ""
    return f"{said}; check --pixel_range, --channel_order{layout} and the HR frames"


def _why_few(settings: DetectorSettings, frames: np.ndarray, found: int) -> str:
    said = f"in {len(frames)} frames spread over the dataset it finds {found}"
    lower = settings.score_threshold / 2
    ways = [(f"--score_threshold {lower:g}", _found(replace(settings, score_threshold=lower), frames))]
    for flags, of_other in (*_with_other_pixels(settings, frames), *ways):
        if of_other >= _FEW * found:
            return f"{said}, with {flags} {of_other}"
    return f"{said}, so most frames have nothing to find, or HR and upsampled frames are the same"


def _found(settings: DetectorSettings, frames: np.ndarray) -> int:
    return sum(len(one.labels) for one in load_detector(settings).detect(frames))


def _classes_found(settings: DetectorSettings, frames: np.ndarray) -> list[str]:
    detector = load_detector(settings)
    labels = {int(label) for one in detector.detect(frames) for label in one.labels}
    return [name_of(label, detector.class_names) for label in sorted(labels)[:5]]


@torch.no_grad()
def _best_score(detector: BoxDetector, frames: np.ndarray) -> float:
    best = 0.0
    for start in range(0, len(frames), BATCH):
        for scores in detector.dense(detector.tensor(frames[start : start + BATCH])).scores:
            best = max(best, float(scores.max()) if scores.numel() else 0.0)
    return best


def _with_other_pixels(settings: DetectorSettings, frames: np.ndarray) -> Iterator[tuple[str, int]]:
    """(flags, detections) of the pixel format that finds most, if any finds something; a detector from a file has one
    to choose.
    """
    kind = kind_of(settings.spec, KINDS)
    if kind is None or kind.argument != "PATH":
        return
    found = {}
    for white, order in _FORMATS:
        order = order or settings.channel_order
        try:
            found[white, order] = _found(replace(settings, pixel_range=white, channel_order=order), frames)
        except InputError:
            continue
    most = max(found.values(), default=0)
    if most:
        white, order = next(key for key, value in found.items() if value == most)
        yield f"--pixel_range {white}" + (f" --channel_order {order}" if order else ""), most
