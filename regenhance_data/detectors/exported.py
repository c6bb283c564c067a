"""Detectors in one file (ONNX, TorchScript): the layout of their outputs is found by running them (recognition.py)."""

from typing import Any

import torch

from regenhance_data.detectors.base import BoxDetector, DenseOutput, Detector, FilteredDetections
from regenhance_data.detectors.candidates import Candidate, Probe
from regenhance_data.detectors.class_names import MOST_CLASSES
from regenhance_data.detectors.decoding import Predictions, Reading, decode
from regenhance_data.detectors.grids import cell_count
from regenhance_data.detectors.outputs import Outputs
from regenhance_data.detectors.preprocessing import Network, PixelFormat, ProbedNetwork, Source, probe_network
from regenhance_data.detectors.recognition import recognise
from regenhance_data.detectors.segmentation import Segmenter
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.io.torch_weights import default_device

SAME_BOX_IOU = 0.5  # from this overlap on, detections in two frames are the same object
_CLASSES_SHOWN = 4


class FileBoxDetector(BoxDetector):
    """A network whose outputs are boxes in a known layout. InputError where its scores have no gradient.

    Where rows do not correspond from frame to frame, a detection is in another frame the one of its class that overlaps
    it most, from SAME_BOX_IOU on.
    """

    def __init__(self, probed: ProbedNetwork, chosen: Candidate, settings: DetectorSettings) -> None:
        super().__init__(settings)
        self._reading = reading = chosen.reading
        self.same_rows = reading.layout.same_rows and reading.layout.name != "corners"
        is_final = reading.layout.name == "final"
        self._network = Network(
            probed,
            _pixel_format(reading),
            lambda outputs, at: _fits(reading, probed.outputs, outputs, at),
            multiple=1 if is_final else 32,
        )
        metadata = probed.source.metadata
        # labels alone do not say how many classes there are
        count = reading.classes or metadata.count or MOST_CLASSES
        self.class_names = probed.source.class_names(count)
        self._refuse_without_gradient(probed)
        self.describe(_words(chosen, self.class_names, self._network))

    def _refuse_without_gradient(self, probed: ProbedNetwork) -> None:
        """On noise and on a white frame; where all scores are exactly 0, as after NMS, there is no telling."""
        noise = torch.rand(1, 3, *probed.hw, generator=torch.Generator().manual_seed(0)).to(self.device) * 255
        gradients = []
        for frame in (noise, torch.full_like(noise, 255)):
            scores = self._predictions(frame.requires_grad_())[0].scores[0]
            if not scores.requires_grad:
                gradients.append(False)
            elif scores.any():
                (gradient,) = torch.autograd.grad(scores.sum(), frame, allow_unused=True)
                gradients.append(gradient is not None and bool(gradient.any()))
        if gradients and not any(gradients):
            raise InputError(
                f"{probed.source.path}: is recognised as {self._reading.layout.words}, but its scores have no gradient "
                "(it rounds or counts on the way, or is not trained); export it for float pixels, without NMS"
            )

    def _predictions(self, frames: torch.Tensor) -> tuple[Predictions, Any]:
        outputs, fit = self._network(frames)
        return decode(self._reading, outputs, fit.outer_hw), fit

    def dense(self, frames: torch.Tensor, proposals: list[Any] | None = None) -> DenseOutput:
        found, fit = self._predictions(frames)

        def boxes_of(index: int, rows: torch.Tensor, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            boxes = fit.to_frame(found.boxes[index][rows])
            return boxes, columns if found.labels is None else found.labels[index][rows]

        return DenseOutput(found.scores, boxes_of, one_class_per_row=found.labels is None)

    def accuracy_of(
        self, detections: FilteredDetections, proposals: list[Any] | None, frames: torch.Tensor
    ) -> torch.Tensor:
        if self.same_rows:
            return super().accuracy_of(detections, proposals, frames)
        dense = self.dense(frames)
        return torch.stack([_matched_scores(detections, dense, index).sum() for index in range(len(frames))])


def _matched_scores(detections: FilteredDetections, dense: DenseOutput, index: int) -> torch.Tensor:
    """The scores in one frame of the objects that match the detections."""
    from torchvision.ops import box_iou  # seconds to import, and few detectors need it

    scores = dense.scores[index]
    rows = torch.arange(len(scores), device=scores.device)
    best_of_row, columns = scores.max(1) if scores.numel() else (scores[:, 0], rows)
    boxes, labels = dense.decode(index, rows, columns)
    ious = box_iou(detections.boxes, boxes) * (detections.labels[:, None] == labels)
    if not ious.numel():
        return best_of_row[:0]
    best, matches = ious.max(1)
    return best_of_row[matches[best >= SAME_BOX_IOU]]


def _pixel_format(reading: Reading) -> PixelFormat:
    layout = reading.layout
    return PixelFormat(layout.channel_order, layout.white, *layout.mean_std)


def _fits(reading: Reading, probed: Outputs, outputs: Outputs, hw: tuple[int, int]) -> bool:
    """Whether the outputs for an input of `hw` have the layout that those of another size had."""
    if len(probed.tensors) != len(outputs.tensors):
        return False
    before, now = reading.tensors(probed), reading.tensors(outputs)
    if any(one.ndim != other.ndim for one, other in zip(before, now, strict=True)):
        return False
    if not reading.strides or not now:
        return True
    if len(now) > 1:
        places = sum(one.shape[1] if one.ndim == 3 else one.shape[-1] * one.shape[-2] for one in now)
        return all(one.ndim != 5 for one in now) and places % cell_count(hw, reading.strides) == 0
    rows, rows_before = (reading.rows(one).shape[1:] for one in (outputs, probed))
    is_multiple = rows[0] % cell_count(hw, reading.strides) == 0 and rows[0] // cell_count(hw, reading.strides) <= 3
    return is_multiple and rows[0] != rows_before[0] and rows[1] == rows_before[1]


def _words(chosen: Candidate, class_names: tuple[str, ...], network: Network) -> str:
    """How a file is read, for its user: YOLOv8: 2 classes (red, blue), RGB 0..1, 320x192."""
    layout, count = chosen.reading.layout, len(class_names)
    shown = ", ".join(class_names[:_CLASSES_SHOWN]) + (", …" if count > _CLASSES_SHOWN else "")
    classes = f"{'1 class' if count == 1 else f'{count} classes'} ({shown})"
    classes = "class names unknown" if count == MOST_CLASSES else classes
    doubt = f" (if it is {chosen.doubt}, give --detector_layout {chosen.doubt})" if chosen.doubt else ""
    return f"{layout.words}: {classes}, {network.pixel_format.words}, {network.size_words}{doubt}"


class FileSegmenter(Segmenter):
    """A network whose output is a map for each class: logits, or probabilities, recognised by their values."""

    def __init__(self, probed: ProbedNetwork, chosen: Candidate, settings: DetectorSettings) -> None:
        super().__init__(settings)
        self._reading = chosen.reading
        (output, *_), hw = self._reading.tensors(probed.outputs), probed.hw
        sums = output.sum(1) if output.shape[1] > 1 else output.new_ones(1)
        self._is_probability = bool(output.min() >= 0 and output.max() <= 1 and (sums - 1).abs().max() < 1e-3)
        rows, cols = output.shape[2:]

        def fits(made: Outputs, at: tuple[int, int]) -> bool:
            (now, *_) = self._reading.tensors(made)
            return now.ndim == 4 and (now.shape[2] * hw[0], now.shape[3] * hw[1]) == (rows * at[0], cols * at[1])

        self._network = Network(probed, _pixel_format(self._reading), fits)
        classes = max(output.shape[1], 2)
        self.class_names = probed.source.class_names(classes)
        if classes != self._reading.classes:  # one map, and the name of its class alone
            self.class_names = ("background", *probed.source.class_names(1))
        self.describe(_words(chosen, self.class_names, self._network))

    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        outputs, fit = self._network(frames)
        (output, *_) = self._reading.tensors(outputs)
        if output.shape[1] == 1:  # one map: of the class, against the background
            nothing = 1 - output if self._is_probability else torch.zeros_like(output)
            output = torch.cat([nothing, output], dim=1)
        if self._is_probability:
            output = output.clamp(min=torch.finfo(output.dtype).tiny).log()
        rows, cols = (
            max(round(int(size) * inner / outer), 1)
            for size, inner, outer in zip(output.shape[2:], fit.inner_hw, fit.outer_hw, strict=True)
        )
        return output[..., :rows, :cols]


def load_exported(source: Source, settings: DetectorSettings) -> Detector:
    """The detector in a file. InputError where its output is of no known kind."""
    probed = probe_network(source, settings, default_device())
    probe = Probe(probed.outputs, probed.hw, source.metadata, settings.anchors or (), settings.layout)
    try:
        chosen = recognise(probe)
    except InputError as error:
        raise InputError(f"{source.path}: {error}") from None
    made = FileSegmenter if chosen.reading.layout.name == "segmentation" else FileBoxDetector
    return made(probed, chosen, settings)
