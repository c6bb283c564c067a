"""Detectors from TorchScript files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from regenhance_data.detectors.base import Detector
from regenhance_data.detectors.class_names import Metadata
from regenhance_data.detectors.exported import load_exported
from regenhance_data.detectors.preprocessing import Source
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.detectors.torchvision import names_of
from regenhance_data.io.files import parse_json
from regenhance_data.io.torchscript import load_script

NAMES_FILE = "config.txt"  # the file in the archive where Ultralytics writes metadata


def load(argument: str, settings: DetectorSettings) -> Detector:
    """The detector in a TorchScript file. InputError for one that is missing, no TorchScript, or no known kind of
    detector.
    """
    path = Path(argument)
    extra = {NAMES_FILE: b""}
    module = load_script(path, extra).eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    takes_list = [given.type.annotation_str for given in module.forward.schema.arguments[1:2]] == ["List[Tensor]"]

    def run(inputs: torch.Tensor) -> Any:
        # without the executor that rewrites a graph after its first runs: the same numbers in every run
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            return module(list(inputs) if takes_list else inputs)

    metadata = _metadata(extra[NAMES_FILE])
    if not metadata.names:
        metadata = replace(metadata, names=_names_of_rcnn(module))
    detector = load_exported(Source(path, run, None, metadata), settings)
    detector.script = module
    return detector


def _names_of_rcnn(module: Any) -> dict[int, str]:
    """From the number of classes in the head of torchvision's Faster R-CNN."""
    for name, parameter in module.named_parameters():
        if name.endswith("box_predictor.cls_score.bias"):
            return dict(enumerate(names_of("fasterrcnn_resnet50_fpn", len(parameter))))
    return {}


def _metadata(config: bytes | str) -> Metadata:
    try:
        value = parse_json(config or "{}")
    except ValueError:
        return Metadata()
    return Metadata.of(value if isinstance(value, dict) else {})
