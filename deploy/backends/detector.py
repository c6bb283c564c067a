"""Exported detectors in the engines that run ONNX: frames in, detections or class maps out."""

from collections.abc import Callable
from typing import Any

import numpy as np

from deploy.artifacts.detector import OnnxDetector
from deploy.backends.base import Pool, engine_errors
from deploy.backends.registry import BACKENDS, installed_backends
from deploy.backends.settings import EngineSettings
from deploy.contract import ONNX_SUFFIX
from regenhance_data.detections import Detections
from regenhance_data.detectors.class_names import class_number
from regenhance_data.detectors.filtering import BOXES, CLASSES, FRAMES, LABELS, SCORES, detections_in
from regenhance_data.errors import InputError

Outputs = dict[str, np.ndarray]
ENGINES = tuple(name for name, row in BACKENDS.items() if row.artifact == ONNX_SUFFIX)  # names of backends


def engine_for(engine: str) -> str:
    """The engine of this name, for 'auto' the first that is installed. InputError where it is unknown or missing."""
    if engine not in ("auto", *ENGINES):
        raise InputError(f"--engine {engine}: expected auto, torch, {', '.join(ENGINES)}")
    name = next(iter(installed_backends()), ENGINES[0]) if engine == "auto" else engine
    if not BACKENDS[name].is_installed():
        pip = BACKENDS[name].distributions[0]
        raise InputError(f"--engine {engine}: needs {pip}, which is not installed; pip install {pip}")
    return name


class ExportedDetector:
    """An exported detector, ready to run. Threads may share one.

    task: 'detection' or 'segmentation'. read_as: what it is, in words. engine: the name of its backend. batch: frames
    that go through at once; `detect` takes any number. frame_hw: (height, width) of a frame.
    """

    def __init__(self, file: OnnxDetector, engine: str, threads: int | None = None) -> None:
        self.file, self.engine = file, engine
        self.settings, self.class_names, self.task = file.settings, file.class_names, file.task
        self.batch, self.frame_hw = file.batch, file.frame_hw
        self.read_as = file.settings.read_as or file.settings.spec
        self._counted = [class_number(name, file.class_names) for name in file.settings.classes]
        with engine_errors(file.source, "load"):
            self._make = _runner_maker(file, engine, EngineSettings(threads))
        self._runners: Pool[Any] = Pool()

    def detect(self, frames: np.ndarray) -> list[Any]:
        """Frames uint8 [N, H, W, 3] RGB → N Detections; for the task `segmentation`, N class maps uint8 [H, W].

        InputError for another frame size.
        """
        outputs = self.outputs(frames)
        if self.task == "segmentation":
            return list(outputs[CLASSES])
        return [self._detections(outputs, index) for index in range(len(frames))]

    def _detections(self, outputs: Outputs, index: int) -> Detections:
        first = self.file.first_label
        labels = outputs[LABELS][index] if first is None else first
        boxes, scores = outputs[BOXES][index], outputs[SCORES][index]
        one_class = self.file.one_class_per_row
        return detections_in(boxes, scores, labels, self.frame_hw, self.settings, self._counted, one_class)

    def outputs(self, frames: np.ndarray) -> Outputs:
        """What the graph puts out for frames uint8 [N, H, W, 3] RGB, by name, [N, …] each."""
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (*self.frame_hw, 3):
            height, width = self.frame_hw
            raise InputError(
                f"{self.file.source}: takes uint8 frames of {width}x{height}, got {frames.dtype} {list(frames.shape)}; "
                "export it for their size"
            )
        parts = []
        for start in range(0, len(frames), self.batch):
            part = frames[start : start + self.batch]
            missing = np.zeros((self.batch - len(part), *part.shape[1:]), np.uint8)
            with engine_errors(self.file.source, "run"), self._runners.leased(self._make) as run:
                made = run(np.ascontiguousarray(np.concatenate([part, missing]) if len(missing) else part))
            parts.append({name: values[: len(part)] for name, values in made.items()})
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.file.outputs if parts}


def _runner_maker(file: OnnxDetector, engine: str, settings: EngineSettings) -> Callable[[], Callable[..., Outputs]]:
    names = file.outputs
    if engine == "openvino":
        from deploy.backends.openvino import compiled

        model = compiled(file.content, settings)

        def made() -> Callable[..., Outputs]:
            request = model.create_infer_request()

            def run(frames: np.ndarray) -> Outputs:
                results = request.infer({FRAMES: frames}, share_inputs=True)
                return {name: np.array(results[name]) for name in names}

            return run

        return made
    from deploy.backends.onnxruntime import session_of

    session = session_of(file.content, BACKENDS[engine], settings, {})
    return lambda: lambda frames: dict(zip(names, session.run(list(names), {FRAMES: frames}), strict=True))
