"""Upscalers of OpenCV's dnn_superres module: frozen TensorFlow graphs (.pb) of ESPCN, FSRCNN, LapSRN and EDSR."""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from regenhance_data.errors import InputError, one_line
from regenhance_data.parallel.limits import run_limited
from regenhance_data.upscalers.base import FloatNetwork, UpscalingNetwork, pixels_of, probe, scale_of
from regenhance_data.upscalers.settings import UpscalerSettings

# What dnn_superres subtracts from the frames of EDSR, its only network of colour, and adds to the result: BGR 0..255.
_EDSR_MEAN = np.array([103.1545782, 111.561547, 114.35629928], np.float32).reshape(1, 3, 1, 1)


def load(argument: str, settings: UpscalerSettings) -> UpscalingNetwork:
    """The network in a frozen graph: of luma 0..1, or of colour as dnn_superres runs EDSR.

    InputError for a file that OpenCV does not read, or that is no upscaler.
    """
    path = Path(argument)
    try:
        scale, multiple, channels = run_limited(
            _probed, path, what=f"{path}: OpenCV's reader of frozen TensorFlow graphs"
        )
    except InputError:
        raise
    # OpenCV has exceptions of its own, and they are not those of Python
    except Exception as error:
        raise InputError(
            f"{path}: is not a frozen TensorFlow graph that OpenCV reads ({one_line(error)}); "
            "export it to ONNX with tf2onnx, and give --model onnx:PATH"
        ) from None
    pixels = pixels_of(1, 1) if channels == 1 else pixels_of(3, 255)
    about: dict[str, Any] = {"multiple": multiple, "name": "TensorFlow graph in OpenCV", "pixels": pixels}
    return FloatNetwork(_Graph(_read(path)), channels, argument, scale, **about)


class _Graph:
    """float32 [N, C, h, w] in 0..1, luma or RGB → float32 [N, C, h·scale, w·scale] in 0..255: of its outputs, the
    largest.
    """

    def __init__(self, net: Any) -> None:
        self._net, self._outputs = net, net.getUnconnectedOutLayersNames()

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        is_luma = frames.shape[1] == 1
        given = frames if is_luma else frames[:, ::-1] * np.float32(255) - _EDSR_MEAN
        self._net.setInput(np.ascontiguousarray(given))
        made = [np.asarray(output) for output in self._net.forward(self._outputs)]
        larger = [output for output in made if scale_of(given.shape, output)]
        result = max(larger, key=lambda output: output.size, default=made[0])
        return result * np.float32(255) if is_luma else (result + _EDSR_MEAN)[:, ::-1]


class _DepthToSpace:
    """TensorFlow's DepthToSpace, which dnn_superres adds to OpenCV's layers; on [N, C, h, w]."""

    def __init__(self, params: Mapping[str, Any], _: Any) -> None:
        self._block = int(params["block_size"])

    def getMemoryShapes(self, inputs: Sequence[Sequence[int]]) -> list[list[int]]:
        count, channels, height, width = inputs[0]
        return [[count, channels // self._block**2, height * self._block, width * self._block]]

    def forward(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        count, channels, height, width = inputs[0].shape
        block, made = self._block, channels // self._block**2
        blocks = inputs[0].reshape(count, block, block, made, height, width).transpose(0, 3, 4, 1, 5, 2)
        return [np.ascontiguousarray(blocks.reshape(count, made, height * block, width * block))]


def _probed(path: Path) -> tuple[int, int, int]:
    """As `probe`, in a process of its own: on a broken file OpenCV's code can crash, and prints why."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        graph = _Graph(_read(path))
    except cv2.error as error:
        raise ValueError(one_line(error)) from None  # one that another process can be given
    return probe(graph, str(path), (1, 3))


def _read(path: Path) -> Any:
    _register_layers()
    return cv2.dnn.readNetFromTensorflow(str(path))


@cache
def _register_layers() -> None:
    """Once in a process: OpenCV ends it at the second time."""
    cv2.dnn_registerLayer("DepthToSpace", _DepthToSpace)
