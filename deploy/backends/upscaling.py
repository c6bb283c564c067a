"""Upscalers in ONNX files, in the engines that run them without PyTorch."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deploy.backends.base import Pool, engine_errors
from deploy.backends.openvino import compiled
from deploy.backends.registry import installed_backends
from deploy.backends.settings import EngineSettings
from regenhance_data.errors import InputError
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.onnx import Run, load_in
from regenhance_data.upscalers.settings import UpscalerSettings
from regenhance_data.upscalers.tiling import TiledUpscaler


def load_onnx_upscaler(settings: UpscalerSettings, engine: str, threads: int | None = None) -> TiledUpscaler:
    """The upscaler of an `onnx:` spec in one of CPU_BACKENDS. threads: for each frame, None for all cores.

    Regions have many sizes, and neither engine compiles the graph anew for one, so sizes are not rounded to a few. With
    the built-in upscaler on one core, OpenVINO took 1 to 2 ms more for the first region of a size, and at most 0.4 ms
    for each call, as much as 300 LR pixels; ONNX Runtime neither, but twice as long for each pixel.
    InputError as `load_upscaler`, and for an engine that is not installed.
    """
    if engine not in installed_backends():
        raise InputError(f"{settings.spec}: needs {engine}, which is not installed; pip install {engine}")
    opened = partial(_openvino, threads) if engine == "openvino" else None
    return load_upscaler(settings, partial(load_in, threads=threads or 0, engine=opened))


def _openvino(threads: int | None, path: Path) -> Run:
    """The graph on the CPU; each thread has an infer request of its own."""
    with engine_errors(path, "load"):
        graph = compiled(path.read_bytes(), EngineSettings(threads))
    requests: Pool[Any] = Pool()

    def run(given: np.ndarray) -> Sequence[Any]:
        with engine_errors(path, "run"), requests.leased(graph.create_infer_request) as request:
            return [np.array(output) for output in request.infer({0: given}, share_inputs=True).values()]

    return run
