"""Outputs of detectors in files decoded to boxes and scores, one function for each layout (see layouts.py)."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from regenhance_data.detectors.grids import Strides, cells
from regenhance_data.detectors.layouts import Layout
from regenhance_data.detectors.outputs import Outputs

Hw = tuple[int, int]
LEAST_SCORE = 1e-6  # below it, the gradient of a root grows without bound


@dataclass(frozen=True)
class Reading:
    """How a network's outputs are read.

    classes: their number, None where the output has labels. places: of the tensors in the outputs: boxes first, where
    scores are apart. rows_first: whether boxes precede their values, [N, boxes, values]. strides: of its grids.
    anchors: (width, height) in pixels of each stride's anchors. angle: where in a row the angle of its box is.
    is_share: boxes are shares of the input. is_logit: scores need a sigmoid.
    """

    layout: Layout
    classes: int | None = None
    places: tuple[int, ...] = (0,)
    rows_first: bool = True
    strides: Strides = ()
    anchors: tuple[float, ...] = ()
    angle: int | None = None
    is_share: bool = False
    is_logit: bool = False

    def tensors(self, outputs: Outputs) -> list[torch.Tensor]:
        """The tensors that it reads."""
        return [outputs.tensors[place][1] for place in self.places]

    def rows(self, outputs: Outputs) -> torch.Tensor:
        """[N, boxes, values] of the first tensor."""
        (first, *_) = self.tensors(outputs)
        return first if self.rows_first else first.transpose(1, 2)


@dataclass(frozen=True)
class Predictions:
    """scores: of each frame float32 [rows, C], differentiable. boxes: of each frame [rows, 4] (x1, y1, x2, y2 in pixels
    of the input), without gradient. labels: of each frame int64 [rows], where scores have one column for all classes.
    """

    scores: list[torch.Tensor] | torch.Tensor
    boxes: list[torch.Tensor] | torch.Tensor
    labels: list[torch.Tensor] | torch.Tensor | None = None


def decode(reading: Reading, outputs: Outputs, hw: Hw) -> Predictions:
    """The boxes and scores in the outputs for an input of `hw`."""
    return DECODERS[reading.layout.name](reading, outputs, hw)


def corners_of(values: torch.Tensor) -> torch.Tensor:
    """[..., (x, y, width, height)] → corners [..., 4]."""
    centre, size = values[..., :2], values[..., 2:4]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def _enclosing(values: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Corners of the upright boxes around rotated ones: (x, y, width, height) and an angle in radians."""
    sine, cosine = angle.sin().abs(), angle.cos().abs()
    width, height = values[..., 2], values[..., 3]
    size = torch.stack([width * cosine + height * sine, width * sine + height * cosine], dim=-1)
    return corners_of(torch.cat([values[..., :2], size], dim=-1))


# --- one row, one box --------------------------------------------------------------------------------------------
def _dense(reading: Reading, outputs: Outputs, hw: Hw) -> Predictions:
    """xywh in pixels or as shares of the input, then class scores; other values follow."""
    rows, classes = reading.rows(outputs), reading.classes or 0
    values = rows.detach()
    if reading.is_share:
        values = torch.cat([_in_pixels(values[..., :4], reading, hw), values[..., 4:]], dim=-1)
    if reading.angle is not None:
        return Predictions(rows[..., 4 : 4 + classes], _enclosing(values, values[..., reading.angle]))
    return Predictions(rows[..., 4 : 4 + classes], corners_of(values))


def _with_object(reading: Reading, outputs: Outputs, hw: Hw) -> Predictions:
    """xywh in pixels, an object score, then class scores; other values follow."""
    rows = reading.rows(outputs)
    scores = rows[..., 5 : 5 + (reading.classes or 0)] * rows[..., 4:5]
    return Predictions(scores, corners_of(rows.detach()))


def _yolox(reading: Reading, outputs: Outputs, hw: Hw) -> Predictions:
    values = reading.rows(outputs).detach()
    places, strides = cells(hw, reading.strides, values.device)
    boxes = torch.cat([(values[..., :2] + places) * strides, values[..., 2:4].exp() * strides], dim=-1)
    return Predictions(_with_object(reading, outputs, hw).scores, corners_of(boxes))


