"""The predictor's ONNX graph: camera pixels in, importance out, everything between inside the graph.

Works on the ONNX of any segmentation network `[N, 3, H, W] → logits [N, K, H, W]`, without Paddle and torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deploy.artifacts.onnx import shape_of
from deploy.contract import DYNAMIC, INPUT, OUTPUT
from deploy.export.matrices import SOURCE_OF, macroblock_matrix
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid

KIT_NODE = "kit/"  # prefix of the names of the nodes around a network


@dataclass(frozen=True)
class Normalisation:
    """The pixels that a network expects: (RGB / 255 − mean) / std, three numbers each, std > 0."""

    mean: Sequence[float]
    std: Sequence[float]


def predictor_graph(
    network: onnx.ModelProto,
    normalisation: Normalisation,
    head: str,
    grid: MacroblockGrid,
    metadata: dict[str, Any],
    shrink: int = 1,
) -> onnx.ModelProto:
    """Wrap a network: uint8 NHWC BGR `frames` → `importance` float32, [N, rows, cols] or with head 'pixels' [N, H, W].

    grid: of the frames; the network sees them at 1/shrink of their size, the mean of each `shrink`×`shrink` pixels
    (samples.shrunk_frame). The macroblock head takes the logits before the network's final upsampling, or as they are
    where the network outputs macroblocks. InputError where there is neither. Constants are folded, nodes without effect
    removed.
    """
    import onnxslim  # not installed where predictors are only run

    graph = network.graph
    _, levels, *logits_hw = shape_of(graph.output[0])
    is_on_grid = tuple(logits_hw) == grid.shape
    if shrink > 1 and head == "pixels":
        raise InputError("a network with an --input_scale has no output for pixels; export it with --head macroblock")
    if is_on_grid and head == "pixels":
        raise InputError("this network outputs macroblocks, not pixels; export it with --head macroblock")
    logits, resize = graph.output[0].name, None
    if head == "macroblock" and not is_on_grid:
        resize = _final_resize(graph, logits)
        logits = resize.input[0]
    constants = _Constants()
    before = _input_nodes(normalisation, grid, shrink, graph.input[0].name, constants)
    after = _level_nodes(logits, levels, constants)
    if resize:
        after += _macroblock_nodes(network, resize, grid, shrink, constants)
    # only rounding exceeds the bounds
    bounds = [constants.add("zero", np.float32(0)), constants.add("one", np.float32(1))]
    after.append(helper.make_node("Clip", [after[-1].output[0], *bounds], [OUTPUT]))
    nodes = [node for node in graph.node if node != resize]
    _rename(before, nodes, after, {tensor.name for tensor in graph.initializer if 0 in tensor.dims})
    frames = shape_of(graph.input[0])[0] or DYNAMIC
    out_hw = (grid.height, grid.width) if head == "pixels" else grid.shape
    whole = helper.make_graph(
        _needed([*before, *nodes, *after]),
        "region_importance_predictor",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [frames, grid.height, grid.width, 3])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [frames, *out_hw])],
        [*graph.initializer, *constants.tensors],
    )
    _drop_unused_constants(whole)
    model = helper.make_model(whole, opset_imports=network.opset_import, ir_version=network.ir_version)
    slim = onnxslim.slim(model)
    helper.set_model_props(slim, {key: str(value) for key, value in metadata.items()})
    onnx.checker.check_model(slim)
    return slim


@dataclass(frozen=True)
class _Constants:
    """The constants of the nodes around a network."""

    tensors: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, name: str, value: Any) -> str:
        """Add an array or a number; the name to read it by."""
        self.tensors.append(numpy_helper.from_array(value, f"kit.{name}"))
        return str(self.tensors[-1].name)


def _input_nodes(
    normalisation: Normalisation, grid: MacroblockGrid, shrink: int, network_input: str, constants: _Constants
) -> list[onnx.NodeProto]:
    """The graph's input, uint8 NHWC BGR → `network_input`, as the network expects it."""
    return [
        # TensorRT has uint8 as the type of inputs only, which a Cast must read
        helper.make_node("Cast", [INPUT], ["kit.nhwc"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["kit.nhwc"], ["kit.float"], perm=[0, 3, 1, 2]),
        *_normalising(normalisation, grid, shrink, network_input, constants),
    ]


def _level_nodes(logits: str, levels: int, constants: _Constants) -> list[onnx.NodeProto]:
    """Logits [N, levels, h, w] → expected level in [0, 1], [N, h, w]."""
    weights = np.linspace(0, 1, levels, dtype=np.float32).reshape(1, levels, 1, 1)
    weighted = ["kit.shares", constants.add("levels", weights)]
    summed = ["kit.weighted", constants.add("axis", np.array([1]))]
    return [
        helper.make_node("Softmax", [logits], ["kit.shares"], axis=1),
        helper.make_node("Mul", weighted, ["kit.weighted"]),
        helper.make_node("ReduceSum", summed, ["kit.expected"], keepdims=0),
    ]


def _macroblock_nodes(
    network: onnx.ModelProto, resize: onnx.NodeProto, grid: MacroblockGrid, shrink: int, constants: _Constants
) -> list[onnx.NodeProto]:
    """The expected level before the network's `resize` → its mean over each macroblock, [N, rows, cols]."""
    coordinates = _attribute(resize, "coordinate_transformation_mode", "half_pixel")
    rows, cols = (
        macroblock_matrix(low, full, grid.mb_size // shrink, coordinates).astype(np.float32)
        for low, full in zip(_low_size_hw(network, resize), shape_of(network.graph.input[0])[2:], strict=True)
    )
    return [
        helper.make_node("MatMul", [constants.add("rows", rows), "kit.expected"], ["kit.rows_done"]),
        helper.make_node("MatMul", ["kit.rows_done", constants.add("cols", cols.T.copy())], ["kit.blocks"]),
    ]


def _rename(
    before: list[onnx.NodeProto], nodes: list[onnx.NodeProto], after: list[onnx.NodeProto], empty: set[str]
) -> None:
    """Name the network's nodes by their order, those around it by their outputs. empty: constants of size 0."""
    for number, node in enumerate(nodes):
        node.name = f"network/{number}"
        if node.op_type == "Resize":  # unused regions and scales, where sizes are given, may be left out
            node.input[:] = ["" if name in empty else name for name in node.input]
    for node in (*before, *after):
        node.name = KIT_NODE + node.output[0].removeprefix("kit.")


def _drop_unused_constants(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _normalising(
    normalisation: Normalisation,
    grid: MacroblockGrid,
    shrink: int,
    network_input: str,
    constants: _Constants,
) -> list[onnx.NodeProto]:
    """'kit.float', BGR in 0..255 → `network_input`, RGB as the network expects it, at 1/shrink of the size.

    Shrinking and normalisation are one convolution, which took OpenVINO a third of the time of an AveragePool; the last
    pixels are repeated to a multiple of `shrink` first.
    """
    mean, std = (np.asarray(v, np.float32) for v in (normalisation.mean, normalisation.std))
    if shrink == 1:
        scale, shift = (values.reshape(1, 3, 1, 1) for values in (1 / (255 * std), -mean / std))
        return [
            helper.make_node(
                "Gather", ["kit.float", constants.add("rgb", np.array([2, 1, 0]))], ["kit.red_first"], axis=1
            ),
            helper.make_node("Mul", ["kit.red_first", constants.add("scale", scale)], ["kit.scaled"]),
            helper.make_node("Add", ["kit.scaled", constants.add("shift", shift)], [network_input]),
        ]
    down, right = -grid.height % shrink, -grid.width % shrink
    nodes, last = [], "kit.float"
    if down or right:
        pads = constants.add("pads", np.array([0, 0, 0, 0, 0, 0, down, right]))
        nodes, last = [helper.make_node("Pad", [last, pads], ["kit.whole"], mode="edge")], "kit.whole"
    weights = np.zeros((3, 3, shrink, shrink), np.float32)
    weights[[0, 1, 2], [2, 1, 0]] = (1 / (255 * std * shrink**2)).reshape(3, 1, 1)
    inputs = [last, constants.add("weights", weights), constants.add("bias", -mean / std)]
    return [*nodes, helper.make_node("Conv", inputs, [network_input], kernel_shape=[shrink] * 2, strides=[shrink] * 2)]


def _attribute(node: onnx.NodeProto, name: str, default: str) -> str:
    return next((a.s.decode() for a in node.attribute if a.name == name), default)


def _final_resize(graph: onnx.GraphProto, logits: str) -> onnx.NodeProto:
    """The linear Resize at the network's end (perhaps followed by Identity)."""
    maker = {output: node for node in graph.node for output in node.output}
    node = maker[logits]
    while node.op_type == "Identity":
        node = maker[node.input[0]]
    coordinates = _attribute(node, "coordinate_transformation_mode", "half_pixel")
    if node.op_type != "Resize" or _attribute(node, "mode", "") != "linear" or coordinates not in SOURCE_OF:
        raise InputError(f"this network ends in {node.op_type}, not in a bilinear upsampling; export it --head pixels")
    return node


def _low_size_hw(network: onnx.ModelProto, resize: onnx.NodeProto) -> tuple[int, int]:
    inferred = onnx.shape_inference.infer_shapes(network, data_prop=True)
    shapes = {value.name: shape_of(value) for value in inferred.graph.value_info}
    height, width = shapes[resize.input[0]][2:]
    return height, width


def _needed(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes that the output depends on, in their order."""
    wanted, kept = {OUTPUT}, []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]
