"""Recognisers of layouts whose outputs are maps, or rows for each stride, and of segmentation."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from regenhance_data.detectors.candidates import SLACK, Candidate, Probe, is_unit
from regenhance_data.detectors.class_names import COCO_NAMES
from regenhance_data.detectors.decoding import Hw, Reading
from regenhance_data.detectors.grids import Strides
from regenhance_data.detectors.layouts import LAYOUTS, STRIDES


def heads(probe: Probe) -> Iterator[Candidate]:
    """Maps, or rows, for each stride."""
    tensors = [tensor for _, tensor in probe.outputs.tensors]
    if not 2 <= len(tensors) <= 12 or not all(tensor.is_floating_point() for tensor in tensors):
        return
    for strides in STRIDES:
        groups = [
            [place for place, tensor in enumerate(tensors) if _is_of_stride(tensor, stride, probe.hw)]
            for stride in strides
        ]
        if sum(map(len, groups)) == len(tensors) and len({*map(len, groups)}) == 1 and groups[0]:
            yield from _of_strides(probe, strides, groups)


def _is_of_stride(tensor: torch.Tensor, stride: int, hw: Hw) -> bool:
    rows, cols = -(-hw[0] // stride), -(-hw[1] // stride)
    if tensor.ndim == 3:
        return tensor.shape[1] == rows * cols
    if tensor.ndim == 5:
        return (rows, cols) in (tuple(tensor.shape[2:4]), tuple(tensor.shape[1:3]))
    return tensor.ndim == 4 and tuple(tensor.shape[2:]) == (rows, cols)


def _of_strides(probe: Probe, strides: Strides, groups: list[list[int]]) -> Iterator[Candidate]:
    tensors = [tensor for _, tensor in probe.outputs.tensors]
    first = [tensors[place] for place in groups[0]]
    ranks = {tensors[place].ndim for group in groups for place in group}
    reading = Reading(LAYOUTS["yolov5_maps"], strides=strides)
    if len(first) == 1 and ranks <= {4, 5}:
        yield from _one_map(probe, reading, groups)
    elif len(first) in (2, 3) and len(ranks) == 1 and ranks <= {3, 4}:
        depth = 2 if ranks == {3} else 1
        bins = [place for place in groups[0] if tensors[place].shape[depth] in (32, 64, 68)]
        sides = bins[0] if len(bins) == 1 else next((p for p in bins if not is_unit(tensors[p])), None)
        if sides is None:
            return
        scores = max((p for p in groups[0] if p != sides), key=lambda place: tensors[place].shape[depth])
        order = [groups[0].index(sides), groups[0].index(scores)]
        # a group lists its tensors in the order of the outputs, so that the kinds stand at the same places in each
        places = tuple(group[index] for index in order for group in groups)
        is_logit = not all(is_unit(tensors[group[order[1]]]) for group in groups)
        name = "nanodet" if ranks == {3} else "yolov8_maps"
        classes = tensors[scores].shape[depth]
        yield Candidate(replace(reading, layout=LAYOUTS[name], places=places, classes=classes, is_logit=is_logit))


def _one_map(probe: Probe, reading: Reading, groups: list[list[int]]) -> Iterator[Candidate]:
    """One map a stride: [N, 64 + C, h, w] of YOLOv8, or boxes of anchors."""
    places = tuple(group[0] for group in groups)
    maps = [probe.outputs.tensors[place][1] for place in places]
    if len({tensor.ndim for tensor in maps}) > 1:
        return
    reading = replace(reading, places=places, is_logit=not all(map(is_unit, maps)))
    per_stride = len(probe.anchors) // len(places) // 2 or 3
    depth = maps[0].shape[1]
    if maps[0].ndim == 5:
        per_stride = min(maps[0].shape[1], maps[0].shape[3])
        yield _with_anchors(probe, replace(reading, classes=maps[0].shape[4] - 5), per_stride)
        return
    of_v8 = Candidate(replace(reading, layout=LAYOUTS["yolov8_maps"], classes=depth - 64)) if depth > 64 else None
    of_v5 = (
        _with_anchors(probe, replace(reading, classes=depth // per_stride - 5), per_stride)
        if depth % per_stride == 0 and depth // per_stride > 5
        else None
    )
    both = [one for one in (of_v5, of_v8) if one is not None]
    wanted = probe.metadata.count or len(COCO_NAMES)
    yield from [one for one in both if one.reading.classes == wanted] or both


def _with_anchors(probe: Probe, reading: Reading, per_stride: int) -> Candidate:
    wanted = len(reading.strides) * per_stride * 2
    if len(probe.anchors) == wanted:
        return Candidate(replace(reading, anchors=probe.anchors))
    problem = (
        f"its anchors are not in the file; give the {wanted} numbers of --detector_anchors (width and height in "
        "pixels, from the finest stride on) of a YOLOv5 or YOLOv7, or export it with its decoding, as YOLOv3 and "
        "YOLOv4 must be: their boxes are decoded otherwise"
    )
    return Candidate(replace(reading, anchors=()), problem)


def fastestdet(probe: Probe) -> Iterator[Candidate]:
    """One map: object score, four box values, classes that sum to 1."""
    maps = probe.outputs.of_rank(4)
    if len(maps) != 1 or len(probe.outputs.tensors) != 1 or maps[0].shape[1] < 6:
        return
    values = maps[0]
    is_softmax = bool(((values[:, 5:].sum(1) - 1).abs() < SLACK).all())
    likely = is_softmax and is_unit(values[:, :1]) and not is_unit(values[:, 1:5])
    if likely or probe.layout == "fastestdet":
        yield Candidate(Reading(LAYOUTS["fastestdet"], classes=values.shape[1] - 5))


def segmentation(probe: Probe) -> Iterator[Candidate]:
    """One map of classes, or several of the same shape, of which the first counts."""
    tensors, maps = probe.outputs.tensors, probe.outputs.of_rank(4)
    if not maps or len(maps) != len(tensors) or len({tensor.shape for tensor in maps}) > 1:
        return
    place = 0
    depth, rows, cols = maps[0].shape[1:]
    classes = max(depth, 2)
    reading = Reading(LAYOUTS["segmentation"], classes=classes, places=(place,))
    stride = probe.hw[0] / rows
    problem = ""
    if classes > 256 or rows > probe.hw[0] or cols > probe.hw[1]:
        problem = "a map of classes has at most 256 of them and the input's size"
    elif stride > 16 or abs(stride - probe.hw[1] / cols) > 0.5 or (stride > 4 and _is_of_anchors(depth)):
        problem = (
            f"its map of {depth}x{rows}x{cols} looks like the raw head of a detector of boxes; export it with its "
            "decoding, or give --detector_layout segmentation"
        )
    if probe.layout == "segmentation" and "looks like" in problem:
        problem = ""
    if depth == 1 and probe.metadata.count == 1:
        reading = replace(reading, classes=1)
    yield Candidate(reading, problem)


def _is_of_anchors(depth: int) -> bool:
    """Whether a map has as many channels as boxes of anchors with COCO's or Pascal VOC's classes."""
    return any(depth == anchors * (5 + classes) for anchors in (1, 3, 5) for classes in (20, len(COCO_NAMES)))
