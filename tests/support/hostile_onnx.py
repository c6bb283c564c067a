"""Predictors that are valid in form and ask an engine for too much: memory, time, or bytes that are not there."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from regenhance_data.grid import MacroblockGrid
from tests.support.predictors import metadata_of

HW = (48, 64)
_LARGE = 2**31


def _model(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray | onnx.TensorProto]) -> onnx.ModelProto:
    """A predictor's file: `nodes` lead from `frames`, uint8 [1, 48, 64, 3], to `importance`, float32 [1, 3, 4]."""
    grid = MacroblockGrid(*HW)
    tensors = [
        numpy_helper.from_array(value, name) if isinstance(value, np.ndarray) else value
        for name, value in constants.items()
    ]
    graph = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, *HW, 3])],
        [helper.make_tensor_value_info("importance", TensorProto.FLOAT, [1, *grid.shape])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata_of("hostile", "macroblock", grid))
    return model


def _to_importance(name: str) -> list[onnx.NodeProto]:
    """Nodes from a tensor of any size to importance."""
    return [
        helper.make_node("ReduceMax", [name], ["most"], keepdims=0),
        helper.make_node("Expand", ["most", "grid"], ["importance"]),
    ]


_GRID = {"grid": np.array([1, 3, 4])}


def _large(op_type: str, inputs: dict[str, np.ndarray], **attributes: object) -> onnx.ModelProto:
    """One node of constants, whose output is too large."""
    node = helper.make_node(op_type, list(inputs), ["large"], **attributes)
    return _model([node, *_to_importance("large")], {**inputs, **_GRID})


