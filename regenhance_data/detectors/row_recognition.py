"""Recognisers of layouts whose output is one tensor of rank 3."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from regenhance_data.detectors.candidates import (
    NO_SIGMOID,
    SLACK,
    Candidate,
    Probe,
    are_corners,
    are_corners_of_cells,
    are_labels,
    are_pixels,
    is_decoded,
    score_problem,
    unit_values,
)
from regenhance_data.detectors.class_names import COCO_NAMES
from regenhance_data.detectors.decoding import Hw, Reading
from regenhance_data.detectors.grids import strides_of
from regenhance_data.detectors.layouts import LAYOUTS

MASKS = 32  # the coefficients of a mask, where the masks themselves are not among the outputs
LEAST_ANGLE = 0.25  # the median of a last value that is no score: of noise, most scores are near 0
SHARED_CORNERS = "its boxes are corners as shares of the input; export it with corners in pixels"
_NOT_CORNERS = "its boxes are not two corners each; give --detector_layout end_to_end if they are none the less"
_SAYS_DETECT = "its metadata says that its task is detect; give --detector_layout {} if it is none the less"


def dense_rows(probe: Probe) -> Iterator[Candidate]:
    """A tensor of rank 3 with a row for each cell or anchor of the grids; masks may follow."""
    tensors = probe.outputs.tensors
    ranked = [(place, tensor) for place, (_, tensor) in enumerate(tensors) if tensor.ndim == 3]
    if len(ranked) != 1 or not ranked[0][1].is_floating_point():
        return
    place, tensor = ranked[0]
    masks = next((other.shape[1] for other in probe.outputs.of_rank(4)), None)
    for rows_first in (True, False):
        rows = tensor if rows_first else tensor.transpose(1, 2)
        for anchors in (1, 3):
            strides = strides_of(rows.shape[1] // anchors, probe.hw) if rows.shape[1] % anchors == 0 else None
            if strides is not None and rows.shape[2] > 4:
                reading = Reading(LAYOUTS["yolov8"], places=(place,), rows_first=rows_first, strides=strides)
                make = _one_box_a_cell if anchors == 1 else _three_boxes_a_cell
                yield from make(probe, reading, rows, masks)


def _three_boxes_a_cell(probe: Probe, reading: Reading, rows: torch.Tensor, masks: int | None) -> Iterator[Candidate]:
    unit, values = unit_values(rows), rows.shape[2]
    for name, classes in (("yolov5_seg", values - 5 - (masks or MASKS)), ("yolov5", values - 5)):
        if classes > 0 and not (name == "yolov5" and masks is not None and classes > masks):
            problem = score_problem(unit[4 : 5 + classes])
            are_masks = masks is not None or not unit[5 + classes :].all()
            named = masks is not None or (probe.metadata.count == classes and are_masks) or probe.layout == name
            if name == "yolov5" or named:
                by_task = _by_task(probe, name) if name == "yolov5_seg" and masks is None else ""
                read = replace(reading, layout=LAYOUTS[name], classes=classes)
                yield Candidate(read, problem or by_task, is_hint=not problem and bool(by_task))


def _one_box_a_cell(probe: Probe, reading: Reading, rows: torch.Tensor, masks: int | None) -> Iterator[Candidate]:
    unit, values = unit_values(rows), rows.shape[2]
    decoded = is_decoded(rows, probe.hw, reading.strides)
    always = bool(((rows[..., 4] - 1).abs() < SLACK).all())  # an object score that says nothing
    if not reading.rows_first and bool(unit[:4].all()):
        reading = replace(reading, is_share=True)

    def made(name: str, classes: int, problem: str = "", angle: int | None = None) -> Iterator[Candidate]:
        if classes > 0:
            read = replace(reading, layout=LAYOUTS[name], classes=classes, angle=angle)
            yield Candidate(read, problem, is_hint=problem != NO_SIGMOID)

    if values > 32 and reading.rows_first and bool(unit[:-32].all()) and not unit[-32:].all() and not decoded:
        yield from made("nanodet", values - 32, score_problem(unit[:-32]))
        return
    if values == 6 and reading.rows_first and (probe.layout == "corners" or _are_listed_corners(rows, probe)):
        yield Candidate(replace(reading, layout=LAYOUTS["corners"]))
        return
    if values == 6 and reading.rows_first and _is_labelled_share(rows, probe):
        return  # queries in any order, as many as there are cells
    are_scored = decoded and not always and are_corners_of_cells(rows[..., :4], probe.hw, reading.strides)
    if probe.layout == "corners_scores" or (probe.layout is None and are_scored):
        yield from made("corners_scores", values - 4, score_problem(unit[4:]))
        return
    for name, classes, problem, angle in () if always else _with_more(probe, rows, masks, reading.rows_first):
        yield from made(name, classes, problem, angle)
    if reading.rows_first or always or probe.layout in ("yolox", "yolox_decoded", "yolov6"):
        scores = score_problem(unit[4:])
        if not decoded:
            yield from made("yolox", values - 5, scores)
        not_plain = scores or ("" if decoded else "its boxes are not in pixels; export it with its decoding")
        yield from made("yolov6", values - 5, not_plain or ("" if always else "its object scores are not all 1"))
        has_object = (probe.metadata.count or len(COCO_NAMES)) == values - 5  # whatever the task says
        by_task = "" if has_object else _by_task(probe, "yolox_decoded")
        twice = "its object scores are all 1" if always else by_task
        yield from made("yolox_decoded", values - 5, not_plain or twice)
        if not always or probe.layout == "yolov8_transposed":
            yield from made("yolov8_transposed", values - 4, not_plain)
    if not reading.rows_first and not always:
        yield from made("yolov8", values - 4, score_problem(unit[4:]))


def _is_labelled(rows: torch.Tensor, hw: Hw) -> bool:
    """Whether rows are a box in pixels, score, label."""
    return are_pixels(rows[..., :4], hw) and bool(unit_values(rows)[4]) and are_labels(rows[..., 5])


def _are_listed_corners(rows: torch.Tensor, probe: Probe) -> bool:
    """Whether rows are corners in pixels, score, label, by their values or by what the file says."""
    return _is_labelled(rows, probe.hw) and (probe.metadata.is_end_to_end or are_corners(rows[..., :4]))


def _is_labelled_share(rows: torch.Tensor, probe: Probe) -> bool:
    """Whether rows of six values are xywh as shares of the input, score, label, not the scores of two classes.

    Labels are whole numbers exactly, also from float16; of scores, one in a row may be, by saturation, but not all.
    """
    unit, are_whole = unit_values(rows), (rows == rows.round()).flatten(0, 1).all(0)
    is_no_score = not unit[5] or not are_whole[4] or probe.metadata.count not in (None, 2)
    return bool(unit[:5].all() and are_whole[5] and are_labels(rows[..., 5])) and is_no_score


def _by_task(probe: Probe, name: str) -> str:
    """What the task of a detector of upright boxes, as Ultralytics writes it, says against a layout."""
    return _SAYS_DETECT.format(name) if probe.metadata.task == "detect" else ""


def _is_angle(rows: torch.Tensor, unit: torch.Tensor) -> bool:
    """Whether the last of the values [N, cells, V] is shown to be no class score: it leaves 0..1, or is far from 0 in
    most cells of every frame, also where the class scores are not.
    """
    if not unit[-1]:
        return bool(unit[4:-1].all())
    medians = rows[..., 4:].median(1).values
    return bool((medians[:, -1] > LEAST_ANGLE).all() and (medians[:, -1:] > 4 * medians[:, :-1]).all(1).any())


def _with_more(
    probe: Probe, rows: torch.Tensor, masks: int | None, rows_first: bool
) -> Iterator[tuple[str, int, str, int | None]]:
    """(layout, classes, problem, place of the angle) of rows with more than boxes and class scores."""
    count, metadata, unit, values = probe.metadata.count, probe.metadata, unit_values(rows), rows.shape[2]

    def problem(name: str, classes: int) -> str:
        return score_problem(unit[4 : 4 + classes]) or ("" if masks is not None else _by_task(probe, name))

    named = count if count is not None and 4 + count < values else None
    seg = values - 4 - (masks or MASKS)
    is_seg = masks is not None or metadata.task == "segment" or probe.layout == "yolov8_seg"
    if seg > 0 and (is_seg or (named == seg and not unit[4 + seg :].all())):
        yield "yolov8_seg", seg, problem("yolov8_seg", seg), None
    leading = int(unit[4:].long().cumprod(0).sum())  # class scores stay in 0..1, the first keypoint does not
    pose = values - 4 - metadata.keypoint_values if metadata.keypoint_values else named or leading
    rest = values - 4 - pose
    obb = values - 5
    may_be_obb = not unit[-1] or (count == obb and not rows_first)
    is_obb = metadata.task == "obb" or probe.layout == "yolov8_obb" or (may_be_obb and _is_angle(rows, unit))
    if obb > 0 and masks is None and is_obb:
        yield "yolov8_obb", obb, problem("yolov8_obb", obb), values - 1
    if rest >= 2 and (rest % 3 == 0 or rest % 2 == 0) and masks is None and not unit[4 + pose :].all():
        yield "yolov8_pose", pose, problem("yolov8_pose", pose), None


def listed_rows(probe: Probe) -> Iterator[Candidate]:
    """A tensor of rank 3 whose rows are detections or queries, in any order."""
    tensors = [(place, tensor) for place, (_, tensor) in enumerate(probe.outputs.tensors) if tensor.ndim == 3]
    if len(tensors) != 1 or not tensors[0][1].is_floating_point() or tensors[0][1].shape[2] < 5:
        return
    place, rows = tensors[0]
    unit = unit_values(rows)
    reading = Reading(LAYOUTS["end_to_end"], places=(place,))
    is_rotated = rows.shape[2] == 7 and probe.metadata.task == "obb"
    if rows.shape[2] >= 6:
        is_padding = not rows.any() and strides_of(rows.shape[1], probe.hw) is None  # NMS found nothing in the noise
        labelled = _are_listed_corners(rows, probe) or (is_rotated and bool(unit[4]) and are_labels(rows[..., 5]))
        if probe.layout == "end_to_end" or labelled or is_padding:
            yield Candidate(replace(reading, angle=6 if is_rotated else None))
            return
        if _is_labelled(rows, probe.hw):
            yield Candidate(reading, _NOT_CORNERS, is_hint=True)
        if rows.shape[2] == 6 and (probe.layout == "rtdetr_labels" or _is_labelled_share(rows, probe)):
            problem = SHARED_CORNERS if are_corners(rows[..., :4]) else ""
            yield Candidate(replace(reading, layout=LAYOUTS["rtdetr_labels"]), problem, is_hint=True)
            if probe.layout != "rtdetr":
                return
    if strides_of(rows.shape[1], probe.hw) is None and (bool(unit[:4].all()) or probe.layout == "rtdetr"):
        problem = score_problem(unit[4:])
        yield Candidate(replace(reading, layout=LAYOUTS["rtdetr"], classes=rows.shape[2] - 4), problem)