def _corners(reading: Reading, outputs: Outputs, hw: Hw) -> Predictions:
    """Corners in pixels, score, label; other values follow. Labels may be apart."""
    rows = reading.rows(outputs)
    values = rows.detach()
    boxes = values[..., :4] if reading.angle is None else _enclosing(values, values[..., reading.angle])
    labels = values[..., 5] if len(reading.places) == 1 else reading.tensors(outputs)[1].detach()
    return Predictions(rows[..., 4:5], boxes, labels.round().long())


def _corners_scores(reading: Reading, outputs: Outputs, hw: Hw) -> Predictions:
    rows = reading.rows(outputs)
    return Predictions(rows[..., 4:], _in_pixels(rows[..., :4].detach(), reading, hw))


def _rtdetr(reading: Reading, outputs: Outputs, hw: Hw) -> Predictions:
    return _dense(replace(reading, is_share=True), outputs, hw)


def _rtdetr_labels(reading: Reading, outputs: Outputs, hw: Hw) -> Predictions:
    labels = reading.rows(outputs)[..., 5].detach().round().long()
    return replace(_rtdetr(replace(reading, classes=1), outputs, hw), labels=labels)


# --- boxes, scores and labels apart ------------------------------------------------------------------------------
def _flat(tensor: torch.Tensor, rank: int) -> torch.Tensor:
    """Without its axes of length 1 after the second, down to `rank`."""
    while tensor.ndim > rank:
        axis = next((axis for axis in range(2, tensor.ndim) if tensor.shape[axis] == 1), None)
        if axis is None:
            break
        tensor = tensor.squeeze(axis)
    return tensor


def _detr(reading: Reading, outputs: Outputs, hw: Hw) -> Predictions:
    boxes, scores, labels = reading.tensors(outputs)
    return Predictions(
        _flat(scores, 2)[..., None], _in_pixels(boxes.detach(), reading, hw), _flat(labels, 2).detach().round().long()
    )


def _boxes_scores(reading: Reading, outputs: Outputs, hw: Hw) -> Predictions:
    boxes, scores = reading.tensors(outputs)
    scores = _flat(scores, 3) if reading.rows_first else scores.transpose(1, 2)
    return Predictions(scores[..., -(reading.classes or 0) :], _in_pixels(_flat(boxes, 3).detach(), reading, hw))


def _in_pixels(boxes: torch.Tensor, reading: Reading, hw: Hw) -> torch.Tensor:
    return boxes * boxes.new_tensor([hw[1], hw[0]] * 2) if reading.is_share else boxes


def _final(reading: Reading, outputs: Outputs, hw: Hw) -> Predictions:
    found = outputs.final
    return Predictions(
        [one["scores"][:, None] for one in found],
        [one["boxes"].detach() for one in found],
        [one["labels"].long() for one in found],
    )


# --- maps of a head ----------------------------------------------------------------------------------------------
def _listed(tensor: torch.Tensor) -> torch.Tensor:
    """A map [N, V, h, w] as rows [N, h · w, V]; rows as they are."""
    return tensor.flatten(2).transpose(1, 2) if tensor.ndim == 4 else tensor


def _expected(values: torch.Tensor) -> torch.Tensor:
    """The distances to the four sides, in cells, of distributions over them: [..., 4 · bins] → [..., 4]."""
    shares = values.unflatten(-1, (4, -1)).softmax(-1)
    return (shares * torch.arange(shares.shape[-1], device=values.device, dtype=values.dtype)).sum(-1)


