"""Detectors: what they find in a frame, and the accuracy that importance differentiates."""

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision.ops import batched_nms, clip_boxes_to_image

from regenhance_data.cli import InputError
from regenhance_data.files import sha256

EXISTING = "builtin, onnx:PATH"
LAYOUTS = ("yolox", "yolov5", "yolov8")
# Composites of one frame that go through the network together: enough to fill a GPU with 1080p frames, while two CPU
# cores gain nothing from more than one and pay for each in memory.
BATCH = 4


@dataclass(frozen=True)
class Detections:
    """What was found in one frame: boxes float32 [n, 4] (x1, y1, x2, y2 in its pixels), scores float32 [n] in
    [0, 1], labels int64 [n] (places in the detector's `class_names`). Sorted by score, the highest first.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class DetectorSettings:
    """Which detector, and which of its detections count.

    spec: 'builtin' or 'onnx:PATH'. score_threshold: detections below it are dropped (0.3, where YOLO-style demos
    draw boxes). classes: names or numbers of the classes that count, () for all. max_box_area: larger boxes (share of
    the frame) are dropped. iou_threshold: of two boxes of a class that overlap more, the lower score is dropped.
    The rest is for ONNX files whose graph does not tell, None for what it tells: layout (one of LAYOUTS),
    channel_order ('RGB' or 'BGR'), pixel_range (255 or 1: what white is), input_size (height, width in pixels).
    """

    spec: str = "builtin"
    score_threshold: float = 0.3
    classes: tuple[str, ...] = ()
    max_box_area: float = 1.0
    iou_threshold: float = 0.5
    layout: str | None = None
    channel_order: str | None = None
    pixel_range: float | None = None
    input_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for flag in ("score_threshold", "max_box_area", "iou_threshold"):
            value = getattr(self, flag)
            if not 0 < value <= 1:
                raise InputError(f"--{flag} {value}: expected a number above 0, at most 1")
        for flag, choices in (("layout", LAYOUTS), ("channel_order", ("RGB", "BGR")), ("pixel_range", (255, 1))):
            value = getattr(self, flag)
            if value is not None and value not in choices:
                raise InputError(f"detector {flag} {value!r}: expected one of {', '.join(map(str, choices))}")
        if self.input_size is not None and (len(self.input_size) != 2 or any(n < 1 or n % 32 for n in self.input_size)):
            raise InputError(f"--detector_input_size {self.input_size}: expected height and width, multiples of 32")

    def to_dict(self) -> dict[str, Any]:
        """For dataset.yaml: plain values only, equal after a round trip through YAML."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DetectorSettings":
        """The inverse of `to_dict`; keys that are no settings (such as a recorded sha256) are left out."""
        try:
            known: dict[str, Any] = {f.name: values[f.name] for f in fields(cls) if f.name in values}
            known.update({key: tuple(value) for key, value in known.items() if isinstance(value, list)})
            known["classes"] = tuple(str(name) for name in known.get("classes", ()))
            known["spec"] = str(known.get("spec", cls.spec))
            return cls(**known)
        except TypeError:
            raise InputError("dataset.yaml: the recorded detector is broken; give --detector") from None


@dataclass(frozen=True)
class Objective:
    """Acc of one clear frame, and the same Acc in other frames: what was found on the clear frame stays fixed.

    value: Acc, a scalar that is differentiable in the clear frame. detections: how many count (for segmentation, how
    many pixels); 0 where there is nothing to follow. at: frames float32 [N, 3, H, W] RGB 0..255 of the clear frame's
    size → Acc of the same detections in each, [N], differentiable in the frames.
    """

    value: torch.Tensor
    detections: int
    at: Callable[[torch.Tensor], torch.Tensor]


