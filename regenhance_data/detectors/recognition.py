"""Which layout the outputs of a network have: by shape, held against values, class names and the task in the metadata.

A recogniser yields candidates. Of those whose values are plausible, the metadata chooses; what contradicts it is
refused, never guessed.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NoReturn

import torch

from regenhance_data.detectors.candidates import (
    NO_SIGMOID,
    SLACK,
    Candidate,
    Probe,
    are_corners,
    are_labels,
    is_unit,
    score_problem,
    unit_values,
)
from regenhance_data.detectors.class_names import COCO_NAMES
from regenhance_data.detectors.decoding import Reading
from regenhance_data.detectors.layouts import LAYOUTS
from regenhance_data.detectors.map_recognition import fastestdet, heads, segmentation
from regenhance_data.detectors.row_recognition import dense_rows, listed_rows
from regenhance_data.errors import InputError

RAW_DETR = (
    "it is a DETR or RF-DETR without its decoding (centres and sizes as shares, and logits); export it with its "
    "postprocessing, as labels, boxes and scores"
)
_SERVED = ("detect", "segment", "semantic", "pose", "keypoint", "obb")  # in the words for tasks
_TASKS = {"obb": "yolov8_obb", "segment": "yolov8_seg", "pose": "yolov8_pose"}


def recognise(probe: Probe) -> Candidate:
    """How the outputs are read. InputError, without the file's name, that says what they look like and what is wrong.

    --detector_layout overrules hints and class names.
    """
    task = probe.metadata.task
    if task and probe.layout is None and not any(word in task.lower() for word in _SERVED):
        raise InputError(
            f"its metadata says that its task is {task[:40]!r}, neither detection nor segmentation; give "
            "--detector_layout if it is none the less"
        )
    found = [candidate for recogniser in RECOGNISERS for candidate in recogniser(probe)]
    shapes = f"its output is {probe.outputs.shapes()} for an input of 1x3x{probe.hw[0]}x{probe.hw[1]}"
    if probe.layout is not None:
        asked = [candidate for candidate in found if candidate.reading.layout.name == probe.layout]
        if not asked:
            raise InputError(
                f"is not a detector of layout {probe.layout} ({LAYOUTS[probe.layout].output}): {shapes}; give another "
                "--detector_layout, or none to have it recognised"
            )
        possible = [candidate for candidate in asked if not candidate.problem or candidate.is_hint]
        if not possible:
            _refuse(asked[0])
        return _chosen(possible, replace(probe, metadata=replace(probe.metadata, task="")))
    plausible = [candidate for candidate in found if not candidate.problem]
    if plausible:
        return _chosen(plausible, probe)
    if found:
        _refuse(found[0])
    raise InputError(
        f"is not a detector that is known: {shapes}{_looks_like(probe)}; docs/detectors.md lists the layouts"
    )


def _refuse(candidate: Candidate) -> NoReturn:
    raise InputError(f"is recognised as {candidate.reading.layout.words}, but {candidate.problem}")


def _looks_like(probe: Probe) -> str:
    """What outputs of no layout look like, in words."""
    tensors = [tensor for _, tensor in probe.outputs.tensors]
    if len(tensors) == 1 and tensors[0].ndim == 2:
        seven = ", which are detections after NMS (frame, corners, label, score); export it without NMS"
        return seven if tensors[0].shape[1] == 7 else ", which is a classification or embeds NMS"
    (first, *more) = tensors or [torch.empty(0)]
    if not more and not first.is_floating_point() and (first.ndim == 3 or (first.ndim == 4 and first.shape[1] == 1)):
        mend = "export it with the scores of all classes (from PaddleSeg with --output_op none)"
        return f", which is a map of class numbers: argmax has no gradient; {mend}"
    if len(probe.outputs.of_rank(4)) > 1:
        return ", which are maps of a detector's head; export it with its decoding"
    return ""


def _chosen(candidates: list[Candidate], probe: Probe) -> Candidate:
    """The candidate that the metadata names. InputError where it names none."""
    metadata = probe.metadata
    wanted = _TASKS.get(metadata.task)
    by_task = [candidate for candidate in candidates if candidate.reading.layout.name == wanted]
    candidates = by_task or candidates
    if metadata.count is None:
        usual = [candidate for candidate in candidates if candidate.reading.classes in (None, len(COCO_NAMES))]
        first = (usual or candidates)[0]
        others = [candidate for candidate in candidates if candidate.reading.layout != first.reading.layout]
        return replace(first, doubt="" if usual or not others else others[0].reading.layout.name)
    named = [candidate for candidate in candidates if candidate.reading.classes in (None, metadata.count)]
    if named:
        return named[0]
    first = candidates[0]
    if probe.layout is not None:
        return first
    names = ", ".join(list(metadata.names.values())[:4]) + (", …" if metadata.count > 4 else "")
    raise InputError(
        f"its output {probe.outputs.shapes()} has {first.reading.classes} classes if it is "
        f"{first.reading.layout.words}, its metadata names {metadata.count} ({names}); "
        f"--detector_layout {first.reading.layout.name} takes the output's"
    )


# --- boxes, scores, labels apart ---------------------------------------------------------------------------------
def _apart(probe: Probe) -> Iterator[Candidate]:
    """Boxes [N, K, 4] and scores [N, K, C], or scores [N, K] and labels [N, K]."""
    named = list(enumerate(probe.outputs.tensors))
    if not 2 <= len(named) <= 3 or any(tensor.ndim < 2 for _, (_, tensor) in named):
        return
    flat = {place: tensor.flatten(1).shape[1] for place, (_, tensor) in named}
    is_box = {
        place: tensor.ndim >= 3 and tensor.shape[-1] == 4 and tensor.is_floating_point() for place, (_, tensor) in named
    }
    boxes = [place for place, (name, _) in named if is_box[place] and ("box" in name.lower() or "det" in name.lower())]
    boxes = boxes or [place for place, _ in named if is_box[place]]
    if not boxes:
        return
    box, (_, corners) = boxes[0], named[boxes[0]][1]
    count = flat[box] // 4
    others = [place for place in flat if place != box and count in probe.outputs.tensors[place][1].shape[1:3]]
    is_share = bool((corners.abs() <= 2).all())
    reading = Reading(LAYOUTS["detr"], is_share=is_share)
    corners_problem = "its boxes are not two corners each; export it with its decoding"
    problem = "" if are_corners(corners) else corners_problem
    if len(others) == len(named) - 1 == 2 and all(flat[place] == count for place in others):
        labels = next((p for p in others if are_labels(probe.outputs.tensors[p][1].float())), None)
        labels = next((p for p in others if _is_called(probe, p, "label", "class")), labels)
        if labels is not None:
            scores = next(place for place in others if place != labels)
            problem = problem or score_problem(unit_values(probe.outputs.tensors[scores][1].reshape(-1, 1)))
            yield Candidate(replace(reading, places=(box, scores, labels)), problem, is_hint=problem == corners_problem)
    elif len(others) == len(named) - 1 == 1:
        yield from _pair(probe, replace(reading, places=(box, others[0])), problem)


def _is_called(probe: Probe, place: int, *words: str) -> bool:
    return any(word in probe.outputs.tensors[place][0].lower() for word in words)


def _pair(probe: Probe, reading: Reading, problem: str) -> Iterator[Candidate]:
    scores = probe.outputs.tensors[reading.places[1]][1]
    if scores.ndim < 3 or not scores.is_floating_point():
        return
    boxes = probe.outputs.tensors[reading.places[0]][1]
    if scores.shape[1] != boxes.shape[1]:  # PP-YOLOE's [N, C, K]
        scores, reading = scores.transpose(1, 2), replace(reading, rows_first=False)
    no_sigmoid = score_problem(unit_values(scores))
    if no_sigmoid and is_unit(boxes):
        problem = RAW_DETR
    problem = problem or no_sigmoid
    is_softmax = scores.shape[-1] > 1 and bool(((scores.sum(-1) - 1).abs() < SLACK).all())
    if is_softmax or probe.layout == "ultraface":
        read = replace(reading, layout=LAYOUTS["ultraface"], classes=scores.shape[-1] - 1)
        yield Candidate(read, problem, is_hint=problem not in (NO_SIGMOID, RAW_DETR))
    if not is_softmax or probe.layout == "boxes_scores":
        read = replace(reading, layout=LAYOUTS["boxes_scores"], classes=scores.shape[-1])
        yield Candidate(read, problem, is_hint=problem not in (NO_SIGMOID, RAW_DETR))


def _rows_and_labels(probe: Probe) -> Iterator[Candidate]:
    """Corners and score [N, K, 5], and labels [N, K], as mmdetection has them."""
    tensors = [tensor for _, tensor in probe.outputs.tensors]
    rows = next((place for place, one in enumerate(tensors) if one.ndim == 3 and one.shape[2] == 5), None)
    if len(tensors) != 2 or rows is None:
        return
    found, labels = tensors[rows], tensors[1 - rows]
    if labels.shape != found.shape[:2] or not found.is_floating_point() or not are_labels(labels.float().clamp(min=0)):
        return
    problem = "" if are_corners(found[..., :4]) or not found.any() else "its boxes are not two corners each"
    problem = problem or score_problem(unit_values(found[..., 4:]))
    yield Candidate(Reading(LAYOUTS["corners"], places=(rows, 1 - rows)), problem)


def _final(probe: Probe) -> Iterator[Candidate]:
    if probe.outputs.final:
        yield Candidate(Reading(LAYOUTS["final"], places=()))


RECOGNISERS: tuple[Callable[[Probe], Iterator[Candidate]], ...] = (
    *(_final, heads, _apart, _rows_and_labels, dense_rows, listed_rows, fastestdet, segmentation),
)
