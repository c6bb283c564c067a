"""The precision of a predictor belongs to its graph: half precision as casts, 8 bits as quantising operators.

One file runs in every backend then, and what was measured in one holds for the others. What the kit put around the
network (pixels, the macroblock head; named `kit/…`, see graph.py) stays float32.
"""

import tempfile
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxslim

from deploy.backends.registry import installed_backends, load_predictor
from deploy.contract import INPUT
from deploy.export.graph import KIT_NODE
from regenhance_data.errors import InputError
from regenhance_data.parallel.processes import run_in_process

# A sixteenth of what float16 holds: frames other than those looked at may have larger values.
FP16_LARGEST = 65504 / 16
# Mean |difference| from float32 that quantised networks are brought to, of an importance in [0, 1]: a tenth of a level.
INT8_MEAN_ERROR = 0.01
_LOOKED_AT = 4  # frames to measure that error on, again for each attempt
_QUANTISED = ("Conv", "Gemm", "MatMul")  # where they have weights


def in_precision(model: onnx.ModelProto, precision: str, frames: np.ndarray) -> tuple[onnx.ModelProto, list[str]]:
    """The graph in another precision, and the names of the network's weighted or overflowing nodes that stay float32.

    frames: uint8 BGR [n, H, W, 3] of the training, to measure activations on. fp16: all of the network but the nodes
    whose values may outgrow it. int8: symmetric, weights per channel, activations per tensor by their largest value;
    the most sensitive nodes stay float32 until the error is at most INT8_MEAN_ERROR in every runtime installed.
    """
    # A process without Paddle: beside it, onnxruntime.quantization ends in a segmentation fault.
    try:
        made, kept = run_in_process(_CONVERTERS[precision], model.SerializeToString(), frames)
    except BrokenProcessPool:
        raise InputError(f"ONNX Runtime ended while it made {precision} of this network; stay with fp32") from None
    converted = onnx.load_model_from_string(made)
    del converted.metadata_props[:]  # the quantiser signs its work, which is for other tools of its own
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
    # op_block_list: the converter's own list has what its first backends lacked
    made = convert_float_to_float16(model, keep_io_types=True, op_block_list=[], node_block_list=[*around, *kept])
    _skip_detours(made)
    OnnxModel(made).topological_sort()  # the converter appends its casts at the end
    # a constant of the network that the kit's nodes share was cast: folded, both have their own
    return onnxslim.slim(made).SerializeToString(), kept


def _skip_detours(model: onnx.ModelProto) -> None:
    """Let float32 nodes that follow each other pass values on as they are, not through float16."""
    # by the names that the converter gives its own casts: the network's may change an integer into a float
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
    looked_at = frames[:: -(-len(frames) // _LOOKED_AT)]
    ranges = _calibrated(model, frames)
    [expected] = _importance(model, looked_at, ["onnxruntime"])

    def attempt(names: list[str]) -> tuple[onnx.ModelProto, float]:
        made = _with_qdq(model, ranges, names)
        found = _importance(made, looked_at, installed_backends())
        return made, max(float(np.abs(importance - expected).mean()) for importance in found)

    made, error = attempt(nodes)
    if error <= INT8_MEAN_ERROR:
        return made.SerializeToString(), []
    # what each costs when it alone is quantised: the sensitive ones first
    ordered = sorted(nodes, key=lambda name: attempt([name])[1], reverse=True)
    low, high = 1, len(ordered)  # so many stay float32; with all of them there is no error
    while low < high:
        middle = (low + high) // 2
        _, error = attempt(ordered[middle:])
        low, high = (low, middle) if error <= INT8_MEAN_ERROR else (middle + 1, high)
    made, _ = attempt(ordered[low:])
    return made.SerializeToString(), ordered[:low]


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

    with tempfile.TemporaryDirectory() as folder:
        path, augmented = Path(folder) / "model.onnx", Path(folder) / "augmented.onnx"
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

    Inputs alone, as TensorRT and OpenVINO want it: they fuse an activation with the node before it, and what is summed
    or upsampled in between stays exact. Biases stay float32, since TensorRT dequantises no 32-bit integers.
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
        reduce_range=False,
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
    """The largest |value| of every float tensor that a node puts out or holds, on any of the frames."""
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
    """What each backend says of the macroblocks. They differ: OpenVINO carries 8 bits on through a concatenation."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, str(path))
        return [load_predictor(path, backend).predict(frames) for backend in backends]


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def _batches(model: onnx.ModelProto, frames: np.ndarray) -> Iterator[np.ndarray]:
    """The frames, as many at once as the graph takes; the last ones again where they do not fill a batch."""
    size = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
    for start in range(0, len(frames), size):
        yield np.resize(frames[start : start + size], (size, *frames.shape[1:]))