class Detector(ABC):
    """A network whose results count. Subclasses say what it finds (`detect`) and what Acc is (`accuracy`)."""

    task = "detection"
    class_names: tuple[str, ...]

    def __init__(self, settings: DetectorSettings) -> None:
        self.settings = settings
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @abstractmethod
    def detect(self, frames: np.ndarray) -> list[Detections]:
        """What is found in each frame: uint8 [N, H, W, 3] RGB → N Detections."""

    @abstractmethod
    def accuracy(self, clear: torch.Tensor) -> Objective:
        """Acc of a clear frame float32 [1, 3, H, W] RGB 0..255, on `device`, that requires a gradient."""

    def tensor(self, frames: np.ndarray) -> torch.Tensor:
        """uint8 [N, H, W, 3] RGB → float32 [N, 3, H, W] on the detector's device (channels last in memory)."""
        return torch.from_numpy(np.ascontiguousarray(frames)).to(self.device).permute(0, 3, 1, 2).float()


class Dense(NamedTuple):
    """Everything a detector of boxes puts out for N frames, before any threshold.

    boxes: float32 [N, A, 4] (x1, y1, x2, y2 in pixels of the frames). scores: [N, A] in [0, 1], differentiable in the
    frames. labels: int64 [N, A].
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor


class BoxDetector(Detector):
    """A detector of boxes. Acc is the sum of the scores of the detections kept on the clear frame.

    Thresholds and NMS choose the detections; the gradient flows through the scores of those chosen. Subclasses give
    `class_names` and implement `dense`; those with two stages also `proposals`, which are fixed by the clear frame.
    """

    @abstractmethod
    def dense(self, frames: torch.Tensor, proposals: Any = None) -> Dense:
        """Everything the network puts out for frames float32 [N, 3, H, W], RGB 0..255, on `device`.

        A place (0..A − 1) means the same in each frame of one size, given the same `proposals`.
        """

    def proposals(self, frames: torch.Tensor) -> Any:
        """What the first of two stages proposes in each of the frames, without gradient; None where there is one."""
        return None

    def kept(self, dense: Dense, hw: tuple[int, int]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(boxes clipped to frames of `hw`, without gradient; the places int64 [n] that count in each frame).

        Score threshold, classes, box area, then NMS within each class; places by falling score.
        """
        boxes = clip_boxes_to_image(dense.boxes.detach(), hw)
        areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
        # a box that lies outside the frame has no area left
        candidates = (dense.scores >= self.settings.score_threshold) & (areas > 0)
        candidates &= areas <= self.settings.max_box_area * hw[0] * hw[1]
        if self.settings.classes:
            candidates &= torch.isin(dense.labels, self._wanted.to(dense.labels.device))
        places = []
        for n in range(len(boxes)):
            (some,) = candidates[n].nonzero(as_tuple=True)
            scores, labels = dense.scores[n, some].detach(), dense.labels[n, some]
            places.append(some[batched_nms(boxes[n, some], scores, labels, self.settings.iou_threshold)])
        return boxes, places

    @property
    def _wanted(self) -> torch.Tensor:
        return torch.tensor([class_number(name, self.class_names) for name in self.settings.classes])

    @torch.inference_mode()
    def detect(self, frames: np.ndarray) -> list[Detections]:
        found = []
        for start in range(0, len(frames), BATCH):
            batch = self.tensor(frames[start : start + BATCH])
            dense = self.dense(batch, self.proposals(batch))
            boxes, places = self.kept(dense, (batch.shape[2], batch.shape[3]))
            for n, kept in enumerate(places):
                found.append(Detections(*(t[n, kept].cpu().numpy() for t in (boxes, dense.scores, dense.labels))))
        return found

    def accuracy(self, clear: torch.Tensor) -> Objective:
        proposals = self.proposals(clear.detach())
        dense = self.dense(clear, proposals)
        _, (kept,) = self.kept(dense, (clear.shape[2], clear.shape[3]))
        return Objective(
            dense.scores[0, kept].sum(), len(kept), lambda frames: self.dense(frames, proposals).scores[:, kept].sum(1)
        )


