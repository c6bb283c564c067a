"""The built-in street detector, as a detector of this kit."""

from typing import Any

import torch

from regenhance_data.detectors.base import BoxDetector, DenseOutput, Detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.io.files import sha256
from regenhance_data.street.detector import CLASS_NAMES, load_street_detector
from regenhance_data.street.weights import DETECTOR_WEIGHTS


def load(_: str, settings: DetectorSettings) -> Detector:
    """The detector with the weights of this kit."""
    return BuiltinDetector(settings)


def identity(*_: Any) -> dict[str, Any]:
    """The sha256 of the weights."""
    return {"sha256": sha256(DETECTOR_WEIGHTS)}


class BuiltinDetector(BoxDetector):
    """The kit's own street detector, for the demo and for first trials."""

    def __init__(self, settings: DetectorSettings) -> None:
        super().__init__(settings)
        self.class_names = tuple(CLASS_NAMES)
        self._network = load_street_detector().to(self.device)
        self._network.requires_grad_(False)

    def dense(self, frames: torch.Tensor, proposals: list[Any] | None = None) -> DenseOutput:
        boxes, scores = self._network(frames)
        return DenseOutput(
            scores, lambda index, rows, columns: (boxes[index, rows].detach(), columns), one_class_per_row=True
        )
