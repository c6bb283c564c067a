"""Detector files of every layout, as PyTorch modules that find red and blue squares, exported to ONNX in any opset and
type: small members of the kinds of file that users have.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

from regenhance_data.detectors.layouts import LAYOUTS
from tests.support.detectors import NAMES, STRIDES, cell_boxes

HW = (64, 96)
ANCHORS = tuple(float(stride) for stride in STRIDES for _ in range(6))  # (2 · sigmoid(0))² · stride = the stride
# as Ultralytics writes it; other toolkits write none
TASKS = {"yolov8_obb": "obb", "yolov8_seg": "segment", "yolov8_pose": "pose", "yolox_decoded": ""}


class Squares(nn.Module):
    """Red and blue squares in a layout; pixels of 0..`white`, in the layout's order."""

    def __init__(self, layout: str, white: float | None = None, first_label: int = 0) -> None:
        super().__init__()
        row = LAYOUTS[layout]
        self.first_label = first_label
        self.layout, self.white = layout, white or row.white
        mean, std = (torch.tensor(values)[:, None, None] for values in row.mean_std)
        self.is_bgr = row.channel_order == "BGR"
        self.register_buffer("mean", mean.flip(0) if self.is_bgr else mean)
        self.register_buffer("std", std.flip(0) if self.is_bgr else std)
        self.register_buffer("boxes", torch.from_numpy(cell_boxes(HW)))

    def forward(self, pixels: torch.Tensor) -> Any:
        frames = pixels / self.white * self.std + self.mean
        frames = frames.flip(1) if self.is_bgr else frames
        maps = [functional.avg_pool2d(frames, stride)[:, [0, 2]] * 20 - 12 for stride in STRIDES]
        scores = torch.cat([one.sigmoid().flatten(2) for one in maps], 2).transpose(1, 2)
        # the boxes and what else is constant depend on the input, as they do in real graphs
        nothing = scores[..., :1] * 0
        boxes = self.boxes + nothing
        return getattr(self, f"_{self.layout}")(boxes, scores, nothing, maps)

    def _yolox_decoded(self, boxes, scores, nothing, maps):
        return torch.cat([boxes, scores.amax(-1, keepdim=True).sqrt(), scores.sqrt()], 2)

    def _yolov5(self, boxes, scores, nothing, maps):
        return torch.cat([boxes, nothing + 1, scores], 2).repeat(1, 3, 1)

    def _yolov5_seg(self, boxes, scores, nothing, maps):
        rows = torch.cat([boxes, nothing + 1, scores, nothing.expand(-1, -1, 32) - 0.5], 2).repeat(1, 3, 1)
        return rows, maps[0][:, :1].expand(-1, 32, -1, -1) * 1

    def _yolov6(self, boxes, scores, nothing, maps):
        return torch.cat([boxes, nothing + 1, scores], 2)

    def _yolov8(self, boxes, scores, nothing, maps):
        return torch.cat([boxes, scores], 2).transpose(1, 2)

    def _yolov8_transposed(self, boxes, scores, nothing, maps):
        return torch.cat([boxes, scores], 2)

    def _yolov8_obb(self, boxes, scores, nothing, maps):
        return torch.cat([boxes, scores, nothing], 2).transpose(1, 2)

    def _yolov8_seg(self, boxes, scores, nothing, maps):
        rows = torch.cat([boxes, scores, nothing.expand(-1, -1, 32) - 0.5], 2).transpose(1, 2)
        return rows, maps[0][:, :1].expand(-1, 32, -1, -1) * 1

    def _yolov8_pose(self, boxes, scores, nothing, maps):
        return torch.cat([boxes, scores, (nothing + 40).expand(-1, -1, 6)], 2).transpose(1, 2)

    def _corners(self, boxes, scores, nothing, maps):
        corners = torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], 2)
        best, label = scores.max(2, keepdim=True)
        return torch.cat([corners, best, label.float() + self.first_label], 2)

    def _corners_scores(self, boxes, scores, nothing, maps):
        return torch.cat([self._corners(boxes, scores, nothing, maps)[..., :4], scores], 2)

    def _end_to_end(self, boxes, scores, nothing, maps):
        rows = self._corners(boxes, scores, nothing, maps)
        index = rows[..., 4].topk(20, dim=1).indices
        return rows.gather(1, index[..., None].expand(-1, -1, 6))

    def _rtdetr(self, boxes, scores, nothing, maps):
        index = scores.amax(2).topk(20, dim=1).indices
        rows = torch.cat([boxes / boxes.new_tensor([HW[1], HW[0]] * 2), scores], 2)
        return rows.gather(1, index[..., None].expand(-1, -1, 6))

    def _rtdetr_labels(self, boxes, scores, nothing, maps):
        rows = torch.cat([boxes / boxes.new_tensor([HW[1], HW[0]] * 2), scores], 2)
        best, index = scores.flatten(1).topk(20, dim=1)
        query, label = index // 2, (index % 2).float() + self.first_label
        boxes = rows.gather(1, query[..., None].expand(-1, -1, 6))[..., :4]
        return torch.cat([boxes, best[..., None], label[..., None]], 2)

    def _boxes_scores(self, boxes, scores, nothing, maps):
        return self._corners(boxes, scores, nothing, maps)[..., :4], scores

    def _ultraface(self, boxes, scores, nothing, maps):
        corners = self._corners(boxes, scores, nothing, maps)[..., :4]
        shares = corners / corners.new_tensor([HW[1], HW[0]] * 2)
        logits = torch.cat([one.flatten(2) for one in maps], 2).transpose(1, 2)
        return torch.cat([nothing, logits], 2).softmax(2), shares

    def _yolov5_maps(self, boxes, scores, nothing, maps):
        made = []
        for one in maps:
            zeros = one[:, :1] * 0
            rows = torch.cat([zeros, zeros, zeros, zeros, zeros + 20, one], 1)
            made.append(torch.stack([rows] * 3, 1).permute(0, 1, 3, 4, 2))
        return tuple(made)

    def _yolov8_maps(self, boxes, scores, nothing, maps):
        made = []
        for one in maps:
            bins = torch.zeros(16)
            bins[1] = 30.0  # one stride from the middle to each side
            made += [one[:, :1] * 0 + bins.repeat(4)[:, None, None], one.sigmoid()]
        return tuple(made)

    def _nanodet(self, boxes, scores, nothing, maps):
        bins = torch.zeros(8)
        bins[1] = 30.0
        flat = [one.flatten(2).transpose(1, 2) for one in maps]
        return (*(one.sigmoid() for one in flat), *(one[..., :1] * 0 + bins.repeat(4) for one in flat))