class BuiltinDetector(BoxDetector):
    """The kit's own street detector, for the demo and for trying the kit out."""

    def __init__(self, settings: DetectorSettings) -> None:
        from regenhance_data.builtin_detector import CLASS_NAMES, load_street_detector

        super().__init__(settings)
        self.class_names = tuple(CLASS_NAMES)
        self._network = load_street_detector().to(self.device).to(memory_format=torch.channels_last)
        self._network.requires_grad_(False)

    def dense(self, frames: torch.Tensor, proposals: None = None) -> Dense:
        boxes, class_scores = self._network(frames)
        return Dense(boxes, *class_scores.max(-1))


def load_detector(settings: DetectorSettings) -> Detector:
    """The detector of `settings.spec`, ready to use. InputError for specs, files or classes that do not exist."""
    kind, _, path = settings.spec.partition(":")
    detector: Detector
    if settings.spec == "builtin":
        detector = BuiltinDetector(settings)
    elif kind == "onnx" and path:
        from regenhance_data.onnx_detector import OnnxDetector

        detector = OnnxDetector(Path(path), settings)
    else:
        hint = f"did you mean onnx:{settings.spec}?" if Path(settings.spec).is_file() else f"there are: {EXISTING}"
        raise InputError(f"--detector {settings.spec}: no such detector; {hint}")
    for name in settings.classes:
        class_number(name, detector.class_names)
    return detector


def class_number(name: str, class_names: Sequence[str]) -> int:
    """The place of a class given by its name or its number. InputError when there is none."""
    if name in class_names:
        return class_names.index(name)
    if name.isdecimal() and int(name) < len(class_names):
        return int(name)
    names = ", ".join(class_names)
    raise InputError(f"--classes {name}: the detector has no such class; it has {names} (or their numbers from 0)")


def detector_record(settings: DetectorSettings) -> dict[str, Any]:
    """What dataset.yaml says about the detector: its settings and the sha256 of its weights."""
    if settings.spec == "builtin":
        from regenhance_data.builtin_detector import WEIGHTS as path
    else:
        path = Path(settings.spec.partition(":")[2])
    return {**settings.to_dict(), "sha256": sha256(path)}


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that `settings_from` reads. A flag that is not given leaves no attribute, so that settings recorded
    in dataset.yaml can show through.
    """
    group = parser.add_argument_group("detector", argument_default=argparse.SUPPRESS)
    add = group.add_argument
    add("--detector", dest="spec", metavar="SPEC", help=f"the detector whose accuracy counts: {EXISTING}")
    add("--score_threshold", type=float, help="detections below it do not count (default: 0.3)")
    add("--classes", nargs="+", metavar="CLASS", help="names or numbers that count (default: all)")
    add("--max_box_area", type=float, help="share of the frame; larger boxes do not count (default: 1)")
    add("--iou_threshold", type=float, help="of the NMS within each class (default: 0.5)")
    add("--detector_layout", dest="layout", choices=LAYOUTS, help="of an ONNX output (default: by its shape)")
    add("--channel_order", choices=("RGB", "BGR"), help="of an ONNX input (default: the layout's)")
    add("--pixel_range", type=float, help="of an ONNX input, 255 or 1 (default: the layout's)")
    add(
        "--detector_input_size",
        dest="input_size",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="letterbox frames to it (default: the frame's own size where the ONNX graph allows, else the graph's)",
    )


def settings_from(args: argparse.Namespace, recorded: Mapping[str, Any] | None = None) -> DetectorSettings:
    """The settings that the flags of `add_detector_arguments` give.

    Without --detector, flags change the `recorded` settings (dataset.yaml's `detector`), else the defaults.
    """
    given = {f.name: getattr(args, f.name) for f in fields(DetectorSettings) if hasattr(args, f.name)}
    base = {} if "spec" in given or not isinstance(recorded, Mapping) else recorded
    return DetectorSettings.from_dict({**base, **given})
