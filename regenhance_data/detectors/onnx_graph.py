"""ONNX files of detectors, read without torch: are they whole, what do they take, what do they say of themselves."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper, shape_inference

from regenhance_data import KIT
from regenhance_data.detectors.class_names import Metadata
from regenhance_data.errors import InputError, one_line
from regenhance_data.io.onnx_files import in_order, read_model

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_CHANNELS = 3
_MOST_NODES = 100_000  # of a graph whose functions are inlined; each may call others twice
_CONSTANT_TYPES = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}
# pixels of 0..255 may pass these on their way to a division by 255
_PASSING = {"Cast", "Transpose", "Identity", "Slice", "Gather", "Reshape", "Unsqueeze", "Squeeze"}


@dataclass(frozen=True)
class GraphInputs:
    """What a graph takes. image: the name of its input of pixels. hw: its fixed (height, width), None where open.
    channels_last: [N, H, W, 3]. elem_type: of TensorProto. white: what a white pixel is where the graph itself says
    so, else None. sizes: names of inputs [N, 2] for the size of the image.
    """

    image: str
    hw: tuple[int, int] | None
    channels_last: bool
    elem_type: int
    white: float | None
    sizes: tuple[str, ...] = ()


def read_graph(path: Path) -> onnx.ModelProto:
    """The model in an ONNX file, its nodes in order, its demand not checked yet. InputError where it is none, is
    damaged, or is a predictor of this kit.
    """
    _, model = read_model(path, takes_weights_beside=True)
    try:
        # operators that the file defines itself, as PyTorch's newer exporter writes them
        if model.functions and _nodes_when_inlined(model) <= _MOST_NODES:
            model = inliner.inline_local_functions(model)
        nodes = in_order(model.graph.node)  # converters to float16 append their casts at the end
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    except Exception as error:  # onnx raises many kinds
        raise InputError(f"{path}: is not an ONNX file ({one_line(error)})") from None
    said = {entry.key: entry.value for entry in model.metadata_props}
    if said.get("kit") == KIT:
        is_detector = said.get("kind") == "detector"  # of deploy/export_detector.py
        what = "an exported detector, which the loop runs" if is_detector else "a predictor of this kit, not a detector"
        whole = "it was exported from" if is_detector else "importance is computed for"
        raise InputError(f"{path}: is {what}; give --detector the detector that {whole}")
    return model


def _nodes_when_inlined(model: onnx.ModelProto) -> float:
    """How many nodes a graph has once its own functions are inlined; infinite where one calls itself."""
    bodies = {(function.domain, function.name): function.node for function in model.functions}
    counts: dict[tuple[str, str], float] = {}

    def count(nodes: Iterable[onnx.NodeProto]) -> float:
        total = 0.0
        for node in nodes:
            key = node.domain, node.op_type
            if key in bodies and key not in counts:
                counts[key] = inf  # until it is known: a function that is met again calls itself
                counts[key] = count(bodies[key])
            inner = [graph.node for a in node.attribute for graph in (a.g, *a.graphs)]
            total += counts.get(key, 1) + sum(map(count, inner))
        return total

    return count(model.graph.node)


def with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the shapes of its values, as far as they follow from its inputs."""
    try:
        return shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # of operators that this version of onnx does not know
        return model


class Constants(Mapping[str, np.ndarray]):
    """The values in a graph that do not depend on its input, by name: stored, or passed on by Identity. A tensor
    becomes an array when it is asked for.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute:
                self._store_constant(node)
            elif node.op_type == "Identity" and node.input[0] in self._tensors:
                self._tensors[node.output[0]] = self._tensors[node.input[0]]

    def _store_constant(self, node: onnx.NodeProto) -> None:
        attribute = node.attribute[0]
        if attribute.name == "value":
            self.store(node.output[0], attribute.t)
        elif attribute.name in _CONSTANT_TYPES:
            value = np.asarray(helper.get_attribute_value(attribute), _CONSTANT_TYPES[attribute.name])
            self.store(node.output[0], numpy_helper.from_array(value))

    def store(self, name: str, tensor: TensorProto) -> None:
        """Add a value."""
        self._tensors[name] = tensor

    def __getitem__(self, name: str) -> np.ndarray:
        return numpy_helper.to_array(self._tensors[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def inputs_of(model: onnx.ModelProto, path: Path) -> GraphInputs:
    """What the graph takes. InputError where that is not one image of three channels."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    images = [value for value in inputs if len(value.type.tensor_type.shape.dim) == 4]
    others = [value for value in inputs if value not in images]
    if len(images) != 1 or not all(_is_size(value) for value in others):
        found = ", ".join(map(_described, inputs))[:160] or "nothing"
        raise InputError(f"{path}: takes {found}, expected one input of pixels [N, 3, H, W]; export the detector alone")
    image = images[0]
    kind = image.type.tensor_type.elem_type
    dims = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    if dims[0] > 1:
        raise InputError(f"{path}: takes {_described(image)}, {dims[0]} frames at once; export it with batch=1")
    if kind not in (*FLOATS, TensorProto.UINT8):
        raise InputError(f"{path}: takes {_described(image)}; export it for pixels of type float32, float16 or uint8")
    channels_last = dims[3] == _CHANNELS and dims[1] != _CHANNELS
    channels = dims[3] if channels_last else dims[1]
    if channels not in (0, _CHANNELS):
        raise InputError(f"{path}: takes {_described(image)}; a frame has 3 channels, and no detector of others serves")
    sides = dims[1:3] if channels_last else dims[2:]
    hw = (sides[0], sides[1]) if min(sides) > 0 else None
    white = 255.0 if kind == TensorProto.UINT8 or _divides_by_255(model.graph, image.name) else None
    return GraphInputs(image.name, hw, channels_last, kind, white, tuple(value.name for value in others))


def _is_size(value: onnx.ValueInfoProto) -> bool:
    dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return len(dims) in (1, 2) and dims[-1] == 2 and "scale" not in value.name


def _described(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    kind = TensorProto.DataType.Name(tensor.elem_type).lower() if tensor.elem_type else "no tensor"
    return f"{value.name} {kind} [{', '.join(dim.dim_param or str(dim.dim_value) for dim in tensor.shape.dim)}]"


def _divides_by_255(graph: onnx.GraphProto, name: str) -> bool:
    """Whether the first that happens to all pixels is a division by 255."""
    constants = Constants(graph)
    for _ in range(len(graph.node)):
        users = [node for node in graph.node if name in node.input]
        kinds = {node.op_type for node in users}
        if len(kinds) != 1:
            return False
        kind, other = kinds.pop(), [value for node in users for value in node.input if value != name]
        if kind in ("Div", "Mul") and other and other[0] in constants:
            if kind == "Div" and any(node.input[0] != name for node in users):  # 255 / x
                return False
            factor = constants[other[0]].astype(float)
            wanted = 255.0 if kind == "Div" else 1 / 255
            return bool(factor.size and np.allclose(factor, wanted, rtol=0.01))
        if kind not in _PASSING or len(users) != 1:
            return False
        name = users[0].output[0]
    return False


def metadata_of(model: onnx.ModelProto) -> Metadata:
    """What the exporter wrote of the network, as Ultralytics does ("{0: 'person', ...}"); has_nms of the graph too."""
    written = Metadata.of({entry.key: _literal(entry.value) for entry in model.metadata_props})
    return replace(written, has_nms=written.has_nms or has_nms(model))


def has_nms(model: onnx.ModelProto) -> bool:
    """Whether the graph chooses among its boxes itself."""
    return any(node.op_type == "NonMaxSuppression" for node in model.graph.node)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
