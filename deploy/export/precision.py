"""Precision as part of a predictor's graph: half precision by casts, 8 bits by QuantizeLinear and DequantizeLinear.

So one file runs in every backend, and a measurement in one holds for the others. The nodes around the network (pixels,
the macroblock head; named `kit/…`, see graph.py) stay float32.
"""

from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxslim

from deploy.backends.registry import installed_backends, load_predictor
from deploy.contract import INPUT
from deploy.export.graph import KIT_NODE
from regenhance_data.errors import InputError
from regenhance_data.io.leftovers import temporary_folder
from regenhance_data.parallel.processes import run_in_process

# A sixteenth of float16's range: other frames than those examined may have larger values.
FP16_LARGEST = 65504 / 16
# Largest mean |difference| from float32 of a quantised network's importance in [0, 1]: a tenth of a level.
INT8_MEAN_ERROR = 0.01
_TRIAL_FRAMES = 4  # on which that error is measured, for each attempt
_QUANTISED = ("Conv", "Gemm", "MatMul")  # that have weights


def in_precision(model: onnx.ModelProto, precision: str, frames: np.ndarray) -> tuple[onnx.ModelProto, list[str]]:
    """(the graph in another precision, names of the network's nodes that could not be converted and stay float32).

    frames: uint8 BGR [n, H, W, 3] of the training, to measure activations on. fp16: all of the network but the nodes
    whose values may overflow. int8: symmetric, weights per channel in -64..64, activations per tensor by their largest
    value; the most sensitive nodes stay float32 until the error is at most INT8_MEAN_ERROR in every runtime installed.
    """
    # In a process without Paddle, beside which onnxruntime.quantization ends in a segmentation fault.
    try:
        made, kept = run_in_process(_CONVERTERS[precision], model.SerializeToString(), frames)
    except BrokenProcessPool:
        raise InputError(f"ONNX Runtime crashed on converting this network to {precision}; stay with fp32") from None
    converted = onnx.load_model_from_string(made)
    del converted.metadata_props[:]  # the quantiser adds its own
    converted.metadata_props.extend(model.metadata_props)
    return converted, kept


def half(serialised: bytes, frames: np.ndarray) -> tuple[bytes, list[str]]:
    """`in_precision` for fp16, in a process that has not loaded Paddle."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load_model_from_string(serialised)
    largest = _largest_values(model, frames)
    network = [node for node in model.graph.node if not node.name.startswith(KIT_NODE)]
    kept = [n.name for n in network if any(largest.get(v, 0) > FP16_LARGEST for v in (*n.input, *n.output))]
    around = [node.name for node in model.graph.node if node.name.startswith(KIT_NODE)]
    # op_block_list: the converter's own list is for old backends
    made = convert_float_to_float16(model, keep_io_types=True, op_block_list=[], node_block_list=[*around, *kept])
    _skip_double_casts(made)
    OnnxModel(made).topological_sort()  # the converter appends its casts at the end
    # a constant that the network and the kit's nodes share was cast: folding gives each its own
    return onnxslim.slim(made).SerializeToString(), kept


def _skip_double_casts(model: onnx.ModelProto) -> None:
    """Connect float32 nodes that follow each other directly, not through float16."""
    # only the converter's own casts, by their names: the network's may turn an integer into a float
    own = {n.output[0]: n.input[0] for n in model.graph.node if n.name.endswith("_cast_to_fp16_node")}
    through = {
        node.output[0]: own[node.input[0]]
        for node in model.graph.node
        if node.name.endswith("_cast_to_fp32_node") and node.input[0] in own
    }
    for node in model.graph.node:
        node.input[:] = [through.get(name, name) for name in node.input]


def quantised(serialised: bytes, frames: np.ndarray) -> tuple[bytes, list[str]]:
    """`in_precision` for int8, in a process that has not loaded Paddle."""
    model = onnx.load_model_from_string(serialised)
    weights = {tensor.name for tensor in model.graph.initializer}
    nodes = [
        node.name
        for node in model.graph.node
        if node.op_type in _QUANTISED and not node.name.startswith(KIT_NODE) and weights.intersection(node.input[1:2])
    ]
    trial = frames[:: -(-len(frames) // _TRIAL_FRAMES)]
    ranges = _calibrated(model, frames)
    [expected] = _importance(model, trial, ["onnxruntime"])

    def errors(names: list[str], backends: list[str]) -> list[float]:
        found = _importance(_with_qdq(model, ranges, names), trial, backends)
        return [float(np.abs(importance - expected).mean()) for importance in found]

    everywhere = installed_backends()
    of_all = errors(nodes, everywhere)
    failing = [name for name, error in zip(everywhere, of_all, strict=True) if not error <= INT8_MEAN_ERROR]
    ordered, low, high = nodes, 0, 0  # how many of them stay float32
    if failing:  # by the error when it alone is quantised: the most sensitive first
        ordered = sorted(nodes, key=lambda name: max(errors([name], failing)), reverse=True)
        low, high = 1, len(ordered)  # with all of them there is no error
    while low < high:
        middle = (low + high) // 2
        is_near = max(errors(ordered[middle:], everywhere)) <= INT8_MEAN_ERROR
        low, high = (low, middle) if is_near else (middle + 1, high)
    return _with_qdq(model, ranges, ordered[low:]).SerializeToString(), ordered[:low]


_CONVERTERS = {"fp16": half, "int8": quantised}


def _calibrated(model: onnx.ModelProto, frames: np.ndarray) -> Any:
    """The largest |value| of each activation, as ONNX Runtime's quantiser takes them."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import CalibrationDataReader, create_calibrator

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = iter(_batches(model, frames))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: batch}

    with temporary_folder() as folder:
        path, augmented = folder / "model.onnx", folder / "augmented.onnx"
        onnx.save(model, str(path))
        calibrator = create_calibrator(
            path,
            list(_QUANTISED),
            str(augmented),
            CalibrationMethod.MinMax,
            extra_options={"symmetric": True},
        )
        calibrator.collect_data(Reader())
        return calibrator.compute_data()


