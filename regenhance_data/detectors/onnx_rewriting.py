"""ONNX graphs rewritten to what onnx2torch knows: opset 11 to 17, float32, and operators of this kit for the others.

| found | becomes |
| --- | --- |
| opset 18 and later | 17, where each operator means the same or is rewritten below |
| opset 10 and earlier | 11, likewise |
| float16, bfloat16, double | float32 |
| static quantisation (Q/DQ nodes, QLinear* operators) | weights as floats; activations rounded, yet differentiable |
| dynamic quantisation, Loop, Scan, If | refused |
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from regenhance_data.detectors.onnx_graph import FLOATS, Constants, GraphInputs, with_shapes
from regenhance_data.detectors.onnx_operators import DOMAIN, OPERATORS
from regenhance_data.errors import InputError
from regenhance_data.io.onnx_files import tensors_of

OLDEST, NEWEST = 11, 17  # the opsets that are kept
_KNOWN = 22  # the newest opset whose shapes onnx infers
_DYNAMIC = {"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"}
_BRANCHING = {"Loop", "Scan", "If", "SequenceMap"}
# Operators that onnx2torch has: those of this kit stand in for them only where they mean more.
_OF_BOTH = {"Resize", "Split"}
# In opset 18, their axes became an input.
_REDUCTIONS = {f"Reduce{name}" for name in ("L1", "L2", "Max", "Mean", "Min", "Prod", "SumSquare")}
_REDUCTIONS |= {"ReduceLogSum", "ReduceLogSumExp"}
# Operators that later opsets brought and that nothing here does.
_TOO_NEW = {
    "Attention",
    "RotaryEmbedding",
    "CenterCropPad",
    "Col2Im",
    "DeformConv",
    "AffineGrid",
    "DFT",
    "TensorScatter",
}


def other_form(opset: int) -> str:
    """What to export instead of a graph of an opset with operators that nothing here does."""
    if opset == NEWEST:
        return "export it to TorchScript, for torchscript:PATH"
    return f"export it again with opset={NEWEST} (from PyTorch also dynamo=False), or to TorchScript, torchscript:PATH"


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators in a graph."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)


class _Rewriting:
    """One graph while its nodes are rewritten: its constants, its opset, and the new nodes."""

    def __init__(self, model: onnx.ModelProto, path: Path) -> None:
        self.model, self.path = model, path
        self.opset = opset_of(model)
        self.constants = Constants(model.graph)
        self.shapes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*model.graph.value_info, *model.graph.input, *model.graph.output)
        }
        self._count = 0

    def refusal(self, problem: str, mend: str = "") -> InputError:
        return InputError(f"{self.path}: {problem}; {mend or other_form(self.opset)}")

    def constant(self, value: Sequence[int] | Sequence[float] | np.ndarray) -> str:
        """The name of a new constant."""
        self._count += 1
        name = f"regenhance_{self._count}"
        array = np.asarray(value)
        self.model.graph.initializer.append(numpy_helper.from_array(array, name))
        self.constants.store(name, self.model.graph.initializer[-1])
        return name

    def value(self, node: NodeProto, index: int) -> np.ndarray | None:
        """A constant input, None where it is missing. InputError where it is computed."""
        if len(node.input) <= index or not node.input[index]:
            return None
        if node.input[index] not in self.constants:
            raise self.refusal(f"its {node.op_type} computes what must be a constant (opset {self.opset})")
        return self.constants[node.input[index]]


def rewritten(model: onnx.ModelProto, inputs: GraphInputs, path: Path) -> onnx.ModelProto:
    """The graph as onnx2torch takes it, with the same outputs for the same pixels (of uint8: as float32 0..255).

    InputError that names what cannot be rewritten.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    kinds = {node.op_type for node in made.graph.node}
    if kinds & _DYNAMIC:
        raise InputError(f"{path}: is dynamically quantised, which has no gradient; give the float file it was made of")
    if kinds & _BRANCHING:
        what = ", ".join(sorted(kinds & _BRANCHING))
        raise InputError(f"{path}: has branches or loops ({what}); export the detector alone, without its NMS")
    opset = opset_of(made)
    _set_opset(made, min(opset, _KNOWN))
    del made.functions[:]  # none is called: an operator of another domain is refused
    made = with_shapes(made)
    rewriting = _Rewriting(made, path)
    rewriting.opset = opset
    nodes = [new for node in made.graph.node for new in _rewritten_node(node, rewriting)]
    outputs = {value.name for value in made.graph.output}
    nodes = [new for node in nodes for new in _own_outputs(node, outputs)]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    _fold_constants(made)
    _set_opset(made, min(max(opset, OLDEST), NEWEST))
    _as_float32(made)
    for value in made.graph.input:
        if value.name == inputs.image:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    return made


