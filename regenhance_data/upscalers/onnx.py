"""Upscalers from ONNX files, run by ONNX Runtime: on the GPU where it has its CUDA provider, else on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from regenhance_data.errors import InputError, one_line
from regenhance_data.io.files import sha256
from regenhance_data.upscalers.base import OVERLAP, UpscalingNetwork, described, probe, scale_of
from regenhance_data.upscalers.settings import UpscalerSettings

_MOST_SIDE_PX = 4096  # of an input that a graph fixes; a forged file must not allocate more
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def load(argument: str, settings: UpscalerSettings) -> UpscalingNetwork:
    """The upscaler in an ONNX file."""
    return OnnxNetwork(Path(argument), settings.white)


def identity(argument: str) -> str:
    """The sha256 of the file."""
    return sha256(Path(argument))


class OnnxNetwork(UpscalingNetwork):
    """A graph float32 or float16 [N, 3, h, w] RGB from 0 to `white` → [N, 3, h·scale, w·scale] in its first output.

    Scale and the sizes that it takes are found by running it. InputError for a file that is missing or no such graph.
    """

    def __init__(self, path: Path, white: float) -> None:
        self._session = _session(path)
        self._white = white
        self._name, kind, (batch, _, *sides) = self._input(path)
        self._dtype = _TYPES[kind]
        if isinstance(batch, int) and batch != 1:
            raise InputError(f"{path}: takes {batch} frames at once; export it with one, or with a dynamic batch")
        fixed = [side for side in sides if isinstance(side, int)]
        if len(fixed) == 1:
            raise InputError(f"{path}: fixes only one side of its input ({sides}); export it with both or none fixed")
        if not fixed:
            scale, multiple = probe(self._graph, str(path))
            super().__init__(str(path), scale, multiple=multiple)
            return
        if max(fixed) > _MOST_SIDE_PX:
            raise InputError(f"{path}: takes inputs of {fixed[1]}x{fixed[0]}, larger than any frame; export it again")
        height, width = fixed
        super().__init__(
            str(path), self._fixed_scale(path, height, width), min(OVERLAP, min(fixed) // 4), fixed_hw=(height, width)
        )

    def run(self, frames: np.ndarray) -> np.ndarray:
        given = frames.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        made = self._graph(given).astype(np.float32) * np.float32(255 / self._white)
        self.refuse_unless_finite(bool(np.isfinite(made).all()))
        return made.clip(0, 255).round().astype(np.uint8).transpose(0, 2, 3, 1)

    def _graph(self, frames: np.ndarray) -> np.ndarray:
        """float32 [1, 3, h, w] in 0..1 → the first output, in 0..white."""
        given = np.ascontiguousarray(frames * np.float32(self._white), self._dtype)
        return self._session.run(None, {self._name: given})[0]

    def _input(self, path: Path) -> tuple[str, str, list[Any]]:
        """(name, type, shape) of the one input."""
        try:
            inputs = [(given.name, given.type, given.shape) for given in self._session.get_inputs()]
        except UnicodeDecodeError:
            raise InputError(f"{path}: is a broken ONNX file (its names are not valid UTF-8)") from None
        if len(inputs) == 1:
            name, kind, shape = inputs[0]
            if kind in _TYPES and len(shape) == 4 and (shape[1] == 3 or not isinstance(shape[1], int)):
                return name, kind, shape
        found = ", ".join(" ".join(map(str, given)) for given in inputs)[:160] or "nothing"
        raise InputError(f"{path}: takes {found}, expected one input float [N, 3, h, w]")

    def _fixed_scale(self, path: Path, height: int, width: int) -> int:
        frame = np.random.default_rng(0).random((1, 3, height, width), np.float32)
        try:
            made = self._graph(frame)
        # ONNX Runtime has many exceptions of its own
        except Exception as error:
            raise InputError(f"{path}: does not run ({one_line(error)})") from None
        scale = scale_of(frame.shape, made)
        if not scale:
            raise InputError(f"{path}: is not an upscaler: its output is {described(made)} for {list(frame.shape)}")
        return scale


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors come as exceptions
    options.intra_op_num_threads = 1  # one worker per core: see parallel/executors.py
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    try:
        # with only the CPU there is no fallback; ONNX Runtime would print that it tries one
        fallback = len(providers) > 1
        return onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=fallback)
    # ONNX Runtime has many exceptions of its own
    except Exception as error:
        raise InputError(f"{path}: is not an ONNX file that runs ({one_line(error)})") from None
