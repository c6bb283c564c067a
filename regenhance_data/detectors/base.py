"""Detectors: what they find in a frame, and the accuracy that importance differentiates.

Each kind is a module of its own, <kind>.py, that offers `load(name, settings)` and `identity(name, settings)`.
"""

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision.ops import batched_nms, clip_boxes_to_image

from regenhance_data.cli import InputError
from regenhance_data.detectors.yolo_layouts import LAYOUTS
from regenhance_data.io.files import sha256

KINDS = {"torchvision": "NAME", "detectron2": "YAML", "onnx": "PATH", "torchscript": "PATH"}
EXISTING = ", ".join(["builtin", *(f"{kind}:{name}" for kind, name in KINDS.items())])
# Composites of one frame that go through the network together: enough to fill a GPU with 1080p frames, while two CPU
# cores gain nothing from more than one and pay for each in memory.
BATCH = 4
# The best that NMS compares: it takes the square of their number, and a street has some hundred.
MOST_CANDIDATES = 10_000
NAMES_SHOWN = 10  # of the classes there are, where one is asked for that is not


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

    spec: one of EXISTING. score_threshold: detections below it are dropped (0.3, as AccMPEG and RegenHance have it).
    classes: names or numbers of the classes that count, () for all. max_box_area: larger boxes (share of the frame)
    are dropped (0.08, theirs too). iou_threshold: of two boxes of a class that overlap more, the lower score is
    dropped. weights: for torchvision and detectron2, a file, 'none' (random) or the name of torchvision's own, None
    for what the spec brings. input_size: (height, width in pixels) that frames are made to fit, None for what the
    detector was made for. The rest is for files whose graph does not tell, None for what it tells: layout (one of
    LAYOUTS), channel_order ('RGB' or 'BGR'), and pixel_range, pixel_mean, pixel_std: what goes in is
    (RGB / 255 − mean) / std · range. task: 'detection' or 'segmentation', None until the detector is loaded.
    """

    spec: str = "builtin"
    score_threshold: float = 0.3
    classes: tuple[str, ...] = ()
    max_box_area: float = 0.08
    iou_threshold: float = 0.5
    layout: str | None = None
    channel_order: str | None = None
    pixel_range: float | None = None
    input_size: tuple[int, int] | None = None
    weights: str | None = None
    pixel_mean: tuple[float, ...] | None = None
    pixel_std: tuple[float, ...] | None = None
    task: str | None = None

    def __post_init__(self) -> None:
        for flag in ("score_threshold", "max_box_area", "iou_threshold"):
            value = getattr(self, flag)
            if not 0 < value <= 1:
                raise InputError(f"--{flag} {value}: expected a number above 0, at most 1")
        for flag, choices in (("layout", tuple(LAYOUTS)), ("channel_order", ("RGB", "BGR")), ("pixel_range", (255, 1))):
            value = getattr(self, flag)
            if value is not None and value not in choices:
                raise InputError(f"detector {flag} {value!r}: expected one of {', '.join(map(str, choices))}")
        if self.input_size is not None and (len(self.input_size) != 2 or any(n < 1 or n % 32 for n in self.input_size)):
            raise InputError(f"--detector_input_size {self.input_size}: expected height and width, multiples of 32")
        for flag, least in (("pixel_mean", -np.inf), ("pixel_std", 0)):
            value = getattr(self, flag)
            if value is not None and not (len(value) == 3 and all(least < v < np.inf for v in value)):
                raise InputError(f"--{flag} {value}: expected three numbers (R, G, B of 0..1)")

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
            if not isinstance(known.get("weights"), str | None):
                raise TypeError
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
    """A network whose results count. Subclasses say what it finds (`detect`) and what Acc is (`accuracy`).

    What it does depends on its settings alone; `settings.task` is filled in.
    """

    task = "detection"
    class_names: tuple[str, ...]

    def __init__(self, settings: DetectorSettings) -> None:
        self.settings = replace(settings, task=self.task)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @abstractmethod
    def detect(self, frames: np.ndarray) -> list[Any]:
        """What is found in each frame: uint8 [N, H, W, 3] RGB → N Detections; of `segmentation`, N class maps."""

    @abstractmethod
    def accuracy(self, clear: torch.Tensor) -> Objective:
        """Acc of a clear frame float32 [1, 3, H, W] RGB 0..255, on `device`, that requires a gradient."""

    def tensor(self, frames: np.ndarray) -> torch.Tensor:
        """uint8 [N, H, W, 3] RGB → float32 [N, 3, H, W] on the detector's device."""
        given = torch.from_numpy(np.ascontiguousarray(frames)).to(self.device).permute(0, 3, 1, 2)
        # planes, not pixels, lie together: as fast or faster in every detector that was tried on a processor
        return given.to(torch.float32, memory_format=torch.contiguous_format)

    def counted_classes(self) -> list[int]:
        """The places in `class_names` of the classes that count."""
        if not self.settings.classes:
            return list(range(len(self.class_names)))
        return [class_number(name, self.class_names) for name in self.settings.classes]