def _own_outputs(node: NodeProto, outputs: set[str]) -> list[NodeProto]:
    """The node, and an Identity for each of its outputs that the graph puts out, where it has several: onnx2torch would
    return them all.
    """
    made = [node]
    for number, name in enumerate(node.output if len(node.output) > 1 else ()):
        if name in outputs:
            node.output[number] = f"{name}_of_several"
            made.append(helper.make_node("Identity", [node.output[number]], [name]))
    return made


def _set_opset(model: onnx.ModelProto, version: int) -> None:
    others = [entry for entry in model.opset_import if entry.domain not in ("", "ai.onnx", DOMAIN)]
    kept = [(entry.domain, entry.version) for entry in others]
    del model.opset_import[:]
    for domain, number in (("", version), (DOMAIN, 1), *kept):
        model.opset_import.append(helper.make_opsetid(domain, number))
    model.ir_version = min(max(model.ir_version, 3), 10)


def _rewritten_node(node: NodeProto, graph: _Rewriting) -> list[NodeProto]:
    if node.domain not in ("", "ai.onnx") and node.op_type not in ("QuantizeLinear", "DequantizeLinear", "Gelu"):
        if node.op_type in _QLINEAR:
            return _QLINEAR[node.op_type](node, graph)
        mend = "export it for ONNX Runtime, without plug-ins or NMS"
        raise graph.refusal(f"has the operator {node.op_type} of {node.domain}, which only its own engine runs", mend)
    node.domain = ""
    if node.op_type in _TOO_NEW:
        raise graph.refusal(f"has the operator {node.op_type} of opset {graph.opset}")
    rewrite = _REWRITES.get(node.op_type)
    made = rewrite(node, graph) if rewrite else [node]
    for new in made:
        if new.op_type in OPERATORS.keys() - _OF_BOTH and not new.domain:
            new.domain = DOMAIN  # `opset` tells which meaning the operator has
            new.attribute.append(helper.make_attribute("opset", graph.opset))
    return made


def _attributes(node: NodeProto) -> dict[str, object]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _without(node: NodeProto, *names: str) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)


# --- opset 10 and earlier ----------------------------------------------------------------------------------------
def _slice(node: NodeProto, graph: _Rewriting) -> list[NodeProto]:
    if graph.opset < 10:
        starts = np.array(_attributes(node)["starts"], np.int64)
        axes = np.arange(len(starts))
        values = {name: np.array(_attributes(node).get(name, axes), np.int64) for name in ("starts", "ends", "axes")}
        _without(node, *values)
        node.input.extend(graph.constant(value) for value in values.values())
    return [node]


def _pad(node: NodeProto, graph: _Rewriting) -> list[NodeProto]:
    given = _attributes(node)
    if graph.opset < 11:
        node.input.append(graph.constant(np.array(given["pads"], np.int64)))
        node.input.append(graph.constant(np.array(given.get("value", 0.0), np.float32)))
        _without(node, "pads", "value")
    axes = graph.value(node, 3) if len(node.input) > 3 else None
    if axes is not None:
        pads, rank = graph.value(node, 1), len(graph.shapes.get(node.input[0], ()))
        if not rank or pads is None:
            raise graph.refusal("its Pad has axes of a value of unknown rank")
        whole = np.zeros((2, rank), np.int64)
        whole[:, axes] = pads.reshape(2, -1)
        del node.input[3:]
        node.input[1] = graph.constant(whole.reshape(-1))
    if given.get("mode") == b"wrap":
        raise graph.refusal("its Pad wraps around")
    return [node]


def _clip(node: NodeProto, graph: _Rewriting) -> list[NodeProto]:
    """Of floats between constants: with both of them. Else Max and Min, which take integers and computed bounds too."""
    bounds = {kind: name for kind, name in zip(("Max", "Min"), node.input[1:], strict=False) if name}
    found = {kind: graph.constants[name] for kind, name in bounds.items() if name in graph.constants}
    if graph.opset < 11:
        given = _attributes(node)
        named = (("Max", "min"), ("Min", "max"))
        found = {kind: np.array(given[name], np.float32) for kind, name in named if name in given}
    elif not bounds or found.keys() != bounds.keys() or any(value.dtype.kind != "f" for value in found.values()):
        made, value = [], node.input[0]
        for kind, name in bounds.items():
            made.append(helper.make_node(kind, [value, name], [f"{node.output[0]}_{kind.lower()}"]))
            value = made[-1].output[0]
        return [*made, helper.make_node("Identity", [value], node.output)]
    limits = {"Max": np.array(np.finfo(np.float32).min), "Min": np.array(np.finfo(np.float32).max), **found}
    return [helper.make_node("Clip", [node.input[0], *map(graph.constant, limits.values())], node.output)]


