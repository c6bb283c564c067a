"""Detector kinds: the one table, and how a detector is loaded."""

from importlib import import_module
from pathlib import Path
from typing import Any

from regenhance_data.detectors.base import Detector
from regenhance_data.detectors.builtin import BuiltinDetector
from regenhance_data.detectors.settings import EXISTING, KINDS, DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.io.files import sha256


def load_detector(settings: DetectorSettings) -> Detector:
    """The detector of `settings.spec`, ready to use. InputError for specs, files or classes that do not exist."""
    if settings.spec == "builtin":
        detector: Detector = BuiltinDetector(settings)
    else:
        module, name = _module(settings)
        detector = module.load(name, settings)
    if settings.task not in (None, detector.task):
        raise InputError(f"--detector {settings.spec}: is for {detector.task}, dataset.yaml says {settings.task}")
    detector.counted_classes()
    return detector


def _module(settings: DetectorSettings) -> tuple[Any, str]:
    """The module of the spec's kind, and what the spec names."""
    kind, _, name = settings.spec.partition(":")
    if kind not in KINDS or not name:
        hint = f"there are: {EXISTING}"
        if Path(settings.spec).is_file():
            hint = f"did you mean {'detectron2' if settings.spec.endswith('.yaml') else 'onnx'}:{settings.spec}?"
        raise InputError(f"--detector {settings.spec}: no such detector; {hint}")
    if settings.weights and kind not in ("torchvision", "detectron2"):
        raise InputError(f"--detector_weights: {settings.spec} brings its own weights; leave it out")
    return import_module(f"regenhance_data.detectors.{kind}"), name


def detector_record(settings: DetectorSettings) -> dict[str, Any]:
    """What dataset.yaml says about the detector: its settings and what its weights are."""
    if settings.spec == "builtin":
        from regenhance_data.street.detector import WEIGHTS

        return {**settings.to_dict(), "sha256": sha256(WEIGHTS)}
    module, name = _module(settings)
    return {**settings.to_dict(), **module.identity(name, settings)}
