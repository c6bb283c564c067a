"""ONNX files that are not trusted: what is checked before an engine, or ONNX itself, reads them.

ONNX's own checker and shape inference read past the end of a tensor that is shorter than its shape says, and an engine
allocates whatever a graph asks for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from regenhance_data.errors import InputError, one_line
from regenhance_data.io.files import read_bytes

_LOOPS = ("Loop", "Scan", "SequenceMap")
_CONTROL_FLOW = ("If", *_LOOPS)
_MOST_FILE_BYTES = 2 << 30  # as ONNX has it
# field of the values that are no raw_data, by data type; all others: int32_data
_FIELDS = {
    **{TensorProto.FLOAT: "float_data", TensorProto.COMPLEX64: "float_data"},
    **{TensorProto.DOUBLE: "double_data", TensorProto.COMPLEX128: "double_data"},
    **{TensorProto.INT64: "int64_data", TensorProto.UINT64: "uint64_data", TensorProto.UINT32: "uint64_data"},
    TensorProto.STRING: "string_data",
}
_INTEGERS = (TensorProto.INT32, TensorProto.INT64)
_COMPLEX = (TensorProto.COMPLEX64, TensorProto.COMPLEX128)
_NAMES = [*TensorProto.DataType.keys()]
_BITS = {
    **dict.fromkeys((TensorProto.UINT8, TensorProto.INT8, TensorProto.BOOL), 8),
    **dict.fromkeys((TensorProto.UINT16, TensorProto.INT16, TensorProto.FLOAT16, TensorProto.BFLOAT16), 16),
    **dict.fromkeys((TensorProto.FLOAT, TensorProto.INT32, TensorProto.UINT32), 32),
    **dict.fromkeys((TensorProto.DOUBLE, TensorProto.INT64, TensorProto.UINT64, TensorProto.COMPLEX64), 64),
    TensorProto.COMPLEX128: 128,
    **dict.fromkeys((getattr(TensorProto, name) for name in _NAMES if "FLOAT8" in name), 8),
    **dict.fromkeys((getattr(TensorProto, name) for name in _NAMES if name.endswith("INT4")), 4),
}
# Elements of one tensor, and of all that do not depend on the input: 1 GB in float32. An activation may be larger where
# the input is: a network has at most some tens of values for each value of its input.
MOST_ELEMENTS, MOST_TIMES_INPUT = 2**28, 64
# The same for networks of others, whose frames may be large: 4 GB, or 512 values for each of the input.
MOST_ELEMENTS_OF_OTHERS, MOST_TIMES_INPUT_OF_OTHERS = 2**30, 512
MOST_PRODUCTS = 10**14  # a run of a minute on a fast GPU, of an hour on a CPU
# Beyond these, or where a size is not known before the run, the static check vouches for nothing.
_SAFE_ELEMENTS, _SAFE_PRODUCTS = 2**31, 2 * 10**12
# A first run on one core, where its sizes are not known before: of a large network, and of one with branches or loops.
RUN_LIMIT_S, LOOP_LIMIT_S = 600.0, 60.0
_ABOVE_ZERO = {"strides", "kernel_shape", "dilations", "group", "blocksize", "num_outputs", "num_groups"}
_SMALL_BYTES = 4096  # of a constant whose values may be the sizes of other tensors
_MOST_SIZES = 64  # in one tensor
_OF_SIZES = (
    *("Add", "Cast", "Concat", "Div", "Gather", "Identity", "Mul"),
    *("Reshape", "Slice", "Squeeze", "Sub", "Unsqueeze"),
)
_BROKEN_NODE = (  # what ONNX raises
    *(onnx.defs.SchemaError, onnx.shape_inference.InferenceError, onnx.checker.ValidationError),
    *(LookupError, ValueError, RuntimeError, TypeError, AttributeError, ArithmeticError, NotImplementedError),
)


def read_model(path: Path, takes_weights_beside: bool = False) -> tuple[bytes, onnx.ModelProto]:
    """(the bytes of an ONNX file, its model). InputError where it is none, or is damaged.

    takes_weights_beside: whether its weights may be in other files of its folder, as PyTorch's newer exporter writes
    them; these are then in the model. No other file is read.
    """
    content = read_bytes(path, _MOST_FILE_BYTES)
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's and Python's own
        raise InputError(f"{path}: is not an ONNX file ({one_line(error)}); export or copy it again") from None
    if takes_weights_beside:
        _load_weights_beside(model, path)
    if problem := content_problem(model):
        raise InputError(f"{path}: is damaged: {problem}; export or copy it again")
    return content, model


def files_beside(path: Path) -> list[Path]:
    """The files of its folder in which an ONNX file has weights; none for what is no such file."""
    try:
        names = _names_beside(onnx.load_model_from_string(read_bytes(path, _MOST_FILE_BYTES)))
    except Exception:  # as in `read_model`, which says what is wrong
        return []
    return [path.parent / name for name in names if _is_beside(path, name)]


def _is_beside(path: Path, name: str) -> bool:
    """Whether a name is that of a file in the folder of `path`, which is no link."""
    try:
        return Path(name).name == name and not (path.parent / name).is_symlink() and (path.parent / name).is_file()
    except OSError:  # of a name that no file can have
        return False


def _names_beside(model: onnx.ModelProto) -> list[str]:
    places = (
        {entry.key: entry.value for entry in tensor.external_data}
        for tensor in tensors_of(model)
        if tensor.data_location == TensorProto.EXTERNAL
    )
    return sorted({place.get("location", "") for place in places})


def _load_weights_beside(model: onnx.ModelProto, path: Path) -> None:
    """Put weights that are in other files of the folder into the model. InputError for files elsewhere, or missing."""
    names = _names_beside(model)
    for name in names:
        if not _is_beside(path, name):
            raise InputError(
                f"{path}: has weights in {name[:80]!r}, which is no file beside it; copy both files together"
            )
    if sum((path.parent / name).stat().st_size for name in names) > _MOST_FILE_BYTES:
        raise InputError(f"{path}: has more than {_MOST_FILE_BYTES >> 30} GB of weights; give a smaller network")
    try:
        if names:
            onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # of onnx, for offsets and lengths that are none
        raise InputError(f"{path}: its weights are damaged ({one_line(error)}); export or copy them again") from None


def content_problem(model: onnx.ModelProto) -> str:
    """What is wrong with the tensors of a file: values elsewhere, or other than their shape and type say; '' if right.
    Or with attributes that ONNX divides by, and nodes whose inputs depend on their outputs, at which OpenVINO takes all
    memory.

    Includes tensors of attributes, nested graphs, functions and sparse tensors.
    """
    texts = (text for node in _all_nodes(model) for text in (node.op_type, *node.input, *node.output))
    if not all(isinstance(text, str) for text in texts):
        return "has names that are not text"
    if any(_has_circle(part.node) for part in (*_graphs(model), *model.functions)):
        return "a node's input depends on its output"
    for node in _all_nodes(model):
        for attribute in node.attribute:
            values = [*attribute.ints] or [attribute.i]
            is_given = not attribute.ref_attr_name  # else by the call of a function
            if attribute.name in _ABOVE_ZERO and is_given and min(values) < 1:
                return f"a {node.op_type} has {attribute.name} {values}"
    for tensor in tensors_of(model):
        name = tensor.name[:80] or "a constant"
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            return "has weights in another file, which is not checked"
        if min(tensor.dims, default=0) < 0:
            return f"{name} has the shape {list(tensor.dims)}"
        if tensor.data_type not in _BITS and tensor.data_type != TensorProto.STRING:
            return f"{name} has values of an unknown type, number {tensor.data_type}"
        has, wanted, unit = _amount(tensor)
        if has != wanted:
            return f"{name} has {has} of {wanted} {unit}"
    return ""


def _has_circle(nodes: Sequence[onnx.NodeProto]) -> bool:
    try:
        _sorter(nodes)
    except CycleError:
        return True
    return False


def in_order(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes of a graph, each after those whose outputs it reads; those that stand so already keep their places.

    CycleError where a node's input depends on its output.
    """
    sorter = _sorter(nodes)
    ready: list[int] = []
    ordered = []
    while sorter.is_active():
        for number in sorter.get_ready():
            heappush(ready, number)
        sorter.done(first := heappop(ready))
        ordered.append(nodes[first])
    return ordered


