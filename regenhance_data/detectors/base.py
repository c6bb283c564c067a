"""Detectors: what they find in a frame, and the accuracy that importance differentiates."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision.ops import batched_nms, clip_boxes_to_image

from regenhance_data.detections import Detections
from regenhance_data.detectors.class_names import class_number
from regenhance_data.detectors.settings import DetectorSettings

# Composites of one frame that go through the network together: enough to fill a GPU with 1080p frames, while two CPU
# cores gain nothing from more than one and pay for each in memory.
BATCH = 4
# The best that NMS compares: it takes the square of their number, and a street has some hundred.
MOST_CANDIDATES = 10_000


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
