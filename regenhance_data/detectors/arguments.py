"""Command-line flags for a detector."""

import argparse
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from regenhance_data.detectors.kinds import KINDS, is_program
from regenhance_data.detectors.layouts import LAYOUTS
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.kinds import known_specs


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `detector_settings_from` reads. A missing flag leaves no attribute, so that the setting
    recorded in dataset.yaml is used.
    """
    group = parser.add_argument_group("detector", argument_default=argparse.SUPPRESS)
    add = group.add_argument
    add("--detector", dest="spec", metavar="SPEC", help=f"computes importance and accuracy: {known_specs(KINDS)}")
    add(
        "--detector_weights",
        dest="weights",
        metavar="WEIGHTS",
        help=". ".join(f"{kind.name}: {kind.weights_help}" for kind in KINDS.values() if kind.weights_help),
    )
    add("--score_threshold", type=float, help="minimum score of a detection (default: 0.3)")
    add(
        "--classes",
        nargs="+",
        metavar="CLASS",
        help="names or numbers of the classes to detect: person,car (default: all)",
    )
    add(
        "--max_box_area",
        type=float,
        help="maximum box area as share of the frame, as in AccMPEG and RegenHance (default: 0.08)",
    )
    add("--iou_threshold", type=float, help="of the NMS within each class (default: 0.5)")
    add(
        "--detector_input_size",
        dest="input_size",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="frames are resized to it (default: what torchvision and detectron2 use for the model; for a file, "
        "the frame's own size if the graph allows, else the graph's)",
    )
    _add_file_arguments(parser)


def _add_file_arguments(parser: argparse.ArgumentParser) -> None:
    file = parser.add_argument_group("detector from an ONNX or TorchScript file", argument_default=argparse.SUPPRESS)
    add = file.add_argument
    add(
        "--detector_layout",
        dest="layout",
        choices=tuple(LAYOUTS),
        help="of the output; docs/detectors.md has the table (default: recognised by its shape, its values and the "
        "class names in the file)",
    )
    add(
        "--detector_anchors",
        dest="anchors",
        nargs="+",
        type=float,
        metavar="PIXELS",
        help="width and height of each anchor of a YOLOv5 or YOLOv7 that puts out raw maps, from the finest stride on",
    )
    add("--channel_order", choices=("RGB", "BGR"), help="of the input (default: the layout's; RGB for segmentation)")
    add("--pixel_range", type=float, help="of the input, 255 or 1 (default: the layout's; 1 for segmentation)")
    for flag, words in (("mean", "subtracted from RGB of 0..1"), ("std", "divided by after it")):
        add(
            f"--pixel_{flag}",
            nargs=3,
            type=float,
            metavar=("R", "G", "B"),
            help=f"{words} (default: ImageNet's for segmentation, else none)",
        )


def given_settings(args: argparse.Namespace) -> set[str]:
    """The names of the settings that flags give."""
    return {f.name for f in fields(DetectorSettings) if hasattr(args, f.name)}


def detector_settings_from(args: argparse.Namespace, recorded: Mapping[str, Any] | None = None) -> DetectorSettings:
    """The settings that the flags of `add_detector_arguments` give.

    Without --detector, flags change the `recorded` settings (of dataset.yaml, or a plan), else the defaults. InputError
    for a recorded detector that is a program, which only a user may name.
    """
    given = {name: getattr(args, name) for name in given_settings(args)}
    if "classes" in given:
        names = [name.strip() for word in given["classes"] for name in word.split(",")]
        given["classes"] = [name for name in names if name]
    base = {} if "spec" in given or not isinstance(recorded, Mapping) else recorded
    if is_program(str(base.get("spec", ""))):
        raise InputError(
            f"--detector is missing: {base['spec']} is recorded, a program, which runs only where you name it; give "
            f"--detector {base['spec']} and its other flags again, if you trust it"
        )
    return DetectorSettings.from_dict({**base, **given})
