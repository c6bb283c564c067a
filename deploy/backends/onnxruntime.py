"""Predictors in ONNX Runtime."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploy.artifacts.onnx import read_onnx
from deploy.backends.base import BatchRunner, Outputs, Predictor, batch_size_of, engine_errors
from deploy.backends.settings import Backend, EngineSettings
from deploy.backends.trial import try_first
from deploy.contract import INPUT, OUTPUT
from regenhance_data.errors import InputError


def session_of(
    content: bytes, backend: Backend, settings: EngineSettings, provider_options: Mapping[str, dict[str, Any]]
) -> Any:
    """A session for a graph in the backend's execution provider. InputError where there is none.

    provider_options: by the name of a provider, in addition to those that keep float32 exact.
    """
    import onnxruntime

    from regenhance_data.io.onnx_sessions import session_options

    if backend.provider not in onnxruntime.get_available_providers():
        raise InputError(
            f"--backend {backend.name}: this ONNX Runtime has no {backend.provider}; "
            f"pip install {backend.distributions[0]}"
        )
    # float32 is what was compared, not its rounding to TF32
    given = {"CUDAExecutionProvider": {"use_tf32": 0}, **provider_options}
    names = [backend.provider]
    if backend.provider == "TensorrtExecutionProvider":
        names.append("CUDAExecutionProvider")  # runs the operators that TensorRT does not
    options = session_options(settings.threads or 0)
    session = onnxruntime.InferenceSession(content, options, providers=[(name, given.get(name, {})) for name in names])
    if session.get_providers()[0] != backend.provider:  # it falls back silently
        raise InputError(
            f"--backend {backend.name}: {backend.provider} does not start; are a GPU and its libraries installed?"
        )
    return session


def open_graph(
    content: bytes, backend: Backend, settings: EngineSettings, outputs: Sequence[str]
) -> Callable[[], Callable[[dict[str, np.ndarray]], Outputs]]:
    """What makes runners of a graph, from its inputs to these of its outputs. InputError as `session_of`."""
    session = session_of(content, backend, settings, {})
    return lambda: lambda given: dict(zip(outputs, session.run(list(outputs), given), strict=True))


class OnnxRuntimePredictor(Predictor):
    """ONNX Runtime with one of its execution providers; sessions serve any number of threads."""

    def __init__(self, path: Path | str, backend: Backend, settings: EngineSettings) -> None:
        file = read_onnx(Path(path))
        try_first(file, backend.name, settings)
        batch = batch_size_of(path, file.batch, settings.batch_size)
        super().__init__(backend, path, file.input_hw, batch, file.batch == 0, file.metadata)
        self._device = backend.device
        # pairs of QuantizeLinear and DequantizeLinear have to be allowed; half types are taken as they are
        int8 = {"trt_int8_enable": True} if file.metadata["precision"] == "int8" else {}
        with engine_errors(path, "load"):
            self._session = session_of(file.content, backend, settings, {"TensorrtExecutionProvider": int8})

    def _batch_runner(self) -> BatchRunner:
        return lambda frames: self._session.run([OUTPUT], {INPUT: frames})[0]

    def bound(self, frames: np.ndarray) -> Callable[[], Any]:
        binding = self._session.io_binding()
        if self._device == "cpu":
            binding.bind_cpu_input(INPUT, frames)
            binding.bind_output(OUTPUT)
        else:
            import onnxruntime

            binding.bind_ortvalue_input(INPUT, onnxruntime.OrtValue.ortvalue_from_numpy(frames, self._device, 0))
            binding.bind_output(OUTPUT, self._device)
        return lambda: self._session.run_with_iobinding(binding)
