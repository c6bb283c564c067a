"""Predictors in OpenVINO."""

from collections.abc import Callable
from typing import Any

import numpy as np

from deploy.artifacts.onnx import OnnxPredictor
from deploy.backends.base import BatchRunner, Predictor
from deploy.contract import INPUT, OUTPUT


class OpenVinoPredictor(Predictor):
    """OpenVINO on the CPU; each thread has an infer request of its own."""

    backend = "openvino"

    def __init__(self, file: OnnxPredictor, batch: int, threads: int | None, streams: int) -> None:
        super().__init__(file.path, file.input_hw, batch, file.batch == 0, file.metadata)
        import openvino

        # Left alone, OpenVINO rounds to bfloat16 on processors that have it. Precision belongs to the graph: what
        # was exported and compared as float32 runs as float32.
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        # one stream answers soonest; several, each with its part of the cores, answer more frames a second
        settings |= {"NUM_STREAMS": streams} if streams > 1 else {"PERFORMANCE_HINT": "LATENCY"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        self._compiled = core.compile_model(core.read_model(file.content, b""), "CPU", settings)

    def _executor(self) -> BatchRunner:
        request = self._compiled.create_infer_request()
        return lambda frames: np.array(request.infer({INPUT: frames}, share_inputs=True)[OUTPUT])

    def bound(self, frames: np.ndarray) -> Callable[[], Any]:
        import openvino

        request = self._compiled.create_infer_request()
        request.set_input_tensor(openvino.Tensor(frames, shared_memory=True))
        return request.infer
