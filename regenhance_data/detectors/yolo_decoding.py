"""YOLO outputs decoded into boxes and scores, and which layout an output has."""

from functools import lru_cache

import torch

from regenhance_data.detectors.yolo_layouts import LAYOUTS, STRIDES, Layout


def fits_layout(layout: Layout, output: torch.Tensor, hw: tuple[int, int]) -> bool:
    """Whether the output for an input of `hw` has the shape of the layout."""
    if output.ndim != 3:
        return False
    rows, values = output.shape[:0:-1] if layout.boxes_last else output.shape[1:]
    return rows == layout.anchors * _cell_count(hw) and values > 4 + layout.has_object


def recognise_layout(output: torch.Tensor, hw: tuple[int, int]) -> str | None:
    """The name of the layout of an output for an input of `hw`, None where it has none of them."""
    for name, layout in LAYOUTS.items():
        if fits_layout(layout, output, hw):
            return "yolox_decoded" if name == "yolox" and _is_decoded(output, hw) else name
    return None


def decode_scores(layout: Layout, output: torch.Tensor) -> torch.Tensor:
    """The score of each class in each row (box), [N, rows, C]."""
    rows = _rows(layout, output)
    return rows[..., 5:] * rows[..., 4:5] if layout.has_object else rows[..., 4:]


def decode_boxes(
    layout: Layout, output: torch.Tensor, frame: int, rows: torch.Tensor, hw: tuple[int, int]
) -> torch.Tensor:
    """The boxes of some rows of one frame's output, [k, 4] (x1, y1, x2, y2 in pixels of the input of `hw`)."""
    values = _rows(layout, output)[frame, rows]
    centre, size = values[:, :2], values[:, 2:4]
    if not layout.in_pixels:
        cells, strides = _grid(hw, output.device)
        centre, size = (centre + cells[rows]) * strides[rows], size.exp() * strides[rows]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def _rows(layout: Layout, output: torch.Tensor) -> torch.Tensor:
    return output.transpose(1, 2) if layout.boxes_last else output


def _is_decoded(output: torch.Tensor, hw: tuple[int, int]) -> bool:
    """Whether the centres are in pixels, spread over the image, and not offsets from the cells."""
    cells, strides = _grid(hw, output.device)
    centres = output[0, :, :2]
    return bool((centres / strides - cells).abs().median() < centres.abs().median())


def _cell_count(hw: tuple[int, int]) -> int:
    return sum((hw[0] // stride) * (hw[1] // stride) for stride in STRIDES)


@lru_cache(maxsize=4)
def _grid(hw: tuple[int, int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The column and row [A, 2] and the stride [A, 1] of each cell."""
    cells, strides = [], []
    for stride in STRIDES:
        rows, cols = torch.meshgrid(torch.arange(hw[0] // stride), torch.arange(hw[1] // stride), indexing="ij")
        cells.append(torch.stack([cols, rows], dim=-1).reshape(-1, 2))
        strides.append(torch.full((rows.numel(), 1), stride))
    return torch.cat(cells).to(device), torch.cat(strides).to(device)