def _top_k(node: NodeProto, graph: _Rewriting) -> list[NodeProto]:
    if graph.opset < 10:
        node.input.append(graph.constant(np.array([_attributes(node)["k"]], np.int64)))
        _without(node, "k")
    return [node]


def _dropout(node: NodeProto, graph: _Rewriting) -> list[NodeProto]:
    return [helper.make_node("Identity", node.input[:1], node.output[:1])]


def _resize(node: NodeProto, graph: _Rewriting) -> list[NodeProto]:
    """Resize of this kit, save for the modes that PyTorch has: onnx2torch takes all modes for these."""
    given = _attributes(node)
    how = [given.get(name, b"") for name in ("mode", "coordinate_transformation_mode", "nearest_mode")]
    is_plain = not {"axes", "antialias", "keep_aspect_ratio_policy"} & given.keys()
    if graph.opset >= 11 and is_plain and (how[0], how[1]) == (b"nearest", b"asymmetric") and how[2] == b"floor":
        return [node]
    if graph.opset < 11:
        scales = node.input[1] if len(node.input) > 1 else graph.constant(np.array(given["scales"], np.float32))
        inputs = [node.input[0], "", scales]
        more = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    else:
        inputs, more = list(node.input), {}
    made = helper.make_node("Resize", inputs, node.output, node.name, domain=DOMAIN, **more)
    made.attribute.extend(attribute for attribute in node.attribute if attribute.name != "scales")
    return [made]


# --- opset 18 and later ------------------------------------------------------------------------------------------
def _reduction(node: NodeProto, graph: _Rewriting) -> list[NodeProto]:
    rank = len(graph.shapes.get(node.input[0], ()))
    made = _with_axes_attribute(node, graph) if graph.opset >= 18 else [node]
    if not _attributes(made[0]).get("axes"):  # as PyTorch writes it for all axes
        _without(made[0], "axes")
    for attribute in made[0].attribute:  # onnx2torch sorts axes, and negative ones then stand before the others
        if attribute.name == "axes" and rank:
            attribute.ints[:] = [axis % rank for axis in attribute.ints]
    return made


def _with_axes_attribute(node: NodeProto, graph: _Rewriting) -> list[NodeProto]:
    axes, no_axes_no_work = graph.value(node, 1), _attributes(node).get("noop_with_empty_axes", 0)
    if (axes is None or not axes.size) and no_axes_no_work:
        return [helper.make_node("Identity", node.input[:1], node.output)]
    del node.input[1:]
    _without(node, "noop_with_empty_axes")
    if axes is not None and axes.size:
        node.attribute.append(helper.make_attribute("axes", axes.reshape(-1).tolist()))
    return [node]


def _split(node: NodeProto, graph: _Rewriting) -> list[NodeProto]:
    given = _attributes(node)
    if graph.opset >= 18 and "num_outputs" in given:
        node.domain = DOMAIN
    return [node]


def _reshape(node: NodeProto, graph: _Rewriting) -> list[NodeProto]:
    """Without `allowzero`, which PyTorch's newer exporter always writes: it means something only where a size is 0."""
    if node.input[1] not in graph.constants or graph.constants[node.input[1]].all():
        _without(node, "allowzero")
    return [node]


def _average_pool(node: NodeProto, graph: _Rewriting) -> list[NodeProto]:
    dilations = _attributes(node).get("dilations", [1])
    if any(value != 1 for value in dilations):  # type: ignore[attr-defined]
        raise graph.refusal("its AveragePool has dilations")
    _without(node, "dilations")
    return [node]


def _scatter_nd(node: NodeProto, graph: _Rewriting) -> list[NodeProto]:
    if _attributes(node).get("reduction", b"none") != b"none":
        raise graph.refusal("its ScatterND reduces")
    return [node]


