"""Selected macroblocks as few rectangles, each with the halo of pixels around it that super-resolution needs."""

from typing import NamedTuple

import numpy as np

from regenhance_data.grid import MacroblockGrid

_NEVER = -(1 << 40)
_OUTWARD = np.array([-1, -1, 1, 1])  # of top, left, bottom, right


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


class Region(NamedTuple):
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
    at a time, those first that save most, as long as their common rectangle does not cost more than both. grid: of the
    LR frame, like halo_px.
    """
    cells = _joined(runs(selected), grid, halo_px)
    inner, outer = _pixels(cells, grid, 0), _pixels(cells, grid, halo_px)
    sides = zip(cells.tolist(), inner.tolist(), outer.tolist(), strict=True)
    return [Region(*map(Rectangle._make, three)) for three in sides]


def runs(selected: np.ndarray) -> np.ndarray:
    """The runs of selected macroblocks, bool [rows, cols], in each row: int64 [n, 4], top, left, bottom, right."""
    padded = np.zeros((selected.shape[0], selected.shape[1] + 2), np.int8)
    padded[:, 1:-1] = selected
    steps = padded[:, 1:] - padded[:, :-1]
    (rows, starts), (_, ends) = np.nonzero(steps == 1), np.nonzero(steps == -1)
    return np.stack([rows, starts, rows + 1, ends], axis=1)


def _pixels(cells: np.ndarray, grid: MacroblockGrid, halo_px: int) -> np.ndarray:
    """Macroblocks [n, 4] → their pixels and the halo, cut at the frame."""
    corners = cells * grid.mb_size + _OUTWARD * halo_px
    return np.minimum(np.maximum(corners, 0, out=corners), (grid.height, grid.width) * 2, out=corners)


def _joined(cells: np.ndarray, grid: MacroblockGrid, halo_px: int) -> np.ndarray:
    """The rectangles of macroblocks [n, 4], joined where that does not cost more; n² in memory."""
    # [-top, -left, bottom, right] of each: what two have in common is then a maximum, an extent a sum
    sides = (cells * _OUTWARD).T
    outer = (_pixels(cells, grid, halo_px) * _OUTWARD).T
    count, costs = len(cells), _areas(outer)
    savings = costs[:, None] + costs - _areas(np.maximum(outer[:, :, None], outer[:, None]))
    savings[np.tril_indices(count)] = _NEVER
    is_left = np.ones(count, bool)
    while count and savings.flat[best := int(savings.argmax())] >= 0:
        kept, other = divmod(best, count)
        np.maximum(sides[:, kept], sides[:, other], out=sides[:, kept])
        np.maximum(outer[:, kept], outer[:, other], out=outer[:, kept])
        held = is_left & (sides <= sides[:, kept, None]).all(0)  # the other one, and what lies between
        held[kept] = False
        is_left[held], savings[held], savings[:, held] = False, _NEVER, _NEVER
        costs[kept] = _areas(outer[:, kept])
        saved = np.where(is_left, costs[kept] + costs - _areas(np.maximum(outer, outer[:, kept, None])), _NEVER)
        savings[kept, kept + 1 :], savings[:kept, kept] = saved[kept + 1 :], saved[:kept]
    return sides.T[is_left] * _OUTWARD


def _areas(rectangles: np.ndarray) -> np.ndarray:
    """[4, ...], as -top, -left, bottom, right → [...]."""
    return (rectangles[2] + rectangles[0]) * (rectangles[3] + rectangles[1])