class Dense(NamedTuple):
    """Everything a detector of boxes puts out for N frames, before any threshold.

    scores: of each frame float32 [P] in [0, 1], differentiable in the frames; a place (0..P − 1) means the same in
    each frame of one size, given the same proposals. decode: (number of the frame, places int64 [k]) → boxes float32
    [k, 4] (x1, y1, x2, y2 in its pixels) and labels int64 [k], without gradient. rivals: of so many consecutive
    places only the best counts (the classes of one box, where a box has one class). proposals: what the first of two
    stages proposed in each frame; None where there is one stage.
    """

    scores: Sequence[torch.Tensor] | torch.Tensor
    decode: Callable[[int, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    rivals: int = 1
    proposals: list[Any] | None = None


class Kept(NamedTuple):
    """The detections of one frame that count: places int64 [n] in its scores, boxes [n, 4], scores [n], labels [n]."""

    places: torch.Tensor
    boxes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor


class BoxDetector(Detector):
    """A detector of boxes. Acc is the sum of the scores of the detections kept on the clear frame.

    Thresholds and NMS choose the detections; the gradient flows through the scores of those chosen. Subclasses give
    `class_names` and implement `dense`.
    """

    @abstractmethod
    def dense(self, frames: torch.Tensor, proposals: list[Any] | None = None) -> Dense:
        """Everything the network puts out for frames float32 [N, 3, H, W], RGB 0..255, on `device`.

        proposals: of each frame, in the place of those that the first of two stages would make.
        """

    def kept(self, dense: Dense, hw: tuple[int, int]) -> list[Kept]:
        """The detections that count in each of the frames of `hw`, by falling score, their boxes clipped to the frame.

        Score threshold, the best class of a box, classes, box area, then NMS within each class.
        """
        return [self._kept_of(n, scores.detach(), dense, hw) for n, scores in enumerate(dense.scores)]

    def _kept_of(self, n: int, scores: torch.Tensor, dense: Dense, hw: tuple[int, int]) -> Kept:
        (places,) = (scores >= self.settings.score_threshold).nonzero(as_tuple=True)
        if len(places) > MOST_CANDIDATES:
            places = places[scores[places].topk(MOST_CANDIDATES).indices]
        boxes, labels = dense.decode(n, places)
        boxes, of_places = clip_boxes_to_image(boxes, hw), scores[places]
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        # a box that lies outside the frame has no area left
        counts = (areas > 0) & (areas <= self.settings.max_box_area * hw[0] * hw[1])
        if dense.rivals > 1:
            counts &= of_places == scores.view(-1, dense.rivals)[places // dense.rivals].amax(-1)
        if self.settings.classes:
            counts &= torch.isin(labels, torch.tensor(self.counted_classes(), device=labels.device))
        kept = Kept(*(values[counts] for values in (places, boxes, of_places, labels)))
        order = batched_nms(kept.boxes, kept.scores, kept.labels, self.settings.iou_threshold)
        return Kept(*(values[order] for values in kept))

    @torch.no_grad()
    def detect(self, frames: np.ndarray) -> list[Detections]:
        found = []
        for start in range(0, len(frames), BATCH):
            batch = self.tensor(frames[start : start + BATCH])
            for kept in self.kept(self.dense(batch), (batch.shape[2], batch.shape[3])):
                found.append(Detections(*(values.cpu().numpy() for values in kept[1:])))
        return found

    def accuracy(self, clear: torch.Tensor) -> Objective:
        dense = self.dense(clear)
        (kept,) = self.kept(dense, (clear.shape[2], clear.shape[3]))
        value = dense.scores[0][kept.places].sum()
        return Objective(value, len(kept.places), partial(self.followed, kept, dense.proposals))

    def followed(self, kept: Kept, proposals: list[Any] | None, frames: torch.Tensor) -> torch.Tensor:
        """Acc [N], in each of the frames, of the detections `kept` on a clear frame."""
        dense = self.dense(frames, proposals * len(frames) if proposals else None)
        return torch.stack([scores[kept.places].sum() for scores in dense.scores])


class BuiltinDetector(BoxDetector):
    """The kit's own street detector, for the demo and for trying the kit out."""

    def __init__(self, settings: DetectorSettings) -> None:
        from regenhance_data.street.detector import CLASS_NAMES, load_street_detector

        super().__init__(settings)
        self.class_names = tuple(CLASS_NAMES)
        self._network = load_street_detector().to(self.device)
        self._network.requires_grad_(False)

    def dense(self, frames: torch.Tensor, proposals: list[Any] | None = None) -> Dense:
        boxes, class_scores = self._network(frames)
        classes = class_scores.shape[-1]
        return Dense(
            class_scores.flatten(1), lambda n, places: (boxes[n, places // classes].detach(), places % classes), classes
        )


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


def class_number(name: str, class_names: Sequence[str]) -> int:
    """The place of a class given by its name or its number. InputError when there is none."""
    if name in class_names:
        return class_names.index(name)
    if name.isdecimal() and int(name) < len(class_names):
        return int(name)
    more = len(class_names) - NAMES_SHOWN
    names = ", ".join(class_names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
    raise InputError(f"--classes {name}: the detector has no such class; it has {names} (or their numbers from 0)")


def detector_record(settings: DetectorSettings) -> dict[str, Any]:
    """What dataset.yaml says about the detector: its settings and what its weights are."""
    if settings.spec == "builtin":
        from regenhance_data.street.detector import WEIGHTS

        return {**settings.to_dict(), "sha256": sha256(WEIGHTS)}
    module, name = _module(settings)
    return {**settings.to_dict(), **module.identity(name, settings)}


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that `settings_from` reads. A flag that is not given leaves no attribute, so that settings recorded
    in dataset.yaml can show through.
    """
    group = parser.add_argument_group("detector", argument_default=argparse.SUPPRESS)
    add = group.add_argument
    add("--detector", dest="spec", metavar="SPEC", help=f"the detector whose accuracy counts: {EXISTING}")
    add(
        "--detector_weights",
        dest="weights",
        metavar="WEIGHTS",
        help="of torchvision: DEFAULT, COCO_V1, … (downloaded), a .pth file, or none (random); of detectron2: a .pth "
        "or .pkl file, or none (default: torchvision's DEFAULT; what the YAML names)",
    )
    add("--score_threshold", type=float, help="detections below it do not count (default: 0.3)")
    add("--classes", nargs="+", metavar="CLASS", help="names or numbers that count: person,car (default: all)")
    add(
        "--max_box_area",
        type=float,
        help="share of the frame; larger boxes do not count, as in AccMPEG and RegenHance (default: 0.08)",
    )
    add("--iou_threshold", type=float, help="of the NMS within each class (default: 0.5)")
    add(
        "--detector_input_size",
        dest="input_size",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="make frames fit it (default: as torchvision and detectron2 do it for the model; of a file, the frame's "
        "own size where the graph allows, else the graph's)",
    )
    file = parser.add_argument_group("detector from an ONNX or TorchScript file", argument_default=argparse.SUPPRESS)
    add = file.add_argument
    add("--detector_layout", dest="layout", choices=tuple(LAYOUTS), help="of the output (default: by what comes out)")
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


def settings_from(args: argparse.Namespace, recorded: Mapping[str, Any] | None = None) -> DetectorSettings:
    """The settings that the flags of `add_detector_arguments` give.

    Without --detector, flags change the `recorded` settings (dataset.yaml's `detector`), else the defaults.
    """
    given = {f.name: getattr(args, f.name) for f in fields(DetectorSettings) if hasattr(args, f.name)}
    if "classes" in given:
        names = [name.strip() for word in given["classes"] for name in word.split(",")]
        given["classes"] = [name for name in names if name]
    base = {} if "spec" in given or not isinstance(recorded, Mapping) else recorded
    return DetectorSettings.from_dict({**base, **given})
