"""Detectors in one file (ONNX, TorchScript): their kind is found by running them.

The output decides: a tensor of rank 3 in a YOLO layout; final detections, as torchvision's scripted models give them;
or a tensor of rank 4 [N, C, h, w] (or a dict with it under 'out'), which is segmentation.
"""

from typing import Any

import torch
from torchvision.ops import box_iou

from regenhance_data.detectors.base import BoxDetector, DenseOutput, Detector, FilteredDetections
from regenhance_data.detectors.preprocessing import (
    IMAGENET,
    Network,
    PixelFormat,
    ProbedNetwork,
    Source,
    probe_network,
    sizes_text,
)
from regenhance_data.detectors.segmentation import Segmenter
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.detectors.yolo_decoding import decode_boxes, decode_scores, fits_layout, recognise_layout
from regenhance_data.detectors.yolo_layouts import LAYOUTS
from regenhance_data.errors import InputError
from regenhance_data.io.torch_weights import default_device

SAME_BOX_IOU = 0.5  # from this overlap on, final detections in two frames are the same object


class YoloDetector(BoxDetector):
    """A YOLO-style network. InputError where its output has no known layout."""

    def __init__(self, probed: ProbedNetwork, settings: DetectorSettings) -> None:
        super().__init__(settings)
        path, output, hw = probed.source.path, probed.output, probed.hw
        name = settings.layout or recognise_layout(output, hw)
        if name is None or not fits_layout(LAYOUTS[name], output, hw):
            raise InputError(
                f"{path}: is not a detector of layout {name or ', '.join(LAYOUTS)}: its output is {list(output.shape)} "
                f"for {sizes_text([hw])}; export the detector alone, without NMS"
            )
        layout = LAYOUTS[name]
        scores = decode_scores(layout, output)
        if scores.min() < 0 or scores.max() > 1:
            raise InputError(f"{path}: its class scores leave 0..1; export the detector with its sigmoid")
        self._layout = layout
        self._network = Network(
            probed, PixelFormat(layout.channel_order, layout.white), lambda made, at: fits_layout(layout, made, at)
        )
        self.class_names = probed.source.class_names(scores.shape[-1])

    def dense(self, frames: torch.Tensor, proposals: list[Any] | None = None) -> DenseOutput:
        output, fit = self._network(frames)
        raw = output.detach()

        def decode(index: int, rows: torch.Tensor, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return fit.to_frame(decode_boxes(self._layout, raw, index, rows, fit.outer_hw)), columns

        return DenseOutput(decode_scores(self._layout, output), decode, one_class_per_row=True)


class FinalDetector(BoxDetector):
    """A network whose outputs are final detections: dicts of boxes, scores and labels, after NMS.

    Rows do not correspond from frame to frame: in another frame, a detection is the one of its class that overlaps it
    most, from SAME_BOX_IOU on.
    """

    def __init__(self, probed: ProbedNetwork, settings: DetectorSettings) -> None:
        super().__init__(settings)
        self._network = Network(probed, PixelFormat(), lambda made, at: True, multiple=1)
        # without names in the file: as many numbers as torchvision's models of COCO have classes
        self.class_names = probed.source.class_names(max(probed.source.names, default=90) + 1)

    def dense(self, frames: torch.Tensor, proposals: list[Any] | None = None) -> DenseOutput:
        found, fit = self._network(frames)

        def decode(index: int, rows: torch.Tensor, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return fit.to_frame(found[index]["boxes"].detach()[rows]), found[index]["labels"][rows]

        return DenseOutput([one["scores"][:, None] for one in found], decode)

    def accuracy_of(
        self, detections: FilteredDetections, proposals: list[Any] | None, frames: torch.Tensor
    ) -> torch.Tensor:
        dense = self.dense(frames)
        return torch.stack([_matched_scores(detections, dense, index).sum() for index in range(len(frames))])


def _matched_scores(detections: FilteredDetections, dense: DenseOutput, index: int) -> torch.Tensor:
    """The scores in one frame of the objects that match the detections."""
    scores = dense.scores[index][:, 0]
    rows = torch.arange(len(scores), device=scores.device)
    boxes, labels = dense.decode(index, rows, torch.zeros_like(rows))
    ious = box_iou(detections.boxes, boxes) * (detections.labels[:, None] == labels)
    if not ious.numel():
        return scores[:0]
    best, matches = ious.max(1)
    return scores[matches[best >= SAME_BOX_IOU]]


class FileSegmenter(Segmenter):
    """A network whose output is a map for each class: logits, or probabilities, recognised by their values."""

    def __init__(self, probed: ProbedNetwork, settings: DetectorSettings) -> None:
        super().__init__(settings)
        output, hw = probed.output, probed.hw
        classes = max(output.shape[1], 2)
        if classes > 256 or output.shape[2] > hw[0] or output.shape[3] > hw[1]:
            raise InputError(
                f"{probed.source.path}: is not a detector: its output is {list(output.shape)} for {sizes_text([hw])}; "
                "a map of classes has at most 256 of them and the input's size"
            )
        sums = output.sum(1) if output.shape[1] > 1 else output.new_ones(1)
        self._is_probability = bool(output.min() >= 0 and output.max() <= 1 and (sums - 1).abs().max() < 1e-3)
        rows, cols = output.shape[2:]

        def fits(made: Any, at: tuple[int, int]) -> bool:
            return made.ndim == 4 and (made.shape[2] * hw[0], made.shape[3] * hw[1]) == (rows * at[0], cols * at[1])

        mean, std = IMAGENET
        self._network = Network(probed, PixelFormat(mean=mean, std=std), fits)
        self.class_names = probed.source.class_names(classes)

    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        output, fit = self._network(frames)
        if output.shape[1] == 1:  # one map: of the class, against the background
            nothing = 1 - output if self._is_probability else torch.zeros_like(output)
            output = torch.cat([nothing, output], dim=1)
        if self._is_probability:
            output = output.clamp(min=torch.finfo(output.dtype).tiny).log()
        rows, cols = (
            max(round(size * inner / outer), 1)
            for size, inner, outer in zip(output.shape[2:], fit.inner_hw, fit.outer_hw, strict=True)
        )
        return output[..., :rows, :cols]


def load_exported(source: Source, settings: DetectorSettings) -> Detector:
    """The detector in a file. InputError where its output is of no known kind."""
    probed = probe_network(source, settings, default_device())
    if not isinstance(probed.output, torch.Tensor):
        return FinalDetector(probed, settings)
    if probed.output.ndim == 4:
        return FileSegmenter(probed, settings)
    return YoloDetector(probed, settings)
