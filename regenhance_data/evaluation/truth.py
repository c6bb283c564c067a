"""True boxes from a JSON file."""

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from regenhance_data.console import tell, warn
from regenhance_data.dataset.folder import Dataset
from regenhance_data.detections import Detections
from regenhance_data.detectors.class_names import class_number, name_of
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.io.files import read_json

MOST_BYTES = 256 << 20  # boxes of hours


class FoundBy(Protocol):
    """The detector whose results are compared with true boxes."""

    settings: DetectorSettings
    task: str
    class_names: tuple[str, ...]


def read_truth(
    path: Path, detector: FoundBy, dataset: Dataset, clip: str, numbers: Iterable[int]
) -> dict[int, Detections]:
    """True boxes of a clip by frame number, from {"classes": [...], "frames": {"0": [[x1, y1, x2, y2, label], ...]}}.

    Boxes are in pixels of the HR frame, whose (height, width) may stand in "frame_hw"; frames are numbered as in the
    dataset; labels are indices into "classes", which the detector must know by name. Boxes are left out as its
    settings leave out detections: those of other classes, and those that are too large, whose number is printed. A
    warning names counted classes that the file does not list. InputError where the file is anything else, is of other
    frames or lacks one of `numbers`, and for a detector that finds no boxes.
    """
    settings, names_known = detector.settings, detector.class_names
    if detector.task != "detection":
        raise InputError(f"{path}: true boxes are for detection, --detector {settings.spec} is for {detector.task}")
    content, grid = read_json(path, MOST_BYTES), dataset.grid(clip)
    hr_hw = grid.height * dataset.scale, grid.width * dataset.scale
    try:
        names = [str(name) for name in content["classes"]]
        labels = np.array([_class_number(path, name, names_known) for name in names], np.int64)
        counted = [class_number(name, names_known) for name in settings.classes or names]
        truth = {int(n): _true_boxes(n, np.array(rows, np.float64), labels) for n, rows in content["frames"].items()}
        height, width = map(int, content.get("frame_hw", hr_hw))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise InputError(
            f"{path}: is not a valid file of true boxes ({type(error).__name__}: {error}); see --help"
        ) from None
    if (height, width) != hr_hw:
        raise InputError(
            f"{path}: has boxes on frames of {width}x{height}, the HR frames have {hr_hw[1]}x{hr_hw[0]}; scale them"
        )
    dataset.refuse_numbers_of_video(path, clip, truth)
    if missing := [number for number in numbers if number not in truth]:
        which = f"frame {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
        raise InputError(f"{path}: has no entry for {which}; add them, [] for a frame without boxes")
    _warn_of_missing_classes(path, detector, labels)
    of_classes = {number: _chosen(boxes, np.isin(boxes.labels, counted)) for number, boxes in truth.items()}
    return _without_large(path, of_classes, hr_hw, settings.max_box_area)


def refuse_truth_of_several(clips: Collection[str]) -> None:
    """InputError where --truth, which is of one clip, is given for frames of several."""
    if len(clips) > 1:
        raise InputError("--truth: is of one clip, these frames are of several; give --clips one")


def _class_number(path: Path, name: str, class_names: Sequence[str]) -> int:
    try:
        return class_number(name, class_names)
    except InputError as error:
        raise InputError(f"{path}: 'classes' has {str(error).removeprefix('--classes ')}") from None


def _warn_of_missing_classes(path: Path, detector: FoundBy, listed: np.ndarray) -> None:
    """Warn of classes that the detector counts and the file does not list: all it finds of them is false.

    listed: numbers of the file's classes, int64 [n].
    """
    names, given = detector.class_names, detector.settings.classes
    counted = {class_number(name, names) for name in given} if given else set(range(len(names)))
    missing = sorted(counted.difference(listed.tolist()))
    common = [name_of(number, names) for number in sorted(counted.intersection(listed.tolist()))]
    if not missing:
        return
    of_all = f"{len(missing)} of the detector's {len(names)} classes"
    what = f"{', '.join(name_of(number, names) for number in missing)}, which the detector counts" if given else of_all
    only = f"; --classes {shlex.join(common)} leaves them out" if common else ""
    warn(f"{path}: 'classes' lacks {what}: all detections of them count as false{only}")


def _without_large(
    path: Path, truth: Mapping[int, Detections], hw: tuple[int, int], most: float
) -> dict[int, Detections]:
    """Without boxes whose part in the frame of size `hw` is above the share `most` of it: no detection is so large."""
    limit, kept = np.float32(most * hw[0] * hw[1]), {}
    for number, boxes in truth.items():
        sides = np.diff(boxes.boxes.reshape(-1, 2, 2).clip(0, np.array(hw[::-1], np.float32)), axis=1)
        kept[number] = _chosen(boxes, sides.prod((1, 2)) <= limit)
    count = sum(len(boxes.labels) for boxes in truth.values())
    if large := count - sum(len(boxes.labels) for boxes in kept.values()):
        tell(
            f"{path}: {large} of {count} true boxes are larger than --max_box_area {most:g} of the frame and do not "
            "count, as such detections do not; --max_box_area 1 keeps them"
        )
    return kept


def _true_boxes(frame: str, rows: np.ndarray, numbers: np.ndarray) -> Detections:
    """Rows (x1, y1, x2, y2, label), their labels replaced by the detector's class numbers: `numbers` of each label."""
    rows = rows if rows.size else np.zeros((0, 5))
    if rows.ndim != 2 or rows.shape[1] != 5:
        raise ValueError(f"frame {frame}: a box is [x1, y1, x2, y2, label]")
    if not np.isfinite(rows).all() or not np.isin(rows[:, 4], np.arange(len(numbers))).all():
        raise ValueError(f"frame {frame}: a box is five finite numbers, the last an index into 'classes'")
    if (empty := (rows[:, 2:4] <= rows[:, :2]).any(1)).any():
        box = ", ".join(f"{side:g}" for side in rows[empty][0, :4])
        raise ValueError(f"frame {frame}: box [{box}] has x2 <= x1 or y2 <= y1; give corners, not width and height")
    return Detections(rows[:, :4].astype(np.float32), np.ones(len(rows), np.float32), numbers[rows[:, 4].astype(int)])


def _chosen(found: Detections, kept: np.ndarray) -> Detections:
    """The boxes where `kept`, bool [n], is true."""
    return Detections(found.boxes[kept], found.scores[kept], found.labels[kept])
