"""Candidates for the layout of a network's outputs, and what their values say for and against them."""

from dataclasses import dataclass

import torch

from regenhance_data.detectors.class_names import MOST_CLASSES, Metadata
from regenhance_data.detectors.decoding import Hw, Reading
from regenhance_data.detectors.grids import Strides, cells
from regenhance_data.detectors.outputs import Outputs

SLACK = 1e-3  # of a score in 0..1, after float16 and quantisation
# Of the boxes for most inputs. For a network of 0..1, noise of 0..255 is absurd, and may turn boxes inside out.
LEAST_ORDERED = 0.9
NO_SIGMOID = "its class scores leave 0..1; export the detector with its sigmoid"


@dataclass(frozen=True)
class Probe:
    """The outputs of a network for several inputs of size `hw`, what its file says, and what the user says.

    anchors: --detector_anchors. layout: --detector_layout.
    """

    outputs: Outputs
    hw: Hw
    metadata: Metadata
    anchors: tuple[float, ...] = ()
    layout: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A layout that the outputs' shapes have. problem: what speaks against it in their values, '' if nothing does.
    is_hint: whether --detector_layout overrules it. doubt: another layout that the outputs could have as well.
    """

    reading: Reading
    problem: str = ""
    is_hint: bool = False
    doubt: str = ""


def unit_values(values: torch.Tensor) -> torch.Tensor:
    """Which of the last axis' values stay in 0..1, bool [V]."""
    flat = values.flatten(0, -2)
    return (flat.amin(0) >= -SLACK) & (flat.amax(0) <= 1 + SLACK)


def are_corners(values: torch.Tensor, hw: Hw | None = None) -> bool:
    """Whether boxes [N, ..., 4] have their second corner right of and below the first, nearly all of most inputs'; for
    `hw`, in pixels of it.
    """
    if hw is not None and not are_pixels(values, hw):
        return False
    first, second = values[..., :2], values[..., 2:4]
    slack = SLACK * values.abs().flatten(1).amax(1).clamp(min=1).reshape(-1, *[1] * (values.ndim - 1))
    ordered = (second >= first - slack).all(-1).flatten(1).float().mean(1)
    return bool(ordered.median() >= LEAST_ORDERED) and bool((second > first).any())


def are_pixels(boxes: torch.Tensor, hw: Hw) -> bool:
    """Whether boxes of any shape are in pixels of the input, not in shares of it."""
    return bool(boxes.amax() >= min(hw) / 4)


def are_corners_of_cells(boxes: torch.Tensor, hw: Hw, strides: Strides) -> bool:
    """Whether boxes [N, cells, 4] are corners in pixels: then the middle of a box, not its first corner, is at its
    cell.
    """
    places, sizes = cells(hw, strides, boxes.device)

    def distance(centres: torch.Tensor) -> torch.Tensor:
        return (centres / sizes - places - 0.5).abs().median()

    is_nearer = distance((boxes[..., :2] + boxes[..., 2:]) / 2) <= distance(boxes[..., :2])
    return bool(is_nearer) and are_corners(boxes, hw)


def are_labels(values: torch.Tensor) -> bool:
    """Whether values of any shape are numbers of classes."""
    are_whole = bool(((values - values.round()).abs() < SLACK).all())
    return are_whole and bool((values > -SLACK).all() and (values < MOST_CLASSES).all())


def is_decoded(values: torch.Tensor, hw: Hw, strides: Strides) -> bool:
    """Whether the centres in [N, cells, 4 or more] are in pixels, spread over the image, not offsets from the cells."""
    places, sizes = cells(hw, strides, values.device)
    centres = values[..., :2]
    return bool((centres / sizes - places).abs().median() < centres.abs().median())


def score_problem(unit: torch.Tensor) -> str:
    """What speaks against scores of which these, bool [C], stay in 0..1."""
    return "" if bool(unit.all()) else NO_SIGMOID


def is_unit(tensor: torch.Tensor) -> bool:
    """Whether all values stay in 0..1."""
    return bool((tensor >= -SLACK).all() and (tensor <= 1 + SLACK).all())