def _with_qdq(model: onnx.ModelProto, ranges: Any, names: list[str]) -> onnx.ModelProto:
    """Quantise the inputs and weights of the named nodes.

    Only inputs, as TensorRT and OpenVINO expect: they fuse an activation with the node before it, and sums and
    upsampling in between stay exact. Biases stay float32, since TensorRT dequantises no 32-bit integers.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if not names:
        return copy
    quantizer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=True,  # without VNNI, x86 cuts sums of two products at 16 bits: 2 x 255 x 64 fits
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=ranges,
        nodes_to_quantize=names,
        nodes_to_exclude=[],
        op_types_to_quantize=list(_QUANTISED),
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": list(_QUANTISED),
        },
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    made: onnx.ModelProto = quantizer.model.model
    return made


def _largest_values(model: onnx.ModelProto, frames: np.ndarray) -> dict[str, float]:
    """The largest |value| of every float tensor, outputs of nodes and constants, over all frames."""
    inferred = onnx.shape_inference.infer_shapes(model)
    floats = [v for v in inferred.graph.value_info if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    open_model = onnx.ModelProto()
    open_model.CopyFrom(inferred)
    open_model.graph.output.extend(floats)
    session = _session(open_model)
    names = [value.name for value in floats]
    largest = {t.name: float(np.abs(onnx.numpy_helper.to_array(t)).max(initial=0)) for t in model.graph.initializer}
    for batch in _batches(model, frames):
        for name, value in zip(names, session.run(names, {INPUT: batch}), strict=True):
            largest[name] = max(largest.get(name, 0.0), float(np.abs(value).max(initial=0)))
    return largest


def _importance(model: onnx.ModelProto, frames: np.ndarray, backends: list[str]) -> list[np.ndarray]:
    """The importance in each backend. They differ: OpenVINO keeps 8 bits through a concatenation."""
    with temporary_folder() as folder:
        path = folder / "model.onnx"
        onnx.save(model, str(path))
        return [load_predictor(path, backend).predict(frames) for backend in backends]


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def _batches(model: onnx.ModelProto, frames: np.ndarray) -> Iterator[np.ndarray]:
    """The frames in batches of the graph's size; frames are repeated to fill the last one."""
    size = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
    for start in range(0, len(frames), size):
        yield np.resize(frames[start : start + size], (size, *frames.shape[1:]))