def _computed_size() -> onnx.ModelProto:
    """A size that is a product, 65537 · 2**20, which is small in 32 bits."""
    nodes = [
        helper.make_node("Mul", ["side", "other"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["large"]),
    ]
    return _model(
        [*nodes, *_to_importance("large")], {"side": np.array([2**20]), "other": np.array([2**16 + 1]), **_GRID}
    )


def _unknown_size() -> onnx.ModelProto:
    """A size that no inference of shapes sees: the sum of what is not zero, times 2**20."""
    nodes = [
        helper.make_node("NonZero", ["ones"], ["where"]),
        helper.make_node("ReduceSum", ["where"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "many"], ["length"]),
        helper.make_node("Reshape", ["length", "one"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["large"]),
    ]
    constants = {"ones": np.ones(2**10, np.float32), "many": np.array(2**22), "one": np.array([1])}
    return _model([*nodes, *_to_importance("large")], {**constants, **_GRID})


def _doubled() -> onnx.ModelProto:
    """A frame that is concatenated with itself, 40 times."""
    nodes = [helper.make_node("Cast", ["frames"], ["x0"], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("Concat", [f"x{n}", f"x{n}"], [f"x{n + 1}"], axis=1) for n in range(40)]
    return _model([*nodes, *_to_importance("x40")], _GRID)


def _slow() -> onnx.ModelProto:
    """Two hundred products of matrices of 8192 × 8192."""
    nodes = [
        helper.make_node("Cast", ["frames"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["floats"], ["x"], keepdims=0),
        helper.make_node("Expand", ["x", "size"], ["m0"]),
    ]
    nodes += [helper.make_node("MatMul", [f"m{n}", f"m{n}"], [f"m{n + 1}"]) for n in range(200)]
    return _model([*nodes, *_to_importance("m200")], {"size": np.array([2**13, 2**13]), **_GRID})


def _flow(op_type: str) -> onnx.ModelProto:
    """A nested graph that counts to 2**62, or an If around it."""
    value = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", 7), ("go", 9), ("v", 1))]
    steps = [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Add", ["v", "v"], ["sum"])]
    ends = [helper.make_tensor_value_info("goes", TensorProto.BOOL, []), helper.make_tensor_value_info("sum", 1, [])]
    loop = helper.make_node("Loop", ["trips", "yes", "zero"], ["most"], body=helper.make_graph(steps, "b", value, ends))
    if op_type == "If":
        made = [helper.make_tensor_value_info("most", TensorProto.FLOAT, [])]
        branch = helper.make_graph([loop], "t", [], made)
        loop = helper.make_node("If", ["yes"], ["most"], then_branch=branch, else_branch=branch)
    constants = {"trips": np.array(2**62), "yes": np.array(True), "zero": np.array(0, np.float32), **_GRID}
    return _model([loop, helper.make_node("Expand", ["most", "grid"], ["importance"])], constants)


def _function(op_type: str = "F", domain: str = "own") -> onnx.ModelProto:
    """A function of the file's own that calls itself, or is another operator."""
    model = _model([helper.make_node("F", ["frames"], ["importance"], domain="own")], {})
    call = helper.make_node(op_type, ["x"], ["y"], domain=domain)
    own = helper.make_opsetid("own", 1)
    model.functions.append(helper.make_function("own", "F", ["x"], ["y"], [call], [own]))
    model.opset_import.append(own)
    return model


def _short(kind: int, field: str, count: int, in_node: bool = False) -> onnx.ModelProto:
    """A constant that has less content than its shape and type say."""
    tensor = TensorProto(name="axes", data_type=kind, dims=[3])
    if field == "raw_data":
        tensor.raw_data = bytes(count)
    else:
        getattr(tensor, field).extend([1] * count)
    nodes = [
        helper.make_node("Cast", ["frames"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["floats", "axes"], ["sum"], keepdims=0),
        helper.make_node("Expand", ["sum", "grid"], ["importance"]),
    ]
    if in_node:
        return _model([helper.make_node("Constant", [], ["axes"], value=tensor), *nodes], _GRID)
    return _model(nodes, {"axes": tensor, **_GRID})


def _circle() -> onnx.ModelProto:
    """A node that reads what it makes, by way of another."""
    nodes = [helper.make_node("Add", ["x", "y"], ["z"]), helper.make_node("Identity", ["z"], ["y"])]
    return _model(
        [helper.make_node("Cast", ["frames"], ["x"], to=TensorProto.FLOAT), *nodes, *_to_importance("y")], _GRID
    )


def _sparse() -> onnx.ModelProto:
    model = _model([helper.make_node("Expand", ["weights", "grid"], ["importance"])], _GRID)
    values, indices = numpy_helper.from_array(np.ones(1, np.float32), "weights"), numpy_helper.from_array(np.array([9]))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2**40]))
    return model


def _lying() -> onnx.ModelProto:
    """A large tensor that the file itself says is small."""
    model = _large("ConstantOfShape", {"size": np.array([_LARGE])})
    model.graph.value_info.append(helper.make_tensor_value_info("large", TensorProto.FLOAT, [1]))
    return model


_PICTURE = np.ones((1, 1, 8, 8), np.float32)
_RESIZED = {"x": _PICTURE, "none": np.zeros(0, np.float32), "by": np.array([1, 1, 1e4, 1e4], np.float32)}
HOSTILE: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "int64 of 4 bytes": (lambda: _short(TensorProto.INT64, "raw_data", 4), "axes has 4 of 24 bytes"),
    "int64 of 2 values": (lambda: _short(TensorProto.INT64, "int64_data", 2), "axes has 2 of 3 values"),
    "half of 5 bytes": (lambda: _short(TensorProto.FLOAT16, "raw_data", 5), "axes has 5 of 6 bytes"),
    "four bits of 1 byte": (lambda: _short(TensorProto.INT4, "raw_data", 1), "axes has 1 of 2 bytes"),
    "complex of 5 values": (lambda: _short(TensorProto.COMPLEX64, "float_data", 5), "axes has 5 of 6 values"),
    "no values": (lambda: _short(TensorProto.INT64, "raw_data", 0), "axes has 0 of 24 bytes"),
    "unknown type": (lambda: _short(77, "raw_data", 24), "unknown type, number 77"),
    "short in a node": (lambda: _short(TensorProto.INT64, "raw_data", 4, in_node=True), "axes has 4 of 24 bytes"),
    "ConstantOfShape": (lambda: _large("ConstantOfShape", {"size": np.array([_LARGE])}), "ConstantOfShape asks for"),
    "Expand": (lambda: _large("Expand", {"x": _PICTURE, "to": np.array([_LARGE, 1, 8, 8])}), "Expand asks for"),
    "Tile": (lambda: _large("Tile", {"x": _PICTURE, "by": np.array([1, 1, 2**15, 2**15])}), "Tile asks for"),
    "Range": (lambda: _large("Range", {"a": np.array(0), "b": np.array(2**40), "c": np.array(1)}), "Range asks for"),
    "Pad": (lambda: _large("Pad", {"x": _PICTURE, "by": np.array([0, 0, 0, 0, 0, 0, 2**15, 2**15])}), "Pad asks for"),
    "Resize": (lambda: _large("Resize", _RESIZED), "Resize asks for"),
    "RandomUniform": (lambda: _large("RandomUniform", {}, shape=[_LARGE]), "RandomUniform asks for"),
    "computed size": (_computed_size, "ConstantOfShape asks for"),
    "doubled": (_doubled, "Concat asks for"),
    "lying": (_lying, "ConstantOfShape asks for"),
    "slow": (_slow, "multiplications"),
    "Loop": (lambda: _flow("Loop"), "has Loop"),
    "If": (lambda: _flow("If"), "has If"),
    "function": (_function, "has a function of its own"),
    "loop in a function": (lambda: _function("Loop", ""), "has a function of its own"),
    "Scan": (lambda: _model([helper.make_node("Scan", ["frames"], ["importance"])], {}), "has Scan"),
    "circle": (_circle, "input depends on its output"),
    "sparse": (_sparse, "sparse weights"),
    "unknown size": (_unknown_size, ""),
}


def write_hostile(path: Path, name: str) -> Path:
    """Write one of HOSTILE, by its name."""
    path.write_bytes(HOSTILE[name][0]().SerializeToString())
    return path
