"""Detectors from ONNX files, made differentiable through onnx2torch."""

import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper
from onnx2torch import convert

from regenhance_data.detectors.base import Detector
from regenhance_data.detectors.class_names import class_number
from regenhance_data.detectors.exported import load_exported
from regenhance_data.detectors.grids import strides_of
from regenhance_data.detectors.onnx_graph import GraphInputs, has_nms, inputs_of, metadata_of, read_graph
from regenhance_data.detectors.onnx_rewriting import opset_of, other_form, rewritten
from regenhance_data.detectors.preprocessing import FREE_SIZES, RUN_ERRORS, Run, Source
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError, one_line
from regenhance_data.io.onnx_files import check_network
from regenhance_data.io.onnx_sessions import outputs_of
from regenhance_data.io.torch_weights import default_device
from regenhance_data.parallel.limits import limited_memory

MOST_DIFFERENCE = 0.02  # of the largest of the same value in all rows: more than float16 and int8 account for
LEAST_SCALE = 1e-3  # where a value is smaller in all rows, its differences are held against this
MOST_DIFFERENT = 0.02  # of the values of an output: some flip where two scores are nearly the same
MOST_OF_ONE = 0.1  # of the same value in all rows
MOST_LISTED = 1000  # rows of the best detections
BROKEN = (LookupError, ValueError, TypeError, AttributeError, AssertionError, ArithmeticError, MemoryError)
_TYPES = {
    onnx.TensorProto.FLOAT: np.float32,
    onnx.TensorProto.FLOAT16: np.float16,
    onnx.TensorProto.DOUBLE: np.float64,
    onnx.TensorProto.UINT8: np.uint8,
}


def load(argument: str, settings: DetectorSettings) -> Detector:
    """The detector in an ONNX file. InputError for a file that is missing, no ONNX, or no known kind of detector."""
    with limited_memory() if default_device().type == "cpu" else nullcontext():
        return _load(Path(argument), settings)


def _load(path: Path, settings: DetectorSettings) -> Detector:
    model = read_graph(path)
    try:
        inputs, metadata = inputs_of(model, path), metadata_of(model)
        hw = settings.input_size or inputs.hw or FREE_SIZES[0]
        image = (1, *hw, 3) if inputs.channels_last else (1, 3, *hw)
        limit_s = check_network(path, model, {inputs.image: image})
        made = rewritten(model, inputs, path)
    except BROKEN as error:  # nodes without the inputs or attributes that their operators have
        raise InputError(f"{path}: is a damaged ONNX graph ({one_line(error)}); export it again") from None
    if metadata.count is not None:  # before anything slow begins
        for name in settings.classes:
            class_number(name, [metadata.names[number] for number in range(metadata.count)])
    run = _runner(model, made, inputs, path)
    _refuse_unlike(path, model, inputs, run, hw, limit_s)
    return load_exported(Source(path, run, inputs.hw, metadata, inputs.white), settings)


def _runner(model: onnx.ModelProto, made: onnx.ModelProto, inputs: GraphInputs, path: Path) -> Run:
    """The graph as a function of pixels [N, 3, H, W] to its outputs by name; `made` is what onnx2torch takes of it."""
    network = _converted(made, path, _mend(model)).to(default_device())
    names = [value.name for value in model.graph.output]
    weights = {tensor.name for tensor in model.graph.initializer}
    order = [value.name for value in model.graph.input if value.name not in weights]
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in model.graph.input}
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}

    def run(pixels: torch.Tensor) -> dict[str, Any]:
        image = pixels.permute(0, 2, 3, 1) if inputs.channels_last else pixels
        given = [image if name == inputs.image else _size(pixels, ranks[name], kinds[name]) for name in order]
        made = network(*given)
        return dict(zip(names, made if isinstance(made, list | tuple) else [made], strict=True))

    return run


def _size(pixels: torch.Tensor, rank: int, kind: int) -> torch.Tensor:
    """(width, height) of the input for each frame, as DETR-like graphs take the size that boxes are scaled to."""
    size = torch.tensor([pixels.shape[3], pixels.shape[2]], device=pixels.device)
    size = size.float() if kind in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16) else size
    return size.expand(len(pixels), 2) if rank == 2 else size


def _mend(model: onnx.ModelProto) -> str:
    """What to export instead of a graph that cannot be made differentiable."""
    return "export it without NMS" if has_nms(model) else other_form(opset_of(model))


def _converted(model: onnx.ModelProto, path: Path, mend: str) -> torch.nn.Module:
    # warnings about onnx2torch's own code, and about modes that `_refuse_unlike` checks
    warnings.filterwarnings("ignore", "Using a non-tuple sequence for multidimensional indexing")
    try:
        with warnings.catch_warnings(action="ignore"):
            network = convert(model)
    except Exception as error:  # onnx2torch raises many kinds
        raise InputError(f"{path}: onnx2torch cannot make it differentiable ({one_line(error)}); {mend}") from None
    return network.eval().requires_grad_(False)


