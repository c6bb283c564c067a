"""Exported detectors in the engines that run ONNX: frames in, detections or class maps out."""

from importlib import import_module
from typing import Any

import numpy as np

from deploy.artifacts.detector import OnnxDetector
from deploy.backends.base import Outputs, Pool, batches_of, engine_errors
from deploy.backends.registry import BACKENDS
from deploy.backends.settings import EngineSettings
from regenhance_data.detections import Detections
from regenhance_data.detectors.class_names import class_number
from regenhance_data.detectors.filtering import BOXES, CLASSES, FRAMES, LABELS, SCORES, detections_in


class ExportedDetector:
    """An exported detector, ready to run. Threads may share one.

    task: 'detection' or 'segmentation'. read_as: what it is, in words. engine: the name of its backend, which
    runs ONNX. frame_hw: (height, width) of a frame.
    """

    def __init__(self, file: OnnxDetector, engine: str, threads: int | None = None) -> None:
        self.file, self.engine = file, engine
        self.settings, self.class_names, self.task = file.settings, file.class_names, file.task
        self.frame_hw = file.frame_hw
        self.read_as = file.settings.read_as or file.settings.spec
        self._counted = [class_number(name, file.class_names) for name in file.settings.classes]
        with engine_errors(file.source, "load"):
            row = BACKENDS[engine]
            module = import_module(row.predictor.rpartition(".")[0])
            self._make = module.open_graph(file.content, row, EngineSettings(threads), file.outputs)
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
        parts = []
        for full, count in batches_of(frames, self.frame_hw, self.file.batch, self.file.source):
            with engine_errors(self.file.source, "run"), self._runners.leased(self._make) as run:
                made = run({FRAMES: full})
            parts.append({name: values[:count] for name, values in made.items()})
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.file.outputs if parts}