def _distances(reading: Reading, outputs: Outputs, hw: Hw) -> Predictions:
    """Distributions over the distances from the middle of a cell to the sides of its box, and class scores: in one
    tensor a stride or for all, or in tensors apart. The distances come first in maps (YOLOv8), last in NanoDet's rows.
    """
    listed, classes = [_listed(tensor) for tensor in reading.tensors(outputs)], reading.classes or 0
    count = len(listed) // 2
    if len(listed) in (1, len(reading.strides)):
        both = torch.cat(listed, 1)
        bins = both.shape[-1] - classes
        first = reading.layout.name == "yolov8_maps"
        sides, scores = (both[..., :bins], both[..., bins:]) if first else (both[..., classes:], both[..., :classes])
    else:
        sides, scores = torch.cat(listed[:count], 1), torch.cat(listed[count:], 1)
    places, strides = cells(hw, reading.strides, sides.device)
    at = 0.0 if reading.layout.name == "nanodet" and len(listed) == 1 else 0.5  # NanoDet-Plus counts from the corner
    distances, middle = _expected(sides.detach()) * strides, (places + at) * strides
    boxes = torch.cat([middle - distances[..., :2], middle + distances[..., 2:]], dim=-1)
    return Predictions(scores.sigmoid() if reading.is_logit else scores, boxes)


def _yolov5_maps(reading: Reading, outputs: Outputs, hw: Hw) -> Predictions:
    """(2 · sigmoid − 0.5 + cell) · stride, and (2 · sigmoid)² · anchor."""
    per_stride = len(reading.anchors) // len(reading.strides) // 2
    scores, boxes = [], []
    for number, tensor in enumerate(reading.tensors(outputs)):
        values = tensor
        if tensor.ndim == 4:
            values = tensor.unflatten(1, (per_stride, -1)).permute(0, 1, 3, 4, 2)
        elif tensor.shape[1] != per_stride:  # [N, h, w, anchors, values]
            values = tensor.permute(0, 3, 1, 2, 4)
        values = values.sigmoid() if reading.is_logit else values
        found, raw = values.flatten(1, 3), values.detach()
        places, strides = cells(hw, (reading.strides[number],), raw.device)
        places = places.reshape(*raw.shape[2:4], 2)
        sizes = raw.new_tensor(reading.anchors).reshape(len(reading.strides), per_stride, 1, 1, 2)[number]
        centre, size = (raw[..., :2] * 2 - 0.5 + places) * strides[0], (raw[..., 2:4] * 2) ** 2 * sizes
        boxes.append(corners_of(torch.cat([centre, size], dim=-1)).flatten(1, 3))
        scores.append(found[..., 5:] * found[..., 4:5])
    return Predictions(torch.cat(scores, 1), torch.cat(boxes, 1))


def _fastestdet(reading: Reading, outputs: Outputs, hw: Hw) -> Predictions:
    """Centre: tanh from the cell, size: sigmoid of the input; score: object^0.6 · class^0.4."""
    (tensor,) = reading.tensors(outputs)
    rows, (height, width) = _listed(tensor), tensor.shape[2:]
    raw = rows.detach()
    places = cells((height, width), (1,), raw.device)[0]
    centre = (raw[..., 1:3].tanh() + places) / raw.new_tensor([width, height])
    boxes = corners_of(torch.cat([centre, raw[..., 3:5].sigmoid()], dim=-1)) * raw.new_tensor([hw[1], hw[0]] * 2)
    likely = rows.clamp(min=LEAST_SCORE)
    return Predictions(likely[..., :1] ** 0.6 * likely[..., 5:] ** 0.4, boxes)


DECODERS: dict[str, Callable[[Reading, Outputs, Hw], Predictions]] = {
    "yolox": _yolox,
    **dict.fromkeys(("yolox_decoded", "yolov5", "yolov5_seg", "yolov6"), _with_object),
    **dict.fromkeys(("yolov8", "yolov8_transposed", "yolov8_obb", "yolov8_seg", "yolov8_pose"), _dense),
    "yolov5_maps": _yolov5_maps,
    "yolov8_maps": _distances,
    "nanodet": _distances,
    "corners": _corners,
    "corners_scores": _corners_scores,
    "end_to_end": _corners,
    "rtdetr": _rtdetr,
    "rtdetr_labels": _rtdetr_labels,
    "detr": _detr,
    "boxes_scores": _boxes_scores,
    "ultraface": _boxes_scores,
    "fastestdet": _fastestdet,
    "final": _final,
}
