"""Detectors in one file (ONNX, TorchScript): what the network does is found out by running it.

Three kinds are known by what comes out: a tensor of rank 3 in a YOLO layout; final detections, as torchvision's
scripted models give them; a tensor of rank 4 [N, C, h, w] (or a dict with it under 'out'), which is segmentation.
"""

from typing import Any

import torch
from torchvision.ops import box_iou

from regenhance_data.detectors.base import BoxDetector, Dense, Detector, Kept
from regenhance_data.detectors.preprocessing import IMAGENET, PLAIN, Network, Source, sizes_text
from regenhance_data.detectors.segmentation import Segmenter
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.detectors.yolo_decoding import decode_boxes, decode_scores, fits_layout, recognise_layout
from regenhance_data.detectors.yolo_layouts import LAYOUTS
from regenhance_data.errors import InputError

SAME_BOX_IOU = 0.5  # a final detection is the clear frame's one from this overlap on


class YoloDetector(BoxDetector):
    """A YOLO-style network. InputError where its output is of no layout that is known."""

    def __init__(self, network: Network, settings: DetectorSettings) -> None:
        super().__init__(settings)
        path, output, hw = network.source.path, network.output, network.own_hw
        name = settings.layout or recognise_layout(output, hw)
        if name is None or not fits_layout(LAYOUTS[name], output, hw):
            raise InputError(
                f"{path}: is no detector of layout {name or ', '.join(LAYOUTS)}: it puts out {list(output.shape)} for "
                f"{sizes_text([hw])}; export the detector alone, without NMS"
            )
        self._network, self._layout = network, LAYOUTS[name]
        network.set_any_size(lambda output, hw: fits_layout(self._layout, output, hw))
        network.set_convention(PLAIN, self._layout.channel_order, self._layout.white)
        scores = decode_scores(self._layout, output)
        if scores.min() < 0 or scores.max() > 1:
            raise InputError(f"{path}: its class scores leave 0..1; export the detector with its sigmoid")
        self.class_names = network.source.class_names(scores.shape[-1])

    def dense(self, frames: torch.Tensor, proposals: list[Any] | None = None) -> Dense:
        output, fit = self._network(frames)
        scores, raw = decode_scores(self._layout, output), output.detach()
        classes = scores.shape[-1]

        def decode(n: int, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            boxes = decode_boxes(self._layout, raw, n, places // classes, fit.outer_hw)
            return fit.to_frame(boxes), places % classes

        return Dense(scores.flatten(1), decode, rivals=classes)


class FinalDetector(BoxDetector):
    """A network that puts out final detections: dicts of boxes, scores and labels, NMS done.

    Its places mean nothing from frame to frame: at another frame, a detection is the one of its class that overlaps
    it most, from MATCH_IOU on.
    """

    def __init__(self, network: Network, settings: DetectorSettings) -> None:
        super().__init__(settings)
        self._network = network
        network.set_any_size(lambda output, hw: True, multiple=1)
        network.set_convention(PLAIN, "RGB", 1)
        # where the file does not tell, numbers are names enough: as many as torchvision's models of COCO have
        self.class_names = network.source.class_names(max(network.source.names, default=90) + 1)

    def dense(self, frames: torch.Tensor, proposals: list[Any] | None = None) -> Dense:
        found, fit = self._network(frames)

        def decode(n: int, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return fit.to_frame(found[n]["boxes"].detach()[places]), found[n]["labels"][places]

        return Dense([one["scores"] for one in found], decode)

    def followed(self, kept: Kept, proposals: list[Any] | None, frames: torch.Tensor) -> torch.Tensor:
        dense = self.dense(frames)
        return torch.stack([_matched(kept, dense, n).sum() for n in range(len(frames))])


def _matched(kept: Kept, dense: Dense, n: int) -> torch.Tensor:
    """The scores in the n-th frame of the detections that match those kept."""
    scores = dense.scores[n]
    boxes, labels = dense.decode(n, torch.arange(len(scores), device=scores.device))
    ious = box_iou(kept.boxes, boxes) * (kept.labels[:, None] == labels)
    if not ious.numel():
        return scores[:0]
    best, places = ious.max(1)
    return scores[places[best >= SAME_BOX_IOU]]


class FileSegmenter(Segmenter):
    """A network that puts out a map for each class: logits, or probabilities, which are told by their values."""

    def __init__(self, network: Network, settings: DetectorSettings) -> None:
        super().__init__(settings)
        self._network = network
        output, hw = network.output, network.own_hw
        classes = max(output.shape[1], 2)
        if classes > 256 or output.shape[2] > hw[0] or output.shape[3] > hw[1]:
            raise InputError(
                f"{network.source.path}: is no detector: it puts out {list(output.shape)} for {sizes_text([hw])}; a "
                "map of classes has at most 256 of them and the input's size"
            )
        sums = output.sum(1) if output.shape[1] > 1 else output.new_ones(1)
        self._is_probability = bool(output.min() >= 0 and output.max() <= 1 and (sums - 1).abs().max() < 1e-3)
        rows, cols = output.shape[2:]
        network.set_any_size(
            lambda probe, at: (
                probe.ndim == 4 and (probe.shape[2] * hw[0], probe.shape[3] * hw[1]) == (rows * at[0], cols * at[1])
            )
        )
        network.set_convention(IMAGENET, "RGB", 1)
        self.class_names = network.source.class_names(classes)

    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        output, fit = self._network(frames)
        if output.shape[1] == 1:  # one map: how much each pixel is of the class, against what it is else
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
    """The detector in a file. InputError where it is none that is known."""
    network = Network(source, settings, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if not isinstance(network.output, torch.Tensor):
        return FinalDetector(network, settings)
    if network.output.ndim == 4:
        return FileSegmenter(network, settings)
    return YoloDetector(network, settings)