def _sorter(nodes: Sequence[onnx.NodeProto]) -> TopologicalSorter[int]:
    """Of the numbers of the nodes, prepared. CycleError where a node's input depends on its output."""
    maker = {name: number for number, node in enumerate(nodes) for name in node.output if name}
    needs = {number: {maker[name] for name in _needed(node) if name in maker} for number, node in enumerate(nodes)}
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    return sorter


def _needed(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node reads, and those that nested graphs of it take from outside."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            own = {name for inner in graph.node for name in inner.output}
            own |= {value.name for value in (*graph.input, *graph.initializer)}
            yield from (name for inner in graph.node for name in _needed(inner) if name not in own)


def _amount(tensor: TensorProto) -> tuple[int, int, str]:
    """(amount of content that a tensor has, amount that its shape and type need, its unit)."""
    count = prod(tensor.dims)
    bits = _BITS.get(tensor.data_type, 0)
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data), -(-count * bits // 8), "bytes"
    wanted = -(-count // 2) if bits == 4 else count * (2 if tensor.data_type in _COMPLEX else 1)
    return len(getattr(tensor, _FIELDS.get(tensor.data_type, "int32_data"))), wanted, "values"


def control_flow(model: onnx.ModelProto) -> str:
    """The first part of a graph that may run for ever: Loop, Scan, If, another nested graph, a function; '' if none."""
    for node in _nodes(model.graph.node):
        nested = any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute)
        if node.op_type in _CONTROL_FLOW or nested:
            return node.op_type
    return "a function of its own" if model.functions else ""


@dataclass(frozen=True)
class Demand:
    """What running a graph takes. problem: what it asks for beyond reason, or ''.

    is_bounded: all sizes are known before the run. is_known: and they are moderate.
    """

    problem: str
    is_known: bool
    is_bounded: bool = False


def check_network(path: Path, model: onnx.ModelProto, sizes: Mapping[str, Sequence[int]]) -> float | None:
    """Refuse a network of others that is damaged or asks for too much memory or time, before an engine reads it.

    sizes: the shapes of inputs, as in `demand_of`. Returns the seconds after which a first run should be stopped: None
    where its time is bounded, because all sizes are known before. InputError says what the graph asks for, and the
    limit.
    """
    if problem := content_problem(model):  # of functions too, which have been inlined since it was read
        raise InputError(f"{path}: is damaged: {problem}; export or copy it again")
    if loop := next((node.op_type for node in _all_nodes(model) if node.op_type in _LOOPS), ""):
        raise InputError(f"{path}: has {loop}, which may run for ever; export the network alone, without loops and NMS")
    if control_flow(model):
        return LOOP_LIMIT_S
    demand = demand_of(model, sizes, MOST_ELEMENTS_OF_OTHERS, MOST_TIMES_INPUT_OF_OTHERS)
    if demand.problem:
        raise InputError(f"{path}: {demand.problem}; export it again, or for smaller frames")
    return None if demand.is_bounded else RUN_LIMIT_S


def demand_of(
    model: onnx.ModelProto,
    sizes: Mapping[str, Sequence[int]] | None = None,
    most_elements: int = MOST_ELEMENTS,
    most_times_input: int = MOST_TIMES_INPUT,
) -> Demand:
    """What running a graph takes, by the sizes of its tensors. sizes: the shapes of inputs; without one, those that the
    file says, open ones taken as 1. Limits: of one value, in elements, and in elements for each of the input.

    The graph has no control flow, and `content_problem` finds nothing.
    """
    types, values = _given(model.graph, sizes or {})
    fixed = {"", *(tensor.name for tensor in model.graph.initializer)}
    given = sum(prod(_dims(types[port.name]) or [0]) for port in model.graph.input if port.name not in fixed)
    if given > 4 * MOST_ELEMENTS:
        return Demand(f"takes {given:.2g} values as its input", False)
    total = fixed_total = products = 0
    is_known = True
    for node in model.graph.node:
        is_fixed = all(name in fixed for name in node.input)
        made = _inferred(node, types, values, model.opset_import)
        for name in filter(None, node.output):
            shape = _dims(made[name]) if name in made else None
            if shape is None:
                is_known = False
                continue
            # before a later node, whose shape may be as long as this tensor, is looked at
            size = prod(shape)
            total, fixed_total = total + size, fixed_total + is_fixed * size
            most = MOST_ELEMENTS if is_fixed else max(most_elements, most_times_input * given)
            if size > most or fixed_total > MOST_ELEMENTS:
                return Demand(f"{node.op_type} asks for {size:.2g} values in {name[:80]} (at most {most:.2g})", False)
            types[name] = made[name]
        values |= _sizes(node, types, values)
        fixed.update(node.output if is_fixed else ())
        products += _products(node, types)
    if products > MOST_PRODUCTS:
        return Demand(f"needs {products:.1g} multiplications (at most {MOST_PRODUCTS:.0e})", False)
    return Demand("", is_known and total < _SAFE_ELEMENTS and products < _SAFE_PRODUCTS, is_known)


def _given(
    graph: onnx.GraphProto, sizes: Mapping[str, Sequence[int]]
) -> tuple[dict[str, onnx.TypeProto], dict[str, TensorProto]]:
    """(types of inputs and constants, the small constants), by name."""
    types = {}
    for port in graph.input:
        types[port.name] = onnx.TypeProto()
        types[port.name].CopyFrom(port.type)
        dims = types[port.name].tensor_type.shape.dim
        for dim, size in zip(dims, sizes.get(port.name) or [dim.dim_value for dim in dims], strict=False):
            dim.dim_value = max(size, 1)
    made = [node for node in graph.node if node.op_type == "Constant" and len(node.output) == 1]
    constants = {node.output[0]: a.t for node in made for a in node.attribute if a.name == "value" and a.HasField("t")}
    constants |= {tensor.name: tensor for tensor in graph.initializer}
    for name, tensor in constants.items():
        types[name] = onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
    return types, {name: tensor for name, tensor in constants.items() if tensor.ByteSize() <= _SMALL_BYTES}


def _dims(kind: onnx.TypeProto) -> list[int] | None:
    """The sizes of a tensor; None where one is not known."""
    dims = kind.tensor_type.shape.dim
    is_known = kind.tensor_type.HasField("shape") and all(dim.dim_value > 0 for dim in dims)
    return [dim.dim_value for dim in dims] if is_known else None


def _inferred(
    node: onnx.NodeProto,
    types: dict[str, onnx.TypeProto],
    values: dict[str, TensorProto],
    opsets: Iterable[onnx.OperatorSetIdProto],
) -> dict[str, onnx.TypeProto]:
    """The types of a node's outputs, as far as they follow from those of its inputs and from small constants.

    Node by node: the inference of a whole graph allocates as many sizes as a tensor that holds sizes has elements.
    """
    inputs = {name: types[name] for name in node.input if name in types}
    sizes = [kind.tensor_type.shape for kind in inputs.values() if kind.tensor_type.elem_type in _INTEGERS]
    if any(len(shape.dim) == 1 and shape.dim[0].dim_value > _MOST_SIZES for shape in sizes):
        return {}
    version = next((entry.version for entry in opsets if entry.domain == node.domain), 1)
    try:
        schema = onnx.defs.get_schema(node.op_type, version, node.domain)
        return onnx.shape_inference.infer_node_outputs(schema, node, inputs, values, opset_imports=[*opsets])
    except _BROKEN_NODE:
        return {}


def _sizes(
    node: onnx.NodeProto, types: dict[str, onnx.TypeProto], values: dict[str, TensorProto]
) -> dict[str, TensorProto]:
    """The outputs of a node that computes with sizes, where they are known: a few integers."""
    if node.op_type == "Shape" and not node.attribute:
        sizes = _dims(types[node.input[0]]) if node.input and node.input[0] in types else None
        made = [None if sizes is None else np.array(sizes)]
    elif node.op_type in _OF_SIZES and all(name in values for name in node.input if name):
        try:
            given = {name: numpy_helper.to_array(values[name]) for name in node.input if name}
            made = ReferenceEvaluator(node).run(None, given)
        except _BROKEN_NODE:
            return {}
    else:
        return {}
    named = zip(node.output, made, strict=False)
    return {
        name: numpy_helper.from_array(value, name)
        for name, value in named
        if isinstance(value, np.ndarray) and value.size <= _MOST_SIZES and value.dtype in (np.int32, np.int64)
    }


def _products(node: onnx.NodeProto, types: dict[str, onnx.TypeProto]) -> int:
    """About how many multiplications a node needs; 0 where its shapes are not known."""
    inputs = [(_dims(types[name]) if name in types else None) or [1] for name in node.input]
    out = sum(prod(_dims(types[name]) or [0]) for name in node.output[:1] if name in types)
    if node.op_type == "Conv" and len(inputs) > 1:
        return out * prod(inputs[1]) // max(inputs[1][0], 1)
    if node.op_type == "ConvTranspose" and len(inputs) > 1:
        return prod(inputs[0]) * prod(inputs[1]) // max(inputs[1][0], 1)
    if node.op_type in ("MatMul", "Gemm"):
        return out * max(inputs[0][-2:])
    if node.op_type.endswith("Pool"):
        return out * prod(next((a.ints for a in node.attribute if a.name == "kernel_shape"), [1]))
    return out


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes, and those of nested graphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner.node)


def _all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a model: also of nested graphs and functions."""
    yield from _nodes(model.graph.node)
    for function in model.functions:
        yield from _nodes(function.node)


def _graphs(model: onnx.ModelProto) -> list[onnx.GraphProto]:
    """The graph of a model, and those that are nested in nodes, also of functions."""
    attributes = [attribute for node in _all_nodes(model) for attribute in node.attribute]
    return [model.graph, *(graph for attribute in attributes for graph in (attribute.g, *attribute.graphs))]


def tensors_of(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """All tensors that a file stores: also in attributes, nested graphs, functions and sparse tensors."""
    attributes = [attribute for node in _all_nodes(model) for attribute in node.attribute]
    for graph in _graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in (*attribute.sparse_tensors, attribute.sparse_tensor):
            if sparse.dims:
                yield from (sparse.values, sparse.indices)
