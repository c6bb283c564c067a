"""Checks of a predictor's graph for TensorRT, without TensorRT and without a GPU.

The rules are those of TensorRT 8.6's parser (onnx-tensorrt, docs/operators.md of release 8.6), which later releases
relax, and of explicit quantisation and strong typing in TensorRT's developer guide, as far as a segmentation network
can break them. Nested graphs (If, Loop, Scan) are refused; no network of this kit has one.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from deploy.artifacts.onnx import shape_of
from regenhance_data.errors import one_line

OPSETS = range(9, 18)  # of TensorRT 8.6; 10 supports up to 20
OPERATORS = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip Concat
    Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout Einsum Elu
    Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool
    GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization GRU HardSigmoid HardSwish Identity
    InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
    LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization Min Mod Mul Neg NonMaxSuppression NonZero
    Not OneHot Or PRelu Pad Pow QuantizeLinear RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range
    Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign Round ScatterElements ScatterND Selu Shape Shrink
    Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh
    ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
    """.split()  # noqa: SIM905
)
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16}
_TYPES = _FLOATS | {TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL}
# operators on floats only, whose float inputs have one type under strong typing
_FLOAT_OPERATORS = frozenset(
    """
    AveragePool BatchNormalization Clip Conv ConvTranspose Elu Erf Exp Gemm GlobalAveragePool GlobalMaxPool HardSigmoid
    HardSwish InstanceNormalization LayerNormalization LeakyRelu Log MatMul MaxPool ReduceMean Relu Sigmoid Softmax Sqrt
    Tanh
    """.split()  # noqa: SIM905
)
_RESIZE = {
    "mode": {"linear", "nearest"},
    "coordinate_transformation_mode": {
        *("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners")
    },
    "nearest_mode": {"floor", "ceil", "round_prefer_floor", "round_prefer_ceil"},
    "keep_aspect_ratio_policy": {"stretch"},
}
_OUTPUT_CHANNEL = {"Conv": 0, "ConvTranspose": 1}  # axis of their weights
_CONSTANT_INPUTS = {  # index of the first
    **{"Squeeze": 1, "Unsqueeze": 1, "ReduceSum": 1, "Clip": 1, "Pad": 1},
    **{"Slice": 3, "TopK": 1, "CumSum": 1},
}


def problems(model: onnx.ModelProto) -> list[str]:
    """What TensorRT 8.6 and later would refuse, one line each; empty for a graph that should build."""
    try:
        onnx.checker.check_model(model, full_check=True)
        typed = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        return [f"is not valid ONNX ({one_line(error)})"]
    graph = _Graph(typed)
    return [
        *_opset(model),
        *_operators(graph),
        *_types(graph),
        *_shapes(graph),
        *_quantisation(graph),
    ]


def problems_of(content: bytes) -> list[str]:
    """`problems` of the bytes of an ONNX file."""
    return problems(onnx.load_model_from_string(content))