@torch.no_grad()
def _refuse_unlike(
    path: Path, model: onnx.ModelProto, inputs: GraphInputs, run: Run, hw: tuple[int, int], limit_s: float | None
) -> None:
    """InputError where the converted graph gives other values than ONNX Runtime does with the file."""
    noise = np.random.default_rng(0).random((1, 3, *hw), np.float32) * np.float32(inputs.white or 1)
    kind = _TYPES.get(inputs.elem_type)
    if kind is None:
        return
    pixels = noise.astype(kind)
    try:
        image = pixels.transpose(0, 2, 3, 1) if inputs.channels_last else pixels
        expected = _reference(path, model, inputs, image, limit_s)
        made = run(torch.from_numpy(pixels.astype(np.float32)).to(default_device()))
    except (*RUN_ERRORS, *_ORT_ERRORS):
        return  # what does not run at this size is refused with its own reason
    for name, values in expected.items():
        is_numeric = isinstance(values, np.ndarray) and values.dtype.kind in "fiu"
        if is_numeric and _differ(values, made[name].cpu().numpy(), hw):
            raise InputError(
                f"{path}: its output {name!r} differs from ONNX Runtime's after conversion; {_mend(model)}, in float32"
            )


_ORT_ERRORS = (
    onnxruntime.capi.onnxruntime_pybind11_state.Fail,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph,
    onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented,
    onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException,
)


def _reference(
    path: Path, model: onnx.ModelProto, inputs: GraphInputs, pixels: np.ndarray, limit_s: float | None
) -> dict[str, np.ndarray]:
    """The outputs of the file for these pixels, by name."""
    given = {inputs.image: np.ascontiguousarray(pixels)}
    height, width = pixels.shape[1:3] if inputs.channels_last else pixels.shape[2:]
    for value in model.graph.input:
        if value.name in inputs.sizes:
            kind = value.type.tensor_type
            size = np.array([width, height], helper.tensor_dtype_to_np_dtype(kind.elem_type))
            given[value.name] = size[None] if len(kind.shape.dim) == 2 else size
    return outputs_of(path, given, limit_s)


def _differ(expected: np.ndarray, made: np.ndarray, hw: tuple[int, int]) -> bool:
    """Whether two outputs differ by more than rounding: boxes and scores each against their own size. Rows that are no
    cells of a grid may come in any order, and the last of them may be others where scores are the same.
    """
    if expected.shape != made.shape:
        return expected.ndim != made.ndim
    if not expected.size:
        return False
    one, other = (_by_value(values.astype(np.float64), hw) for values in (expected, made))
    finite = np.isfinite(one) & np.isfinite(other)
    if not finite.all():
        return bool((np.isfinite(one) != np.isfinite(other)).any())
    is_listed = _is_listed(expected.shape, hw)
    if is_listed:
        one, other = (np.sort(rows, 0) for rows in _without_ties(one, other))
    far = np.abs(one - other) > MOST_DIFFERENCE * np.maximum(np.abs(one).max(0), LEAST_SCALE)
    is_one_far = bool((far.sum(0) > max(MOST_OF_ONE * len(far), 2)).any())
    return is_one_far or bool(far.mean() > (MOST_OF_ONE if is_listed else MOST_DIFFERENT))


def _without_ties(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best rows of two lists of box, score, label, without those of the lowest score: which of many with the same
    score are among them is by chance. Where all have it, the scores alone; other rows as they are.
    """
    if one.shape[1] < 6 or (one[:, 5] != one[:, 5].round()).any():
        return one, other
    scores = one[:, 4]
    count = int((scores > scores.min() + MOST_DIFFERENCE * max(scores.max(), LEAST_SCALE)).sum())
    if not count:
        return one[:, 4:5], other[:, 4:5]
    return one[np.argsort(-scores)[:count]], other[np.argsort(-other[:, 4])[:count]]


def _is_listed(shape: tuple[int, ...], hw: tuple[int, int]) -> bool:
    """Whether rows may be the best ones, in any order: also where so few are as many as the cells of a grid."""
    if len(shape) == 3:
        return not _is_grid(shape[2], hw) and (shape[1] <= MOST_LISTED or not _is_grid(shape[1], hw))
    return len(shape) < 3 or shape[2] == 1


def _is_grid(count: int, hw: tuple[int, int]) -> bool:
    return any(count % anchors == 0 and strides_of(count // anchors, hw) is not None for anchors in (1, 3))


def _by_value(values: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """An output as [rows, values]."""
    if values.ndim < 3:
        return values.reshape(-1, 1)
    if values.ndim == 4 and values.shape[2] == 1:  # [N, K, 1, 4]
        values = values[:, :, 0]
    is_last = values.ndim == 5 or (values.ndim == 3 and not _is_grid(values.shape[2], hw))
    axis = -1 if is_last else 1
    return np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis])
