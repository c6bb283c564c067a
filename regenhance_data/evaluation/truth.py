"""True boxes from a JSON file."""

import math
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from regenhance_data.console import tell, warn
from regenhance_data.dataset.folder import LR_FRAMES, Dataset
from regenhance_data.detections import Detections
from regenhance_data.detectors.class_names import class_number, name_of
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import read_json

if TYPE_CHECKING:
    from regenhance_data.evaluation.record import EvaluationResult

MOST_BYTES = 256 << 20  # boxes of hours
MOST_DIGITS = 9  # of a frame's number
FAR_BEYOND_PX = 1  # a box that reaches farther beyond the frame is not rounded, but wrong or badly clipped
FORMAT = '{"classes": ["car"], "frames": {"0": [[x1, y1, x2, y2, label]]}}'


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
    settings leave out detections: those of other classes, and those that are too large, whose number is printed.
    Warnings name counted classes that the file does not list, and count boxes that reach beyond the frame. InputError
    where the file is anything else, is of other frames or lacks one of `numbers`, and for a detector that finds no
    boxes.
    """
    settings, names_known = detector.settings, detector.class_names
    if detector.task != "detection":
        raise InputError(f"{path}: true boxes are for detection, --detector {settings.spec} is for {detector.task}")
    grid = dataset.grid(clip)
    hr_hw = grid.height * dataset.scale, grid.width * dataset.scale
    content = _read_content(path, hr_hw)
    names = [str(name) for name in content["classes"]]
    labels = np.array([_class_number(path, name, names_known) for name in names], np.int64)
    doubled = next((name for index, name in enumerate(names) if labels[index] in labels[:index]), None)
    if doubled is not None:
        raise InputError(f"{path}: 'classes' has '{doubled}' twice; list each class once")
    counted = [class_number(name, names_known) for name in settings.classes or names]
    truth = {
        _frame_number(path, key): _true_boxes(f"{path}: frame {key}", rows, labels)
        for key, rows in content["frames"].items()
    }
    _warn_of_boxes_beyond(path, truth, hr_hw)
    dataset.refuse_numbers_of_video(path, clip, truth)
    _refuse_missing_frames(path, truth, dataset, clip, numbers)
    _warn_of_missing_classes(path, detector, labels)
    of_classes = {number: _chosen(boxes, np.isin(boxes.labels, counted)) for number, boxes in truth.items()}
    return _without_large(path, of_classes, hr_hw, settings.max_box_area)


def refuse_truth_of_several(clips: Collection[str]) -> None:
    """InputError where --truth, which is of one clip, is given for frames of several."""
    if len(clips) > 1:
        raise InputError("--truth: is of one clip, these frames are of several; give --clips one")


def warn_of_no_score(result: "EvaluationResult", grid: MacroblockGrid) -> None:
    """Warn where there is no score against true boxes, or where nothing matches one. grid: of the HR frames."""
    if result.truth is None:
        return
    if not result.truth.all.is_known:
        warn("--truth: no true box counts on these frames, so there is no score against the truth")
    elif result.truth.all.value == 0 and result.objects:
        warn(
            "--truth: no detection on the HR frames overlaps a true box of its class by half: are boxes in pixels of "
            f"the HR frames ({grid.width}x{grid.height}), and of the right frames?"
        )


def _read_content(path: Path, hr_hw: tuple[int, int]) -> dict[str, Any]:
    """What the file says, with a list of 'classes' and a mapping of 'frames'. InputError for anything else, and where
    its boxes are on frames of another size than `hr_hw`.
    """
    content = read_json(path, MOST_BYTES)
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no mapping; expected {FORMAT}")
    for key, kind, what in (("classes", list, "list of names"), ("frames", dict, "mapping of numbers to lists")):
        if not isinstance(content.get(key), kind):
            problem = f"'{key}' is no {what}" if key in content else f"there is no '{key}'"
            raise InputError(f"{path}: {problem}; expected {FORMAT}")
    size = content.get("frame_hw", list(hr_hw))
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(side, int | float) for side in size):
        raise InputError(f"{path}: 'frame_hw' is no [height, width]; give the size of the HR frames, {list(hr_hw)}")
    if size != list(hr_hw):
        raise InputError(
            f"{path}: has boxes on frames of {size[1]}x{size[0]}, the HR frames have {hr_hw[1]}x{hr_hw[0]}; scale them"
        )
    return content


def _frame_number(path: Path, key: str) -> int:
    if not (key.isdecimal() and len(key) <= MOST_DIGITS):
        raise InputError(f"{path}: frame '{key}' is no number; number frames as the files in {LR_FRAMES}/, as 139")
    return int(key)


def _warn_of_boxes_beyond(path: Path, truth: Mapping[int, Detections], hw: tuple[int, int]) -> None:
    """Warn of boxes that reach beyond the frame of size `hw`, and say how many are wholly outside."""
    edges = np.array(hw[::-1], np.float32)
    beyond, outside = {}, 0
    for number, found in truth.items():
        start, end = found.boxes[:, :2], found.boxes[:, 2:]
        is_beyond = ((start < -FAR_BEYOND_PX) | (end > edges + FAR_BEYOND_PX)).any(1)
        beyond[number] = int(is_beyond.sum())
        outside += int((is_beyond & ((end <= 0) | (start >= edges)).any(1)).sum())
    if count := sum(beyond.values()):
        first = next(number for number, some in beyond.items() if some)
        never = f"; {outside} lie wholly outside and can never match" if outside else ""
        warn(
            f"{path}: {count} of {sum(len(found.labels) for found in truth.values())} true boxes reach more than "
            f"{FAR_BEYOND_PX} px beyond the HR frame of {hw[1]}x{hw[0]}, as in frame {first}{never}; clip them, or "
            "scale all boxes where they are of frames of another size"
        )


def _refuse_missing_frames(
    path: Path, truth: Collection[int], dataset: Dataset, clip: str, numbers: Iterable[int]
) -> None:
    """InputError where one of `numbers` has no entry. Entries of frames that the clip does not have are told."""
    known = [frame.number for frame in dataset.frames(clip)]
    unknown = sorted(set(truth).difference(known))
    if missing := [number for number in numbers if number not in truth]:
        has = f"has {_which(unknown)}, not in the clip, which ends with {known[-1]}, and " if unknown else "has "
        mend = f"number them as the files in {dataset.root / LR_FRAMES / clip}" if unknown else "add them"
        raise InputError(f"{path}: {has}no entry for {_which(missing)}; {mend}, [] for a frame without boxes")
    if unknown:
        tell(f"{path}: has {_which(unknown)}, not in the clip, which ends with {known[-1]}: such boxes do not count")


def _which(numbers: Sequence[int]) -> str:
    return f"frame {numbers[0]}" + (f" and {len(numbers) - 1} more" if numbers[1:] else "")


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


def _true_boxes(frame: str, rows: Any, numbers: np.ndarray) -> Detections:
    """Rows (x1, y1, x2, y2, label), their labels replaced by the detector's class numbers: `numbers` of each label.
    InputError, which names `frame`, for anything else.
    """
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 5 for row in rows):
        raise InputError(f"{frame}: expected a list of boxes [x1, y1, x2, y2, label], [] for a frame without boxes")
    if names := [row[4] for row in rows if isinstance(row[4], str)]:
        raise InputError(f"{frame}: label '{names[0]}' is no number; a label is an index into 'classes', from 0")
    if not all(isinstance(value, int | float) and math.isfinite(value) for row in rows for value in row):
        raise InputError(f"{frame}: a box is five finite numbers, [x1, y1, x2, y2, label]")
    table = np.array(rows, np.float64).reshape(-1, 5)
    if (wrong := ~np.isin(table[:, 4], np.arange(len(numbers)))).any():
        raise InputError(
            f"{frame}: label {table[wrong][0, 4]:g} is no index into 'classes', which has {len(numbers)}; labels count "
            "from 0"
        )
    if (empty := (table[:, 2:4] <= table[:, :2]).any(1)).any():
        box = ", ".join(f"{side:g}" for side in table[empty][0, :4])
        raise InputError(f"{frame}: box [{box}] has x2 <= x1 or y2 <= y1; give corners, not width and height")
    return Detections(table[:, :4].astype(np.float32), np.ones(len(rows), np.float32), numbers[table[:, 4].astype(int)])


def _chosen(found: Detections, kept: np.ndarray) -> Detections:
    """The boxes where `kept`, bool [n], is true."""
    return Detections(found.boxes[kept], found.scores[kept], found.labels[kept])