class Detr(nn.Module):
    """labels, boxes and scores, with the size that boxes are scaled to as a second input."""

    def __init__(self, first_label: int = 0) -> None:
        super().__init__()
        self.squares = Squares("end_to_end", first_label=first_label)

    def forward(self, pixels: torch.Tensor, size: torch.Tensor) -> Any:
        rows = self.squares(pixels)
        shares = rows[..., :4] / rows.new_tensor([HW[1], HW[0]] * 2)
        return rows[..., 5].long(), shares * size.repeat(1, 2)[:, None].float(), rows[..., 4]


def write_layout(
    path: Path, layout: str, opset: int = 17, metadata: Mapping[str, Any] | None = None, first_label: int = 0
) -> Path:
    """A network of the layout as an ONNX file; names and task are its metadata unless it is given. first_label: of red,
    where the output has labels.
    """
    given = {"names": dict(enumerate(NAMES)), "task": TASKS.get(layout, "detect")} if metadata is None else metadata
    pixels = torch.rand(1, 3, *HW)
    names = {"detr": ["labels", "boxes", "scores"], "ultraface": ["scores", "boxes"]}.get(layout)
    squares = Squares(layout, first_label=first_label)
    network, inputs = (
        (Detr(first_label), (pixels, torch.tensor([[HW[1], HW[0]]]))) if layout == "detr" else (squares, pixels)
    )
    export(network.eval(), inputs, path, opset, output_names=names)
    return with_metadata(path, given)


def write_rows(path: Path, more: Sequence[float], metadata: Mapping[str, Any], layout: str = "yolov8") -> Path:
    """Rows of boxes and two classes' scores, then constants; `metadata` may contradict them."""

    class Rows(Squares):
        def forward(self, pixels: torch.Tensor) -> Any:
            rows = super().forward(pixels)
            rows = rows.transpose(1, 2) if layout == "yolov8" else rows
            rows = torch.cat([rows, rows[..., 4:5] * 0 + rows.new_tensor(more)], 2) if more else rows
            return rows.transpose(1, 2) if layout == "yolov8" else rows

    return with_metadata(export(Rows(layout).eval(), torch.rand(1, 3, *HW), path), metadata)


def export(network: nn.Module, inputs: Any, path: Path, opset: int = 17, **options: Any) -> Path:
    """A module as an ONNX file."""
    torch.onnx.export(network, inputs, str(path), opset_version=opset, dynamo=False, **options)
    return path


def with_metadata(path: Path, values: Mapping[str, Any]) -> Path:
    """The file, with values in its metadata as Ultralytics writes them."""
    model = onnx.load(path)
    helper.set_model_props(model, {key: str(value) for key, value in values.items()})
    onnx.save(model, path)
    return path


def relabelled(source: Path, path: Path, opset: int) -> Path:
    """The file with another opset; its operators must mean the same there."""
    model = onnx.load(source)
    model.opset_import[0].version = opset
    onnx.save(model, path)
    return path


def with_functions(source: Path, path: Path, kind: str) -> Path:
    """The file, with the operators of a kind (one input, no attributes) in a function of its own, as PyTorch's newer
    exporter writes them.
    """
    model, domain = onnx.load(source), "pkg.onnxscript.torch_lib"
    for node in model.graph.node:
        if node.op_type == kind:
            node.op_type, node.domain = f"aten_{kind.lower()}", domain
    inner = [helper.make_node(kind, ["x"], ["half"]), helper.make_node("Identity", ["half"], ["y"])]
    opsets = [entry for entry in model.opset_import if not entry.domain]
    model.functions.append(helper.make_function(domain, f"aten_{kind.lower()}", ["x"], ["y"], inner, opsets))
    model.opset_import.append(helper.make_opsetid(domain, 1))
    onnx.save(model, path)
    return path


def as_half(source: Path, path: Path) -> Path:
    """The file in float16, its input and outputs too."""
    model = onnx.load(source)
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    for tensor in (*model.graph.initializer, *(a.t for a in attributes if a.HasField("t"))):
        if tensor.data_type == TensorProto.FLOAT:
            half = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    for attribute in attributes:
        if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    del model.graph.value_info[:]
    onnx.save(model, path)
    return path
