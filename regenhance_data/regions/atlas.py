"""Rectangles packed into one picture, for engines whose calls are dear or of one shape."""

import random
from collections.abc import Iterator, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np

# A packing takes longer the more rectangles there are, so of few ones more are tried, until one is dense enough.
_TRIALS = 2000  # divided by the number of rectangles
_MOST_TRIALS, _FEWEST_TRIALS = 100, 8
_DENSE = 0.93  # share of an atlas that is full; more is not worth the time
_WIDEST = 3.0  # widths tried, as shares of the side of a square of the same area: 1 / _WIDEST × 1.5 and up
_SHUFFLED = 2  # times as many trials with an order that is a little another
_SHUFFLE = 0.3  # by how much a rectangle may be taken for higher than it is


class Atlas(NamedTuple):
    """A picture of height × width that holds rectangles; places: (top, left) of each, in the order given."""

    height: int
    width: int
    places: list[tuple[int, int]]


def pack(sizes: Sequence[tuple[int, int]], width: int) -> Atlas:
    """Places for rectangles (height, width) in an atlas of this width and little height; none overlap.

    Skyline, bottom left (Jylänki, "A Thousand Ways to Pack the Bin", 2010): high rectangles first, each where it ends
    lowest. ValueError for a rectangle wider than the atlas.
    """
    if any(size[1] > width for size in sizes):
        raise ValueError(f"a rectangle of {max(size[1] for size in sizes)} pixels in an atlas of {width}")
    together = sum(height for height, _ in sizes)  # room for all of them
    return _atlas(sizes, _packed(sizes, _highest_first(sizes), together, width, True), width)


def pack_densely(sizes: Sequence[tuple[int, int]]) -> Atlas:
    """As `pack`, in the least area of some widths and orders that are tried. The same for the same sizes."""
    if not sizes:
        return Atlas(0, 0, [])
    area, tallest = sum(height * width for height, width in sizes), max(height for height, _ in sizes)
    best = pack(sizes, max(width for _, width in sizes))
    for width, order in _trials(sizes, area):
        most = (best.height * best.width - 1) // width  # rows, for less area
        if max(tallest, ceil(area / width)) > most:
            continue
        places = _packed(sizes, order, most, width, True)
        if len(places) == len(sizes):
            best = _atlas(sizes, places, width)
            if area >= _DENSE * best.height * best.width:
                break
    return best


def _trials(sizes: Sequence[tuple[int, int]], area: int) -> Iterator[tuple[int, list[int]]]:
    """Widths of an atlas, those near a square's first, and orders of the rectangles."""
    count = min(max(_TRIALS // len(sizes), _FEWEST_TRIALS), _MOST_TRIALS)
    widest, order = max(width for _, width in sizes), _highest_first(sizes)
    shares = sorted(np.geomspace(1.5 / _WIDEST, _WIDEST, count).tolist(), key=lambda share: max(share, 1 / share))
    widths = list(dict.fromkeys(max(widest, round(area**0.5 * share)) for share in shares))
    yield from ((width, order) for width in widths)
    chance = random.Random(0)
    for _ in range(_SHUFFLED * count):
        higher = [height * (1 + _SHUFFLE * chance.random()) for height, _ in sizes]
        yield chance.choice(widths), sorted(order, key=lambda index: -higher[index])


def pack_into(sizes: Sequence[tuple[int, int]], height: int, width: int) -> list[dict[int, tuple[int, int]]]:
    """Few pictures of height × width that hold rectangles (height, width), as `pack`: {index: (top, left)} of each.

    ValueError for a rectangle that is larger than a picture.
    """
    if any(size[0] > height or size[1] > width for size in sizes):
        raise ValueError(f"a rectangle is larger than {height}x{width}")
    left_over = _highest_first(sizes)
    pictures: list[dict[int, tuple[int, int]]] = []
    while left_over:
        pictures.append(_packed(sizes, left_over, height, width, False))
        left_over = [index for index in left_over if index not in pictures[-1]]
    return pictures


def _highest_first(sizes: Sequence[tuple[int, int]]) -> list[int]:
    return sorted(range(len(sizes)), key=lambda index: (-sizes[index][0], -sizes[index][1]))


def _atlas(sizes: Sequence[tuple[int, int]], places: dict[int, tuple[int, int]], width: int) -> Atlas:
    height = max((top + sizes[index][0] for index, (top, _) in places.items()), default=0)
    return Atlas(height, width, [places[index] for index in range(len(sizes))])


def _packed(
    sizes: Sequence[tuple[int, int]], order: Sequence[int], height: int, width: int, needs_all: bool
) -> dict[int, tuple[int, int]]:
    """Places (top, left) of rectangles in a picture of height × width, in this order, each where it ends lowest, of
    equal ones the first; without those that find none. needs_all: end at the first that finds none.
    """
    # the upper edge of what is packed: `tops[n]` from `lefts[n]` to the next one
    lefts, tops, places = [0, width], [0], dict[int, tuple[int, int]]()
    for index in order:
        high, across = sizes[index]
        found = _lowest(lefts, tops, across, height - high) if min(tops) + high <= height else None
        if found is None:
            if needs_all:
                break
            continue
        top, first, last = found
        left = lefts[first]
        places[index] = top, left
        end = left + across
        rest = [(end, tops[last - 1])] if end < lefts[last] else []
        steps = [(left, top + high), *rest]
        lefts[first:last], tops[first:last] = [one for one, _ in steps], [one for _, one in steps]
        for step in range(min(first + len(steps), len(tops) - 1), max(first, 1) - 1, -1):  # join equal ones
            if tops[step] == tops[step - 1]:
                del lefts[step], tops[step]
    return places


def _lowest(lefts: Sequence[int], tops: Sequence[int], across: int, most: int) -> tuple[int, int, int] | None:
    """(top, first, last): where a rectangle so wide lies lowest, at most at `most`, and the steps [first, last) below
    it.
    """
    found, furthest = None, lefts[-1] - across
    for first, (left, top) in enumerate(zip(lefts, tops, strict=False)):
        if left > furthest:
            break
        last, end = first + 1, left + across
        while top <= most and lefts[last] < end:
            if tops[last] > top:
                top = tops[last]
            last += 1
        if top <= most:
            found, most = (top, first, last), top - 1
    return found