class _Graph:
    """A graph with the types, producers and consumers of its tensors."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.nodes = list(graph.node)
        self.inputs, self.outputs = list(graph.input), list(graph.output)
        values = [*graph.value_info, *graph.input, *graph.output]
        self.types = {value.name: value.type.tensor_type.elem_type for value in values}
        self.shapes = {value.name: value for value in values}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        made = [node for node in self.nodes if node.op_type == "Constant"]
        tensors = [(node.output[0], a.t) for node in made for a in node.attribute if a.name == "value"]
        self.constants |= dict(tensors)
        self.known = {*self.constants, *(node.output[0] for node in made)}  # constant when the engine is built
        self.types |= {name: tensor.data_type for name, tensor in self.constants.items()}
        self.maker = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)


def _opset(model: onnx.ModelProto) -> Iterator[str]:
    for used in model.opset_import:
        if used.domain not in ("", "ai.onnx"):
            yield f"uses operators of {used.domain}, for which TensorRT would need a plugin"
        elif used.version not in OPSETS:
            yield f"has opset {used.version}; TensorRT 8.6 knows {OPSETS[0]} to {OPSETS[-1]}"


def _operators(graph: _Graph) -> Iterator[str]:
    for operator in sorted({node.op_type for node in graph.nodes} - OPERATORS):
        yield f"has {operator}, which TensorRT does not support"
    for node in graph.nodes:
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
            yield f"{node.name}: {node.op_type} has a nested graph, which is not checked"
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Resize":
            for name, known in _RESIZE.items():
                value = attributes.get(name, b"").decode(errors="replace")
                if value and value not in known:
                    yield f"{node.name}: Resize with {name}={value}"
            if attributes.get("antialias"):
                yield f"{node.name}: Resize with antialiasing"
        if node.op_type in ("MaxPool", "AveragePool"):
            if any(size != 1 for size in attributes.get("dilations", [])):
                yield f"{node.name}: {node.op_type} with dilations"
            if len(node.output) > 1:
                yield f"{node.name}: MaxPool with indices"
        where = _CONSTANT_INPUTS.get(node.op_type)
        if where is not None and any(name and name not in graph.known for name in node.input[where:]):
            yield f"{node.name}: {node.op_type} with axes or bounds that are computed"


def _types(graph: _Graph) -> Iterator[str]:
    """Only supported types, uint8 and int8 only where allowed, and one float type at each operator."""
    inputs = {value.name for value in graph.inputs}
    quantised = {"QuantizeLinear", "DequantizeLinear"}
    for name, kind in graph.types.items():
        readers = graph.readers.get(name, [])
        if kind == TensorProto.UINT8:
            if name not in inputs or any(node.op_type != "Cast" for node in readers):
                yield f"{name}: uint8 that is no input read by a Cast alone"
        elif kind == TensorProto.INT8:
            if any(node.op_type not in quantised for node in readers):
                yield f"{name}: int8 outside of QuantizeLinear and DequantizeLinear"
        elif kind not in _TYPES:
            yield f"{name}: is {TensorProto.DataType.Name(kind)}, a type that TensorRT does not support"
    for node in graph.nodes:
        if node.op_type in quantised | {"Cast", "Resize"}:
            continue
        types = {graph.types.get(name) for name in node.input if name}
        if len(types & _FLOATS) > 1:
            yield f"{node.name}: {node.op_type} of float32 and float16 at once"
        if node.op_type in _FLOAT_OPERATORS and graph.types.get(node.input[0]) not in _FLOATS:
            yield f"{node.name}: {node.op_type} of integers"


def _shapes(graph: _Graph) -> Iterator[str]:
    """All sizes but the batch are known when an engine is built."""
    for value in (*graph.inputs, *graph.outputs):
        if min(shape_of(value)[1:], default=0) < 1:
            yield f"{value.name}: has a size other than the batch that is not fixed"
    for node in graph.nodes:
        for name in node.output:
            if name and not (name in graph.shapes and graph.shapes[name].type.tensor_type.HasField("shape")):
                yield f"{node.name}: has the output {name}, whose rank is not known"


def _quantisation(graph: _Graph) -> Iterator[str]:
    """Explicit quantisation: symmetric, in pairs, weights per output channel, no other inputs of a weighted node."""
    for node in graph.nodes:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        constants = [graph.constants.get(name) for name in node.input[1:]]
        if None in constants:
            yield f"{node.name}: its scale or zero point is computed"
            continue
        scale, *zero = (numpy_helper.to_array(constant) for constant in constants)
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            yield f"{node.name}: its scale is not positive and finite"
        if any(point.any() or point.dtype != np.int8 for point in zero) or not zero:
            yield f"{node.name}: its zero point is not 0 in int8"
        if node.op_type == "QuantizeLinear":
            if any(reader.op_type != "DequantizeLinear" for reader in graph.readers.get(node.output[0], [])):
                yield f"{node.name}: its output is not dequantised at once"
            if scale.size != 1:
                yield f"{node.name}: quantises an activation per channel"
        elif node.input[0] in graph.constants:
            if graph.constants[node.input[0]].data_type != TensorProto.INT8:
                yield f"{node.name}: dequantises a constant that is not int8"
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            readers = graph.readers.get(node.output[0], [])
            if scale.size > 1 and any(axis != _OUTPUT_CHANNEL.get(reader.op_type, axis) for reader in readers):
                yield f"{node.name}: its scales are not of output channels"
        elif node.input[0] not in graph.maker or graph.maker[node.input[0]].op_type != "QuantizeLinear":
            yield f"{node.name}: dequantises a value that is not quantised"
    for node in graph.nodes:
        if node.op_type in ("Conv", "ConvTranspose", "Gemm"):
            is_quantised = [
                name in graph.maker and graph.maker[name].op_type == "DequantizeLinear" for name in node.input
            ]
            if is_quantised[0] != is_quantised[1]:
                yield f"{node.name}: {node.op_type} of quantised and float values"
            if any(is_quantised[2:]):
                yield f"{node.name}: {node.op_type} with a quantised bias"