# --- static quantisation -----------------------------------------------------------------------------------------
def _dequantize(node: NodeProto, graph: _Rewriting) -> list[NodeProto]:
    """Of a constant: the constant in float32. Of an activation: an operator of this kit."""
    if _attributes(node).get("block_size", 0):
        raise graph.refusal("is quantised in blocks", "give the float file it was made of")
    if not all(name in graph.constants for name in node.input if name):
        return [node]
    value, scale, zero = (graph.value(node, index) for index in range(3))
    assert value is not None
    assert scale is not None
    shape = [1] * value.ndim
    if scale.ndim == 1 and scale.size > 1:
        shape[int(_attributes(node).get("axis", 1))] = -1  # type: ignore[call-overload]
    scale = scale.astype(np.float32).reshape(shape if scale.size > 1 else ())
    zeros = np.zeros((), np.int32) if zero is None else zero.astype(np.int32).reshape(shape if zero.size > 1 else ())
    result = ((value.astype(np.int32) - zeros) * scale).astype(np.float32)
    name = graph.constant(result)
    graph.constants.store(node.output[0], graph.model.graph.initializer[-1])
    return [helper.make_node("Identity", [name], node.output)]


def _qlinear(kind: str, floats: int = 1, weights: bool = False) -> Callable[[NodeProto, _Rewriting], list[NodeProto]]:
    """An operator on quantised values as its kind on floats, between DequantizeLinear and QuantizeLinear.

    floats: how many inputs (value, scale, zero point) precede the scale and zero point of the output. weights: the
    second is a weight with one scale for each of its outputs, and an int32 bias follows the output's zero point.
    """

    def rewrite(node: NodeProto, graph: _Rewriting) -> list[NodeProto]:
        given, base = list(node.input), node.output[0]
        count = (len(given) - 2) // 3 if floats == 0 else floats
        at = 2 if floats == 0 else 0  # the output's scale and zero point come first
        out = given[:2] if floats == 0 else given[3 * count : 3 * count + 2]
        nodes, inputs = [], []
        for number in range(count):
            triple, name = given[at + 3 * number : at + 3 * number + 3], f"{base}_float_{number}"
            axis = {"axis": 0} if weights and kind == "Conv" else {}
            nodes += _dequantize(helper.make_node("DequantizeLinear", triple, [name], **axis), graph)
            inputs.append(name)
        if weights and len(given) > 3 * count + 2:
            scale = graph.value(node, 1) * graph.value(node, 4)  # type: ignore[operator]
            bias = graph.value(node, 3 * count + 2)
            inputs.append(graph.constant((bias * scale.reshape(-1)).astype(np.float32)))
        made = helper.make_node(kind, inputs, [f"{base}_float"])
        made.attribute.extend(
            attribute for attribute in node.attribute if attribute.name not in ("channels_last", "opset")
        )
        nodes += [made, helper.make_node("QuantizeLinear", [f"{base}_float", *out], [base])]
        return [new for one in nodes for new in (_rewritten_node(one, graph) if one.op_type != kind else [one])]

    return rewrite


_QLINEAR = {
    "QLinearAdd": _qlinear("Add", 2),
    "QLinearMul": _qlinear("Mul", 2),
    "QLinearSigmoid": _qlinear("Sigmoid"),
    "QLinearLeakyRelu": _qlinear("LeakyRelu"),
    "QLinearSoftmax": _qlinear("Softmax"),
    "QLinearGlobalAveragePool": _qlinear("GlobalAveragePool"),
    "QLinearConcat": _qlinear("Concat", 0),
}
_REWRITES: dict[str, Callable[[NodeProto, _Rewriting], list[NodeProto]]] = {
    **dict.fromkeys(_REDUCTIONS, _reduction),
    "AveragePool": _average_pool,
    "Clip": _clip,
    "DequantizeLinear": _dequantize,
    "Dropout": _dropout,
    "Pad": _pad,
    "QLinearConv": _qlinear("Conv", 2, weights=True),
    "QLinearMatMul": _qlinear("MatMul", 2),
    "Reshape": _reshape,
    "Resize": _resize,
    "ScatterND": _scatter_nd,
    "Slice": _slice,
    "Split": _split,
    "TopK": _top_k,
    "Upsample": _resize,
}


# --- the whole graph ---------------------------------------------------------------------------------------------
def _fold_constants(model: onnx.ModelProto) -> None:
    """Weights of convolutions that come through a Constant or an Identity as stored tensors, where onnx2torch looks."""
    stored = {tensor.name for tensor in model.graph.initializer}
    constants = Constants(model.graph)
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose", "BatchNormalization", "Gemm"):
            for name in node.input[1:]:
                if name in constants and name not in stored:
                    model.graph.initializer.append(numpy_helper.from_array(constants[name], f"{name}_stored"))
                    stored.add(f"{name}_stored")
                    node.input[list(node.input).index(name)] = f"{name}_stored"


def _as_float32(model: onnx.ModelProto) -> None:
    """Make every floating-point value float32."""
    for tensor in tensors_of(model):
        if tensor.data_type in FLOATS[1:]:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.elem_type in FLOATS:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i in FLOATS:
                attribute.i = TensorProto.FLOAT
