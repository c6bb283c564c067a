"""Rectangles packed into one picture, for engines whose calls are dear or of one shape."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Widths tried for the densest atlas: each costs a packing, which takes longer the more rectangles there are.
_TRIALS = 400
_MOST_TRIALS, _FEWEST_TRIALS = 20, 3
_WIDEST = 3.0  # widths tried, as shares of the side of a square of the same area: 1 / _WIDEST × 1.5 and up


class Atlas(NamedTuple):
    """A picture of height × width that holds rectangles; places: (top, left) of each, in the order given."""

    height: int
    width: int
    places: list[tuple[int, int]]


class _Step(NamedTuple):
    """A part of the upper edge of what is packed so far."""

    left: int
    top: int
    width: int


def pack(sizes: Sequence[tuple[int, int]], width: int) -> Atlas:
    """Places for rectangles (height, width) in an atlas of this width and little height; none overlap.

    Skyline, bottom left (Jylänki, "A Thousand Ways to Pack the Bin", 2010): high rectangles first, each where it ends
    lowest. ValueError for a rectangle wider than the atlas.
    """
    if any(size[1] > width for size in sizes):
        raise ValueError(f"a rectangle of {max(size[1] for size in sizes)} pixels in an atlas of {width}")
    together = sum(height for height, _ in sizes)  # room for all of them
    placed = {index: place for picture in pack_into(sizes, together, width) for index, place in picture.items()}
    places = [placed[index] for index in range(len(sizes))]
    return Atlas(max((top + sizes[i][0] for i, (top, _) in enumerate(places)), default=0), width, places)


def pack_densely(sizes: Sequence[tuple[int, int]]) -> Atlas:
    """As `pack`, in the least area of some widths that are tried."""
    if not sizes:
        return Atlas(0, 0, [])
    side = float(np.sqrt(sum(height * width for height, width in sizes)))
    count = min(max(_TRIALS // len(sizes), _FEWEST_TRIALS), _MOST_TRIALS)
    widest = max(width for _, width in sizes)
    widths = {max(widest, round(side * share)) for share in np.geomspace(1.5 / _WIDEST, _WIDEST, count)}
    return min((pack(sizes, width) for width in sorted(widths)), key=lambda atlas: atlas.height * atlas.width)


def pack_into(sizes: Sequence[tuple[int, int]], height: int, width: int) -> list[dict[int, tuple[int, int]]]:
    """Few pictures of height × width that hold rectangles (height, width), as `pack`: {index: (top, left)} of each.

    ValueError for a rectangle that is larger than a picture.
    """
    if any(size[0] > height or size[1] > width for size in sizes):
        raise ValueError(f"a rectangle is larger than {height}x{width}")
    left_over = sorted(range(len(sizes)), key=lambda index: (-sizes[index][0], -sizes[index][1]))
    pictures: list[dict[int, tuple[int, int]]] = []
    while left_over:
        skyline, places = [_Step(0, 0, width)], dict[int, tuple[int, int]]()
        for index in left_over:
            high, across = sizes[index]
            tops = [
                (top, step.left)
                for number, step in enumerate(skyline)
                if step.left + across <= width and (top := _top_at(skyline, number, across)) + high <= height
            ]
            if tops:
                top, left = places[index] = min(tops)
                skyline = _raised(skyline, _Step(left, top + high, across))
        pictures.append(places)
        left_over = [index for index in left_over if index not in places]
    return pictures


def _top_at(skyline: Sequence[_Step], number: int, across: int) -> int:
    """The height at which a rectangle comes to lie that begins at a step."""
    top, end = 0, skyline[number].left + across
    for step in skyline[number:]:
        if step.left >= end:
            break
        top = max(top, step.top)
    return top


def _raised(skyline: Sequence[_Step], new: _Step) -> list[_Step]:
    """The edge with a new step over a part of it."""
    end, steps = new.left + new.width, [new]
    for step in skyline:
        if step.left < new.left:
            steps.append(step._replace(width=min(step.width, new.left - step.left)))
        if step.left + step.width > end:
            left = max(step.left, end)
            steps.append(_Step(left, step.top, step.left + step.width - left))
    joined: list[_Step] = []
    for step in sorted(steps):
        if joined and joined[-1].top == step.top:
            joined[-1] = joined[-1]._replace(width=joined[-1].width + step.width)
        else:
            joined.append(step)
    return joined
