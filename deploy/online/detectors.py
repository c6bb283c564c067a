"""Detectors at run time: in OpenVINO or ONNX Runtime where they can be one graph, else in PyTorch."""

from collections.abc import Collection
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from deploy.artifacts.detector import OnnxDetector, exported_detector
from deploy.backends.detector import ExportedDetector
from deploy.backends.registry import installed_backends
from regenhance_data.console import warn
from regenhance_data.detectors.class_names import class_number
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError

# settings that apply after the graph, so that an exported detector takes others too
_AFTER_THE_GRAPH = ("score_threshold", "classes", "max_box_area", "iou_threshold")


class OnlineDetector(Protocol):
    """A detector at run time. Threads may share one.

    settings: those that hold. task: 'detection' or 'segmentation'. read_as: what it is, in words. engine: what runs it.
    """

    settings: DetectorSettings
    task: str
    class_names: tuple[str, ...]
    read_as: str
    engine: str

    def detect(self, frames: np.ndarray) -> list[Any]:
        """Frames uint8 [N, H, W, 3] RGB → N Detections; for the task `segmentation`, N class maps uint8 [H, W]."""


class TorchDetector:
    """A detector as importance uses it, with what `OnlineDetector` says of it."""

    engine = "torch"

    def __init__(self, detector: Any) -> None:
        self.settings, self.task, self.class_names = detector.settings, detector.task, detector.class_names
        self.read_as = detector.settings.read_as or detector.settings.spec
        self.detect = detector.detect


def load_online_detector(
    detector: str | Path | DetectorSettings,
    frame_hw: tuple[int, int],
    threads: int | None = None,
    given: Collection[str] | None = None,
) -> OnlineDetector:
    """A detector for HR frames of size `frame_hw` (height, width): in PyTorch on a GPU, else in the first backend for
    ONNX that is installed, and in PyTorch where it cannot be one graph.

    detector: a spec (KIND:ARGUMENT), its settings, or a file of deploy/export_detector.py, which needs no PyTorch and
    has its own batch, thresholds and classes. given: the names of the settings that replace those of such a file; None:
    of those that are not the defaults. threads: of the backend, None for its own choice; PyTorch has those of the
    process. InputError for a detector that does not load, and for an exported one of another frame size.
    """
    settings = detector if isinstance(detector, DetectorSettings) else DetectorSettings(str(detector))
    engine = next(iter(installed_backends()), "onnxruntime")
    if file := exported_detector(settings.spec):
        return ExportedDetector(_fitting(file, settings, frame_hw, given), engine, threads)
    offline = load_detector(settings)
    if offline.device.type != "cpu":
        return TorchDetector(offline)
    # these need PyTorch; what is exported before does not
    export = import_module("deploy.export.detector")
    graphs = import_module("regenhance_data.detectors.onnx_export")
    try:
        graph = graphs.DetectorGraph(offline, frame_hw)
        made = export.exported(graph)
        export.compare(made, graph, export.noise_frames(frame_hw)[:1], [engine], threads)
    except InputError as error:
        warn(f"{error}; it runs in PyTorch, which is slower")
        return TorchDetector(offline)
    return ExportedDetector(made, engine, threads)


def _fitting(
    file: OnnxDetector, given: DetectorSettings, frame_hw: tuple[int, int], names: Collection[str] | None
) -> OnnxDetector:
    """The exported detector with the settings that are given for it. InputError where it has to be exported again."""
    if file.frame_hw != frame_hw:
        (height, width), (own_height, own_width) = frame_hw, file.frame_hw
        raise InputError(
            f"{file.source}: is for frames of {own_width}x{own_height}, these have {width}x{height}; export it again "
            f"with --frame_size {height} {width}"
        )
    default = DetectorSettings(given.spec)
    differing = [f.name for f in fields(given) if getattr(given, f.name) != getattr(default, f.name)]
    asked = differing if names is None else [f.name for f in fields(given) if f.name in names]
    changes = {name: getattr(given, name) for name in asked if name in _AFTER_THE_GRAPH}
    without = (*changes, "spec", "task", "read_as")
    fixed = [name for name in asked if name not in without and _other(file.settings, given, name)]
    if fixed:
        raise InputError(f"{file.source}: is exported with another {fixed[0]}; export it again with this one")
    for name in changes.get("classes", ()):
        class_number(name, file.class_names)
    return replace(file, settings=replace(file.settings, **changes))


def _other(one: DetectorSettings, other: DetectorSettings, name: str) -> bool:
    return bool(getattr(one, name) != getattr(other, name))
