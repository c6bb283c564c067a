"""ONNX files of deploy/export_onnx.py, read without trusting them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from deploy.contract import INPUT, OUTPUT, is_described
from regenhance_data.errors import InputError


def shape_of(value: onnx.ValueInfoProto) -> list[int]:
    """The sizes of a tensor; 0 for a size that is not fixed."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


@dataclass(frozen=True)
class OnnxPredictor:
    """A predictor's file. content: its bytes. model: parsed. metadata: what the export wrote.

    batch: frames that the graph takes at once, 0 for any number. input_hw: (height, width) of a frame.
    """

    path: Path
    content: bytes
    model: onnx.ModelProto
    metadata: dict[str, str]

    @property
    def batch(self) -> int:
        return shape_of(self.model.graph.input[0])[0]

    @property
    def input_hw(self) -> tuple[int, int]:
        _, height, width, _ = shape_of(self.model.graph.input[0])
        return height, width


def read_onnx(path: Path) -> OnnxPredictor:
    """Read a predictor's ONNX file. InputError for a file that is not a predictor of this kit."""
    if not path.is_file():
        raise InputError(f"{path}: no such predictor; make one with deploy/export_onnx.py")
    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        raise InputError(f"{path}: is not an ONNX file; export it again with deploy/export_onnx.py") from None
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    ports = [(value.name, value.type.tensor_type.elem_type) for value in (*model.graph.input, *model.graph.output)]
    shape = shape_of(model.graph.input[0]) if model.graph.input else []
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model.graph)):
        raise InputError(f"{path}: has weights in another file, which is not checked; export it again")
    if (
        ports != [(INPUT, onnx.TensorProto.UINT8), (OUTPUT, onnx.TensorProto.FLOAT)]
        or len(shape) != 4
        or shape[0] < 0
        or min(shape[1:]) < 1
        or shape[3] != 3
        or not is_described(metadata)
    ):
        raise InputError(f"{path}: is not a predictor of this kit; make one with deploy/export_onnx.py")
    return OnnxPredictor(path, content, model, metadata)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All tensors of a graph, of its nodes' attributes and of nested graphs."""
    yield from graph.initializer
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for inner in (attribute.g, *attribute.graphs):
            if inner.node or inner.initializer:
                yield from _tensors(inner)
