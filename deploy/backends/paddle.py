"""Networks in PaddleSeg's own form, as `paddleseg export` writes it, run by Paddle Inference on the CPU.

Normalisation and the mean over each macroblock, which a predictor's graph contains, are computed here around it.
This backend is for comparisons; exported to ONNX the same network is several times as fast (docs/benchmarks.md).
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deploy.backends.base import BatchRunner, Predictor, batch_size_of, engine_errors
from deploy.backends.settings import Backend, EngineSettings
from deploy.contract import is_described
from regenhance_data import KIT, console
from regenhance_data.dataset.levels import expected_level
from regenhance_data.defaults import MB_SIZE, SCALE
from regenhance_data.errors import InputError
from regenhance_data.io.files import read_yaml
from regenhance_data.predictors.paddleseg.paddle_import import import_paddle

DEPLOY = "deploy.yaml"
_LEVELS = 10  # of an export by PaddleSeg itself, which does not record it


class PaddlePredictor(Predictor):
    """A folder with deploy.yaml and what it names. Made by deploy.runtime.load_predictor."""

    def __init__(self, model: Path | str, backend: Backend, settings: EngineSettings) -> None:
        path = Path(model)
        graph, weights, described, metadata = _read(path)
        batch, channels, height, width = (size if isinstance(size, int) else -1 for size in described["input_shape"])
        if min(height, width) < 1 or channels != 3:
            raise InputError(f"{path}: takes frames of any size; export it again with --input_shape N 3 H W")
        self._op = described["output_op"]
        self._scale, self._shift = _normalisation(path, described["transforms"])
        self._files, self._threads = (str(graph), str(weights)), settings.threads
        is_dynamic = batch < 1
        size = batch_size_of(path, max(batch, 0), settings.batch_size)
        super().__init__(backend, path, (height, width), size, is_dynamic, {**metadata, "head": "macroblock"})
        with engine_errors(path, "run"), self._runners.leased(self._batch_runner) as run:
            shape = run(np.zeros((size, height, width, 3), np.uint8)).shape[1:]
        if shape != self.grid.shape:  # the network gives all pixels
            self.metadata["head"] = "pixels"

    def _engine(self) -> Any:
        # one for each thread: clones fail where memory is optimised
        inference = import_paddle().inference
        config = inference.Config(*self._files)
        config.disable_gpu()
        config.disable_glog_info()
        config.enable_onednn()
        config.set_cpu_math_library_num_threads(self._threads or len(os.sched_getaffinity(0)))  # its own default is 1
        with console.quiet_unless_it_fails():
            return inference.create_predictor(config)

    def _batch_runner(self) -> BatchRunner:
        engine = self._engine()
        source = engine.get_input_handle(engine.get_input_names()[0])
        result = engine.get_output_handle(engine.get_output_names()[0])

        def run(frames: np.ndarray) -> np.ndarray:
            source.copy_from_cpu(self._prepared(frames))
            engine.run()
            return self._level(result.copy_to_cpu())

        return run

    def bound(self, frames: np.ndarray) -> Callable[[], Any]:
        engine = self._engine()
        engine.get_input_handle(engine.get_input_names()[0]).copy_from_cpu(self._prepared(frames))
        return engine.run

    def _prepared(self, frames: np.ndarray) -> np.ndarray:
        """uint8 BGR [n, H, W, 3] → float32 RGB [n, 3, H, W], normalised."""
        normal = frames[..., ::-1] * self._scale + self._shift
        return np.ascontiguousarray(normal.transpose(0, 3, 1, 2))

    def _level(self, output: np.ndarray) -> np.ndarray:
        """The network's output → expected level in [0, 1], float [n, H, W]."""
        if self._op == "argmax":
            return output.astype(np.float32) / (int(self.metadata["levels"]) - 1)
        if self._op == "none":
            powers = np.exp(output - output.max(axis=1, keepdims=True))
            output = powers / powers.sum(axis=1, keepdims=True)
        return expected_level(output)


def _read(path: Path) -> tuple[Path, Path, dict[str, Any], dict[str, str]]:
    """(graph, weights, their description in deploy.yaml, the kit's metadata)."""
    if not (path / DEPLOY).is_file():
        raise InputError(
            f"{path}: is a folder without {DEPLOY}, so no model of Paddle Inference; write one with paddleseg export, "
            "or give an .onnx of deploy/export_onnx.py"
        )
    everything = read_yaml(path / DEPLOY)
    described = everything.get("Deploy")
    names = [described.get(key) for key in ("model", "params")] if isinstance(described, dict) else []
    if (
        not isinstance(described, dict)
        or not all(isinstance(name, str) and Path(name).name == name and (path / name).is_file() for name in names)
        or described.get("output_op") not in ("argmax", "softmax", "none")
        or not isinstance(described.get("input_shape"), list)
        or len(described["input_shape"]) != 4
        or not isinstance(described.get("transforms"), list)
    ):
        raise InputError(f"{path / DEPLOY}: describes no network beside it; write it with paddleseg export")
    own = everything.get("Kit", {"model": path.name, "levels": _LEVELS, "mb_size": MB_SIZE, "scale": SCALE})
    metadata = {str(key): str(value) for key, value in own.items()} if isinstance(own, dict) else {}
    metadata |= {"kit": KIT, "precision": "fp32", "head": "pixels"}
    if not is_described(metadata):
        raise InputError(f"{path / DEPLOY}: its entry Kit is not of this kit; write it with paddleseg export")
    return path / str(names[0]), path / str(names[1]), described, metadata


def _normalisation(path: Path, transforms: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """(scale, shift) of (RGB / 255 − mean) / std as one product and sum, float32 [3] each."""
    step = transforms[0] if len(transforms) == 1 and isinstance(transforms[0], dict) else {}
    try:
        mean, std = (np.broadcast_to(np.asarray(step.get(key, 0.5), np.float64), 3) for key in ("mean", "std"))
    except (TypeError, ValueError):
        step = {}
    if step.get("type") != "Normalize" or not (std > 0).all() or not np.isfinite(mean / std).all():
        raise InputError(f"{path / DEPLOY}: its transforms are not one Normalize; other steps cannot be run here")
    return (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)
