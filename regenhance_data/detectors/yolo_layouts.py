"""What YOLO-style networks put out, and how to tell (cells: those of the grids at strides 8, 16 and 32; C: classes).

| layout | output | boxes | score | input |
| --- | --- | --- | --- | --- |
| yolox | [N, cells, 5 + C] | centre = (xy + cell) · stride, size = exp(wh) · stride | object · class | BGR 0..255 |
| yolox_decoded | [N, cells, 5 + C] | centre and size in pixels | object · class | BGR 0..255 |
| yolov5 | [N, 3 · cells, 5 + C] | centre and size in pixels | object · class | RGB 0..1 |
| yolov8 | [N, 4 + C, cells] | centre and size in pixels | class | RGB 0..1 |

Sources: Megvii YOLOX (yolox/models/yolo_head.py, decode_outputs; decoded with --decode_in_inference), Ultralytics
YOLOv5 (models/yolo.py) and YOLOv8 (nn/modules/head.py).
"""

from dataclasses import dataclass
from functools import lru_cache

import torch

STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Layout:
    """A row of the table above. anchors: boxes a cell; white: the input's value of a white pixel."""

    channel_order: str
    white: float
    anchors: int = 1
    has_object: bool = True
    boxes_last: bool = False
    in_pixels: bool = True

    def fits(self, output: torch.Tensor, hw: tuple[int, int]) -> bool:
        """Whether the output at an input of `hw` has the shape of the layout."""
        if output.ndim != 3:
            return False
        rows, values = output.shape[:0:-1] if self.boxes_last else output.shape[1:]
        return rows == self.anchors * _cells(hw) and values > 4 + self.has_object

    def scores(self, output: torch.Tensor) -> torch.Tensor:
        """The score of each class in each box, [N, A, C]."""
        rows = self._rows(output)
        return rows[..., 5:] * rows[..., 4:5] if self.has_object else rows[..., 4:]

    def boxes(self, output: torch.Tensor, n: int, places: torch.Tensor, hw: tuple[int, int]) -> torch.Tensor:
        """The boxes (x1, y1, x2, y2 in pixels of the input of `hw`) at some places of the n-th input, [k, 4]."""
        rows = self._rows(output)[n, places]
        centre, size = rows[:, :2], rows[:, 2:4]
        if not self.in_pixels:
            cells, strides = _grid(hw, output.device)
            centre, size = (centre + cells[places]) * strides[places], size.exp() * strides[places]
        return torch.cat([centre - size / 2, centre + size / 2], dim=-1)

    def _rows(self, output: torch.Tensor) -> torch.Tensor:
        return output.transpose(1, 2) if self.boxes_last else output


LAYOUTS = {
    "yolox": Layout("BGR", 255, in_pixels=False),
    "yolox_decoded": Layout("BGR", 255),
    "yolov5": Layout("RGB", 1, anchors=3),
    "yolov8": Layout("RGB", 1, has_object=False, boxes_last=True),
}


def recognised(output: torch.Tensor, hw: tuple[int, int]) -> str | None:
    """The layout of an output at an input of `hw`, None where it is none."""
    for name, layout in LAYOUTS.items():
        if layout.fits(output, hw):
            return "yolox_decoded" if name == "yolox" and _spreads(output, hw) else name
    return None


def _spreads(output: torch.Tensor, hw: tuple[int, int]) -> bool:
    """Whether the centres are those of cells spread over the picture, not offsets from them."""
    cells, strides = _grid(hw, output.device)
    centres = output[0, :, :2]
    return bool((centres / strides - cells).abs().median() < centres.abs().median())


def _cells(hw: tuple[int, int]) -> int:
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
