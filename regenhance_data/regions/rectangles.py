"""Selected macroblocks as few rectangles, each with the halo of pixels around it that super-resolution needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from regenhance_data.grid import MacroblockGrid

_NEVER = -(1 << 40)


class Rectangle(NamedTuple):
    """Pixels or macroblocks from (top, left) up to, but without, (bottom, right)."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def area(self) -> int:
        return self.height * self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rectangle of an array [height, width, ...]."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def scaled(self, scale: int) -> "Rectangle":
        """The same rectangle in a frame `scale` times as large."""
        return Rectangle(*(side * scale for side in self))

    def within(self, other: "Rectangle") -> "Rectangle":
        """The same rectangle, counted from the top left corner of another one."""
        return Rectangle(self.top - other.top, self.left - other.left, self.bottom - other.top, self.right - other.left)


@dataclass(frozen=True)
class Region:
    """A part of an LR frame that is enhanced in one piece.

    cells: its macroblocks, of which some may not be selected. inner: their pixels in the LR frame. outer: the pixels
    that super-resolution sees, `inner` and the halo, as far as there is a frame.
    """

    cells: Rectangle
    inner: Rectangle
    outer: Rectangle


def cover(selected: np.ndarray, grid: MacroblockGrid, halo_px: int) -> list[Region]:
    """Rectangles of macroblocks that together hold all `selected` ones, bool [rows, cols], at low cost.

    The cost of a region is the area of its `outer` rectangle. Runs of macroblocks in a row are joined, two rectangles
    at a time, those first that save most, as long as their common rectangle is not dearer than both. grid: of the LR
    frame, like halo_px.
    """
    boxes = _joined(runs(selected), grid, halo_px)
    inner, outer = _pixels(boxes, grid, 0), _pixels(boxes, grid, halo_px)
    return [
        Region(*(Rectangle(*row) for row in rows))
        for rows in zip(*(a.tolist() for a in (boxes, inner, outer)), strict=True)
    ]


def enhanced_area(regions: Sequence[Region]) -> int:
    """LR pixels that super-resolution sees."""
    return sum(region.outer.area for region in regions)


def runs(selected: np.ndarray) -> np.ndarray:
    """The runs of selected macroblocks, bool [rows, cols], in each row: int64 [n, 4], top, left, bottom, right."""
    padded = np.zeros((selected.shape[0], selected.shape[1] + 2), np.int8)
    padded[:, 1:-1] = selected
    steps = padded[:, 1:] - padded[:, :-1]
    (rows, starts), (_, ends) = np.nonzero(steps == 1), np.nonzero(steps == -1)
    return np.stack([rows, starts, rows + 1, ends], axis=1)


def _pixels(boxes: np.ndarray, grid: MacroblockGrid, halo_px: int) -> np.ndarray:
    """Macroblocks [..., 4] → their pixels and the halo, cut at the frame."""
    mb_size, result = grid.mb_size, np.empty_like(boxes)
    np.maximum(boxes[..., :2] * mb_size - halo_px, 0, out=result[..., :2])
    np.minimum(boxes[..., 2] * mb_size + halo_px, grid.height, out=result[..., 2])
    np.minimum(boxes[..., 3] * mb_size + halo_px, grid.width, out=result[..., 3])
    return result


def _joined(boxes: np.ndarray, grid: MacroblockGrid, halo_px: int) -> np.ndarray:
    """The boxes [n, 4], joined where that is not dearer; n² in memory."""

    def cost(of: np.ndarray) -> np.ndarray:
        pixels = _pixels(of, grid, halo_px)
        return (pixels[..., 2] - pixels[..., 0]) * (pixels[..., 3] - pixels[..., 1])

    count, costs = len(boxes), cost(boxes)
    savings = costs[:, None] + costs - cost(_common(boxes[:, None], boxes))
    savings[np.tril_indices(count)] = _NEVER
    while count and savings.flat[best := int(savings.argmax())] >= 0:
        kept, other = divmod(best, count)
        both = _common(boxes[kept], boxes[other])
        held = ((boxes[:, :2] >= both[:2]) & (boxes[:, 2:] <= both[2:])).all(1)  # others too
        held[kept] = False
        boxes[held], savings[held], savings[:, held] = -1, _NEVER, _NEVER
        boxes[kept], costs[kept] = both, cost(both)
        saved = costs[kept] + costs - cost(_common(boxes, both))
        saved[boxes[:, 0] < 0] = _NEVER
        savings[kept, kept + 1 :], savings[:kept, kept] = saved[kept + 1 :], saved[:kept]
    return boxes[boxes[:, 0] >= 0]


def _common(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The least boxes that hold both."""
    return np.concatenate([np.minimum(one[..., :2], other[..., :2]), np.maximum(one[..., 2:], other[..., 2:])], axis=-1)
