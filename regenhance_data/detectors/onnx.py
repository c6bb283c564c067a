"""Detectors from ONNX files, made differentiable through onnx2torch."""

import ast
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx2torch import convert

from regenhance_data import KIT
from regenhance_data.detectors.base import Detector
from regenhance_data.detectors.class_names import names_from
from regenhance_data.detectors.exported import load_exported
from regenhance_data.detectors.preprocessing import Source
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError, one_line
from regenhance_data.io.files import sha256
from regenhance_data.io.torch_weights import default_device


def load(argument: str, settings: DetectorSettings) -> Detector:
    """The detector in an ONNX file. InputError for a file that is missing, no ONNX, or no known kind of detector."""
    path = Path(argument)
    model = _read(path)
    if any(entry.key == "kit" and entry.value == KIT for entry in model.metadata_props):
        raise InputError(
            f"{path}: is a predictor of this kit, not a detector; give --detector the detector that "
            "importance is computed for"
        )
    # a warning about onnx2torch's own code
    warnings.filterwarnings("ignore", "Using a non-tuple sequence for multidimensional indexing")
    network = _converted(model, path).to(default_device())
    return load_exported(Source(path, network, _static_hw(model), _names(model)), settings)


def identity(argument: str, settings: DetectorSettings) -> dict[str, Any]:
    """The sha256 of the file."""
    return {"sha256": sha256(Path(argument))}


def _read(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path)
    except Exception as error:  # protobuf, onnx and broken files raise many kinds
        raise InputError(f"{path}: is not an ONNX file ({one_line(error)})") from None


def _converted(model: onnx.ModelProto, path: Path) -> torch.nn.Module:
    try:
        network = convert(model)
    except Exception as error:  # onnx2torch raises many kinds
        raise InputError(f"{path}: onnx2torch cannot make it differentiable ({one_line(error)})") from None
    return network.eval().requires_grad_(False)


def _static_hw(model: onnx.ModelProto) -> tuple[int, int] | None:
    """(height, width) of the input where the graph fixes them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if value.name not in weights and len(dims) == 4 and min(dims[2:]) > 0:
            return dims[2], dims[3]
    return None


def _names(model: onnx.ModelProto) -> dict[int, str]:
    """From the metadata that Ultralytics writes ("{0: 'person', ...}")."""
    for entry in model.metadata_props:
        if entry.key == "names":
            try:
                return names_from(ast.literal_eval(entry.value))
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                break
    return {}
