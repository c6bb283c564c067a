"""A detector as one ONNX graph, from a frame's pixels to boxes and scores: traced from the code that makes importance.

The inputs of its network, the network and the decoding of its outputs are in the graph; thresholds and NMS are not
(filtering.py).
"""

import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import torch
from onnx2torch.utils import common

from regenhance_data.detectors.base import BoxDetector, DenseOutput, Detector
from regenhance_data.detectors.filtering import BOXES, CLASSES, FRAMES, LABELS, SCORES
from regenhance_data.detectors.preprocessing import RUN_ERRORS
from regenhance_data.detectors.segmentation import Segmenter
from regenhance_data.errors import InputError, one_line
from regenhance_data.io.leftovers import temporary_folder

OPSET = 17
# Where onnx2torch's modules look for the opset of an export: once torchvision is imported, PyTorch's has none.
common.symbolic_helper = SimpleNamespace(_export_onnx_opset_version=OPSET)


@dataclass(frozen=True)
class Rows:
    """What the rows of a detector of boxes are.

    first_label: of the first column of the scores where the columns are classes; None where each row has a label.
    one_class_per_row: whether only the best class of a row can be a detection.
    """

    first_label: int | None
    one_class_per_row: bool


class DetectorGraph:
    """A detector as a graph for frames of one size (height, width). rows: of a detector of boxes, else None.

    Input `frames` uint8 [batch, H, W, 3] RGB. Outputs `boxes` float32 [batch, rows, 4] (x1, y1, x2, y2 in the frame's
    pixels, unclipped), `scores` float32 [batch, rows, C] and, where each row has a label, `labels` int64 [batch, rows];
    for segmentation `classes` uint8 [batch, H, W].

    InputError where rows are not the same ones in all frames, as after NMS, or where a row has a box for each class.
    """

    def __init__(self, detector: Detector, frame_hw: tuple[int, int]) -> None:
        self.detector, self.frame_hw = detector, frame_hw
        self.rows: Rows | None = None
        self._module: Any
        if isinstance(detector, Segmenter):
            self._module = _ClassGraph(detector)
        else:
            assert isinstance(detector, BoxDetector)
            self.rows = _rows_of(detector, frame_hw)
            self._module = _BoxGraph(detector, self.rows)
        self._module.add_module("script", detector.script)

    def onnx(self, batch: int) -> onnx.ModelProto:
        """The graph for so many frames at once. InputError where it cannot be traced."""
        example = torch.zeros(batch, *self.frame_hw, 3, dtype=torch.uint8, device=self.detector.device)
        names = self._module.names
        options: Any = {"opset_version": OPSET, "input_names": [FRAMES], "output_names": names, "dynamo": False}
        with temporary_folder() as folder, warnings.catch_warnings(action="ignore"), torch.no_grad():
            path = folder / "detector.onnx"
            try:
                shapes = [made.shape for made in self._module(example)]
                module = self._module
                if self.detector.script is not None:  # the exporter's own trace refuses modules of TorchScript
                    module = torch.jit.trace(module, (example,), check_trace=False)
                torch.onnx.export(module, (example,), str(path), **options)
            except RUN_ERRORS as error:
                raise _refusal(self.detector, one_line(error)) from None
            model = onnx.load(path)
        for value, shape in zip(model.graph.output, shapes, strict=True):  # the exporter leaves some sizes out
            sizes = value.type.tensor_type.shape
            del sizes.dim[:]
            for size in shape:
                sizes.dim.add().dim_value = size
        return model

    @torch.no_grad()
    def outputs(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """What the graph should give for frames uint8 [N, H, W, 3] RGB, by the names of its outputs, [N, …] each."""
        parts = [self._module(torch.from_numpy(one[None]).to(self.detector.device)) for one in frames]
        joined = [torch.cat(made).cpu().numpy() for made in zip(*parts, strict=True)]
        return dict(zip(self._module.names, joined, strict=True))


@torch.no_grad()
def _rows_of(detector: BoxDetector, frame_hw: tuple[int, int]) -> Rows:
    noise = np.random.default_rng(0).integers(256, size=(1, *frame_hw, 3), dtype=np.uint8)
    made = [detector.dense(detector.tensor(frames)) for frames in (noise, np.zeros_like(noise))]
    has_rows = all(isinstance(dense.scores, torch.Tensor) and dense.proposals is None for dense in made)
    if not has_rows or made[0].scores[0].shape != made[1].scores[0].shape:
        raise _refusal(detector, "the number of its boxes changes from frame to frame")
    last = made[0].scores[0].shape[1] - 1
    (boxes, first), (others, labels) = _decoded(made[0], 0, 0), _decoded(made[0], 0, last)
    if not torch.equal(boxes, others):
        raise _refusal(detector, "it has a box for each class")
    is_class = last > 0 and bool((labels - first == last).all()) and bool((first == first[0]).all())
    return Rows(int(first[0]) if is_class else None, made[0].one_class_per_row)


class _BoxGraph(torch.nn.Module):
    def __init__(self, detector: BoxDetector, rows: Rows) -> None:
        super().__init__()
        self._detector, self._has_labels = detector, rows.first_label is None
        self.names = [BOXES, SCORES, LABELS] if self._has_labels else [BOXES, SCORES]

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
        dense = self._detector.dense(self._detector.pixels(frames))
        decoded = [_decoded(dense, index, 0) for index in range(int(frames.shape[0]))]
        boxes, labels = (torch.stack(values) for values in zip(*decoded, strict=True))
        assert isinstance(dense.scores, torch.Tensor)
        made = boxes.float(), dense.scores.float(), labels
        return made[: len(self.names)]


class _ClassGraph(torch.nn.Module):
    names = (CLASSES,)

    def __init__(self, detector: Segmenter) -> None:
        super().__init__()
        self._detector = detector

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (torch.stack([*self._detector.class_maps(self._detector.pixels(frames))]),)


def _decoded(dense: DenseOutput, index: int, column: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The boxes and labels of all rows of a frame, in a column of the scores."""
    scores = dense.scores[index]
    rows = torch.arange(int(scores.shape[0]), device=scores.device)
    return dense.decode(index, rows, torch.full_like(rows, column))


def _refusal(detector: Detector, reason: str) -> InputError:
    return InputError(f"{detector.settings.spec}: cannot be exported as one ONNX graph: {reason}")
