"""Predictors in OpenVINO."""

import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from deploy.artifacts.onnx import read_onnx
from deploy.backends.base import BatchRunner, Outputs, Predictor, batch_size_of, engine_errors
from deploy.backends.settings import Backend, EngineSettings
from deploy.backends.trial import try_first
from deploy.contract import INPUT, OUTPUT

_one_at_a_time = threading.Lock()  # two threads that ask for it first at once would both make it


@cache
def _made_core() -> Any:
    import openvino

    return openvino.Core()


def _core() -> Any:
    """OpenVINO, once in a process and never given up.

    Its CPU plugin gives the thread that creates it a stack for signals, which is unmapped with the plugin. A second one
    leaves the first one's stack behind: the next signal, as Ctrl-C, ends the process or overwrites other memory.
    """
    with _one_at_a_time:
        return _made_core()


def compiled(content: bytes, settings: EngineSettings) -> Any:
    """A graph on the CPU, ready for infer requests."""
    # By default, OpenVINO rounds to bfloat16 on processors that have it. Precision belongs to the graph: what
    # was exported and compared as float32 runs as float32.
    options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    # one stream has the lowest latency; several share the cores and have a higher throughput
    options |= {"NUM_STREAMS": settings.streams} if settings.streams > 1 else {"PERFORMANCE_HINT": "LATENCY"}
    if settings.threads:
        options["INFERENCE_NUM_THREADS"] = settings.threads
    return _core().compile_model(_core().read_model(content, b""), "CPU", options)


def open_graph(
    content: bytes, _: Backend, settings: EngineSettings, outputs: Sequence[str]
) -> Callable[[], Callable[[dict[str, np.ndarray]], Outputs]]:
    """What makes runners of a graph, each for one thread at a time: from its inputs to these of its outputs."""
    graph = compiled(content, settings)

    def made() -> Callable[[dict[str, np.ndarray]], Outputs]:
        request = graph.create_infer_request()

        def run(given: dict[str, np.ndarray]) -> Outputs:
            results = request.infer(given, share_inputs=True)
            return {name: np.array(results[name]) for name in outputs}

        return run

    return made


class OpenVinoPredictor(Predictor):
    """OpenVINO on the CPU; each thread has an infer request of its own."""

    def __init__(self, path: Path | str, backend: Backend, settings: EngineSettings) -> None:
        file = read_onnx(Path(path))
        try_first(file, backend.name, settings)
        batch = batch_size_of(path, file.batch, settings.batch_size)
        super().__init__(backend, path, file.input_hw, batch, file.batch == 0, file.metadata)
        with engine_errors(path, "load"):
            self._compiled = compiled(file.content, settings)

    def _batch_runner(self) -> BatchRunner:
        request = self._compiled.create_infer_request()
        return lambda frames: np.array(request.infer({INPUT: frames}, share_inputs=True)[OUTPUT])

    def bound(self, frames: np.ndarray) -> Callable[[], Any]:
        import openvino

        request = self._compiled.create_infer_request()
        request.set_input_tensor(openvino.Tensor(frames, shared_memory=True))
        return request.infer
