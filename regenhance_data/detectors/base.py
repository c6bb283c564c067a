"""Detectors: detections in a frame, and the accuracy that importance differentiates."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from regenhance_data.detections import Detections
from regenhance_data.detectors.class_names import counted_classes
from regenhance_data.detectors.filtering import MOST_CANDIDATES, not_suppressed
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.io.torch_weights import default_device

# Frames that go through the network in one batch: enough to fill a GPU with 1080p frames, while two CPU cores gain
# nothing from more than one frame and each costs memory.
BATCH = 4
_MANY = 1000  # candidates, from which NMS in NumPy takes longer than torchvision's takes to import


@dataclass(frozen=True)
class Objective:
    """The accuracy Acc on one HR frame, and Acc in other frames for the same detections.

    value: Acc, a scalar that is differentiable in the HR frame. detections: their number (for segmentation, pixels).
    at: frames float32 [N, 3, H, W] RGB 0..255 of the HR frame's size → Acc of the same detections in each, [N],
    differentiable in the frames.
    """

    value: torch.Tensor
    detections: int
    at: Callable[[torch.Tensor], torch.Tensor]


class Detector(ABC):
    """A detection or segmentation network. Subclasses implement `detect` and `accuracy`.

    Its results depend on its settings alone; `settings.task` and, of a file, `settings.read_as` are filled in.
    """

    task = "detection"
    class_names: tuple[str, ...]
    script: torch.nn.Module | None = None  # the TorchScript module that it calls, which a trace has to know
    too_large = 0  # detections dropped for their area, since the detector was loaded

    def __init__(self, settings: DetectorSettings) -> None:
        self.settings = replace(settings, task=self.task, read_as=None)
        self.device = default_device()

    def describe(self, read_as: str) -> None:
        """Record in the settings what a file was taken for."""
        self.settings = replace(self.settings, read_as=read_as)

    @abstractmethod
    def detect(self, frames: np.ndarray) -> list[Any]:
        """Frames uint8 [N, H, W, 3] RGB → N Detections; for the task `segmentation`, N class maps uint8 [H, W]."""

    @abstractmethod
    def accuracy(self, hr: torch.Tensor) -> Objective:
        """Acc on an HR frame float32 [1, 3, H, W] RGB 0..255, on `device`, that requires a gradient."""

    def tensor(self, frames: np.ndarray) -> torch.Tensor:
        """uint8 [N, H, W, 3] RGB → float32 [N, 3, H, W] on the detector's device."""
        return self.pixels(torch.from_numpy(np.ascontiguousarray(frames)).to(self.device))

    def pixels(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 [N, H, W, 3] RGB → float32 [N, 3, H, W]."""
        # not channels_last: contiguous was as fast or faster for every detector measured on a CPU
        return frames.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)

    def counted_classes(self) -> list[int]:
        """The indices in `class_names` of the classes that count."""
        return counted_classes(self.settings.classes, self.class_names)


@dataclass(frozen=True)
class DenseOutput:
    """The predictions of a box detector for N frames, before any threshold.

    scores: for each frame float32 [rows, classes] in [0, 1], differentiable in the frames. A row is a cell, an anchor
    or a proposal, and the same one in all frames of one size, given the same proposals. decode: (index of the frame,
    rows int64 [k], columns int64 [k]) → boxes float32 [k, 4] (x1, y1, x2, y2 in pixels of the frame) and labels
    int64 [k], without gradient. one_class_per_row: whether only the best class of a row can be a detection. proposals:
    of each frame, from the first stage of a two-stage detector; None for one stage.
    """

    scores: Sequence[torch.Tensor] | torch.Tensor
    decode: Callable[[int, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    one_class_per_row: bool = False
    proposals: list[Any] | None = None


@dataclass(frozen=True)
class FilteredDetections:
    """The detections of one frame after thresholds and NMS: rows and columns int64 [n] in the scores of the
    DenseOutput, boxes float32 [n, 4], scores float32 [n], labels int64 [n].
    """

    rows: torch.Tensor
    columns: torch.Tensor
    boxes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor

    def subset(self, index: torch.Tensor) -> "FilteredDetections":
        """Those of a boolean mask [n], or of indices in their order."""
        return FilteredDetections(*(values[index] for values in vars(self).values()))


class BoxDetector(Detector):
    """A detector of boxes. Acc is the sum of the scores of the detections on the HR frame.

    Thresholds and NMS select the detections; the gradient flows through their scores. Subclasses set `class_names` and
    implement `dense`. same_rows: whether a row of the scores is the same cell, anchor or proposal in every frame.
    """

    same_rows = True

    @abstractmethod
    def dense(self, frames: torch.Tensor, proposals: list[Any] | None = None) -> DenseOutput:
        """The predictions for frames float32 [N, 3, H, W], RGB 0..255, on `device`.

        proposals: of each frame, to use instead of those of the first of two stages.
        """

    def filtered(self, dense: DenseOutput, hw: tuple[int, int]) -> list[FilteredDetections]:
        """The detections in each frame of size `hw`, by falling score, with boxes clipped to the frame.

        Applies score threshold, best class of a row, classes, box area, then NMS within each class.
        """
        return [self._filtered(index, scores.detach(), dense, hw) for index, scores in enumerate(dense.scores)]

    def _filtered(
        self, index: int, scores: torch.Tensor, dense: DenseOutput, hw: tuple[int, int]
    ) -> FilteredDetections:
        rows, columns = (scores >= self.settings.score_threshold).nonzero(as_tuple=True)
        if len(rows) > MOST_CANDIDATES:
            best = scores[rows, columns].topk(MOST_CANDIDATES).indices
            rows, columns = rows[best], columns[best]
        boxes, labels = dense.decode(index, rows, columns)
        boxes = boxes.clamp(boxes.new_zeros(4), boxes.new_tensor([hw[1], hw[0]] * 2))
        candidates = FilteredDetections(rows, columns, boxes, scores[rows, columns], labels)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        # a box outside the frame has no area left
        counts = areas > 0
        if dense.one_class_per_row:
            counts &= candidates.scores == scores[rows].amax(-1)
        if self.settings.classes:
            counts &= torch.isin(labels, torch.tensor(self.counted_classes(), device=labels.device))
        is_large = areas > self.settings.max_box_area * hw[0] * hw[1]
        self.too_large += len(self._suppressed(candidates.subset(counts & is_large)).rows)
        return self._suppressed(candidates.subset(counts & ~is_large))

    def _suppressed(self, found: FilteredDetections) -> FilteredDetections:
        if len(found.rows) > _MANY:
            from torchvision.ops import batched_nms

            return found.subset(batched_nms(found.boxes, found.scores, found.labels, self.settings.iou_threshold))
        # not torchvision's, which keeps the same ones on a CPU: its import takes as long as that of all of PyTorch
        boxes, scores, labels = (values.cpu().numpy() for values in (found.boxes, found.scores, found.labels))
        kept = not_suppressed(boxes, scores, labels, self.settings.iou_threshold)
        return found.subset(torch.from_numpy(kept).to(found.boxes.device))

    @torch.no_grad()
    def detect(self, frames: np.ndarray) -> list[Detections]:
        results = []
        for start in range(0, len(frames), BATCH):
            batch = self.tensor(frames[start : start + BATCH])
            for found in self.filtered(self.dense(batch), (batch.shape[2], batch.shape[3])):
                results.append(
                    Detections(*(values.cpu().numpy() for values in (found.boxes, found.scores, found.labels)))
                )
        return results

    def accuracy(self, hr: torch.Tensor) -> Objective:
        dense = self.dense(hr)
        (found,) = self.filtered(dense, (hr.shape[2], hr.shape[3]))
        value = dense.scores[0][found.rows, found.columns].sum()
        return Objective(value, len(found.rows), partial(self.accuracy_of, found, dense.proposals))

    def accuracy_of(
        self, detections: FilteredDetections, proposals: list[Any] | None, frames: torch.Tensor
    ) -> torch.Tensor:
        """Acc [N] of an HR frame's `detections` in each of N other frames; `proposals` are those of the HR frame."""
        dense = self.dense(frames, proposals * len(frames) if proposals else None)
        return torch.stack([scores[detections.rows, detections.columns].sum() for scores in dense.scores])
