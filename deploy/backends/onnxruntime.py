"""Predictors in ONNX Runtime."""

from collections.abc import Callable
from typing import Any

import numpy as np

from deploy.artifacts.onnx import OnnxPredictor
from deploy.backends.base import BatchRunner, Predictor
from deploy.contract import INPUT, OUTPUT
from regenhance_data.errors import InputError


class OnnxRuntimePredictor(Predictor):
    """ONNX Runtime with one of its execution providers; sessions serve any number of threads."""

    def __init__(self, file: OnnxPredictor, backend: str, batch: int, threads: int | None) -> None:
        super().__init__(file.path, file.input_hw, batch, file.batch == 0, file.metadata)
        import onnxruntime

        self.backend = backend
        # float32 is what was compared, not its rounding to TF32; where TensorRT stops, CUDA goes on
        cuda: tuple[str, dict[str, Any]] = ("CUDAExecutionProvider", {"use_tf32": 0})
        # pairs of QuantizeLinear and DequantizeLinear have to be allowed; half types are taken as they are
        eight_bits = {"trt_int8_enable": True} if file.metadata["precision"] == "int8" else {}
        choices: dict[str, list[tuple[str, dict[str, Any]]]] = {
            "onnxruntime": [("CPUExecutionProvider", {})],
            "onnxruntime_cuda": [cuda],
            "onnxruntime_tensorrt": [("TensorrtExecutionProvider", eight_bits), cuda],
        }
        providers = choices[backend]
        provider = providers[0][0]
        if provider not in onnxruntime.get_available_providers():
            raise InputError(f"--backend {backend}: this ONNX Runtime has no {provider}; pip install onnxruntime-gpu")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions
        options.intra_op_num_threads = threads or 0
        self._session = onnxruntime.InferenceSession(file.content, options, providers=providers)
        if self._session.get_providers()[0] != provider:  # it falls back in silence
            raise InputError(f"--backend {backend}: {provider} does not start; are a GPU and its libraries there?")

    def _executor(self) -> BatchRunner:
        return lambda frames: self._session.run([OUTPUT], {INPUT: frames})[0]

    def bound(self, frames: np.ndarray) -> Callable[[], Any]:
        import onnxruntime

        binding = self._session.io_binding()
        if self.backend == "onnxruntime":
            binding.bind_cpu_input(INPUT, frames)
            binding.bind_output(OUTPUT)
        else:
            binding.bind_ortvalue_input(INPUT, onnxruntime.OrtValue.ortvalue_from_numpy(frames, "cuda", 0))
            binding.bind_output(OUTPUT, "cuda")
        return lambda: self._session.run_with_iobinding(binding)
