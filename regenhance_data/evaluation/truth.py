"""True boxes from a JSON file."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from regenhance_data.dataset.folder import LR_FRAMES, Dataset
from regenhance_data.dataset.records import ClipRecord
from regenhance_data.detections import Detections
from regenhance_data.detectors.class_names import class_number
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.io.files import read_json

MOST_BYTES = 256 << 20  # boxes of hours


class FoundBy(Protocol):
    """The detector whose results are compared with true boxes."""

    settings: DetectorSettings
    task: str
    class_names: tuple[str, ...]


def read_truth(path: Path, detector: FoundBy, dataset: Dataset, clip: str) -> dict[int, Detections]:
    """True boxes of a clip by frame number, from {"classes": [...], "frames": {"0": [[x1, y1, x2, y2, label], ...]}}.

    Boxes are in pixels of the HR frame, whose (height, width) may stand in "frame_hw"; frames are numbered as in the
    dataset; labels are indices into "classes", which the detector must know by name. Boxes of classes outside its
    settings are left out. InputError where the file is anything else, is of other frames, and for a detector that finds
    no boxes.
    """
    settings, names_known = detector.settings, detector.class_names
    if detector.task != "detection":
        raise InputError(f"{path}: true boxes are for detection, --detector {settings.spec} is for {detector.task}")
    content, grid = read_json(path, MOST_BYTES), dataset.grid(clip)
    hr_hw = grid.height * dataset.scale, grid.width * dataset.scale
    try:
        names = [str(name) for name in content["classes"]]
        numbers = np.array([class_number(name, names_known) for name in names], np.int64)
        counted = [class_number(name, names_known) for name in settings.classes or names]
        truth = {int(n): _true_boxes(np.array(rows, np.float64), numbers) for n, rows in content["frames"].items()}
        height, width = map(int, content.get("frame_hw", hr_hw))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise InputError(
            f"{path}: is not a valid file of true boxes ({type(error).__name__}: {error}); see --help"
        ) from None
    if (height, width) != hr_hw:
        raise InputError(
            f"{path}: has boxes on frames of {width}x{height}, the HR frames have {hr_hw[1]}x{hr_hw[0]}; scale them"
        )
    _refuse_other_numbers(path, truth, dataset, clip)
    return {number: _of_classes(boxes, counted) for number, boxes in truth.items()}


def _refuse_other_numbers(path: Path, truth: Collection[int], dataset: Dataset, clip: str) -> None:
    """InputError where frames of a sampled clip are numbered as in its video."""
    record, last = dataset.record.clips.get(clip, ClipRecord()), dataset.frames(clip)[-1].number
    is_sampled = (record.every or 1) > 1 or record.fps is not None
    if is_sampled and record.max_frames is None and max(truth, default=0) > last:
        raise InputError(
            f"{path}: has frame {max(truth)}, the clip ends with {last}: only some frames of its video were extracted; "
            f"number them as the files in {dataset.root / LR_FRAMES / clip}"
        )


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
