"""True boxes from a JSON file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from regenhance_data.detections import Detections
from regenhance_data.detectors.class_names import class_number
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.io.files import read_json

MOST_BYTES = 256 << 20  # boxes of hours


def read_truth(path: Path, settings: DetectorSettings, task: str, class_names: Sequence[str]) -> dict[int, Detections]:
    """True boxes by frame number, from {"classes": [...], "frames": {"0": [[x1, y1, x2, y2, label], ...]}}.

    Boxes are in pixels of the HR frame; labels are indices into "classes", which the detector, of these settings, task
    and class names, must know by name. Boxes of classes outside its settings are left out. InputError where the file is
    anything else, and for a detector that finds no boxes.
    """
    if task != "detection":
        raise InputError(f"{path}: true boxes are for detection, --detector {settings.spec} is for {task}")
    content = read_json(path, MOST_BYTES)
    try:
        names = [str(name) for name in content["classes"]]
        numbers = np.array([class_number(name, class_names) for name in names], np.int64)
        counted = [class_number(name, class_names) for name in settings.classes or names]
        truth = {int(n): _true_boxes(np.array(rows, np.float64), numbers) for n, rows in content["frames"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise InputError(
            f"{path}: is not a valid file of true boxes ({type(error).__name__}: {error}); see --help"
        ) from None
    return {number: _of_classes(boxes, counted) for number, boxes in truth.items()}


def true_boxes(truth: Mapping[int, Detections], number: int) -> Detections:
    """Those of a frame. InputError where the file has no entry for it."""
    if number not in truth:
        raise InputError(f"--truth: has no entry for frame {number}; add it, [] for a frame without boxes")
    return truth[number]


def _true_boxes(rows: np.ndarray, numbers: np.ndarray) -> Detections:
    """Rows (x1, y1, x2, y2, label), their labels replaced by the detector's class numbers: `numbers` of each label."""
    rows = rows.reshape(-1, 5)
    if not np.isfinite(rows).all() or not np.isin(rows[:, 4], np.arange(len(numbers))).all():
        raise ValueError("a box is five finite numbers, the last an index into 'classes'")
    return Detections(rows[:, :4].astype(np.float32), np.ones(len(rows), np.float32), numbers[rows[:, 4].astype(int)])


def _of_classes(found: Detections, classes: Sequence[int]) -> Detections:
    kept = np.isin(found.labels, classes)
    return Detections(found.boxes[kept], found.scores[kept], found.labels[kept])
