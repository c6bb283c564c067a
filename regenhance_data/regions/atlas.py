"""Rectangles packed into one picture, for engines whose calls are costly or take one shape."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import product
from math import ceil, gcd, inf
from typing import NamedTuple

import numpy as np

_WIDTHS = 80  # so many are tried at most: a packing takes much less time than the pixels that it spares
_DENSE = 0.92  # share of an atlas that is full; more is not worth the time
_NARROWEST, _WIDEST = 0.5, 3.0  # widths tried, as shares of the side of a square of the same area
_FEW = 24  # rectangles, which leave more of an atlas empty: a second order is tried


class Atlas(NamedTuple):
    """A picture of height × width that holds rectangles; places: (top, left) of each, in the order given."""

    height: int
    width: int
    places: list[tuple[int, int]]


def pack(sizes: Sequence[tuple[int, int]], width: int) -> Atlas:
    """Places for rectangles (height, width) in an atlas of this width and little height; none overlap.

    Best fit (Burke, Kendall, Whitwell, "A New Placement Heuristic for the Orthogonal Stock-Cutting Problem", 2004): the
    lowest gap takes the widest rectangle that it has room for. ValueError for a rectangle wider than the atlas.
    """
    if any(size[1] > width for size in sizes):
        raise ValueError(f"a rectangle of {max(size[1] for size in sizes)} pixels in an atlas of {width}")
    together = sum(height for height, _ in sizes)  # room for all of them
    return _atlas(sizes, _packed(_by_width(sizes), together, width, needs_all=True), width)


def pack_densely(sizes: Sequence[tuple[int, int]]) -> Atlas:
    """As `pack`, in the least area of some widths that are tried; few rectangles also with the tallest instead of the
    widest. The same for the same sizes.
    """
    if not sizes:
        return Atlas(0, 0, [])
    area, tallest = sum(height * width for height, width in sizes), max(height for height, _ in sizes)
    best = pack(sizes, max(width for _, width in sizes))
    orders = [_by_width(sizes), _by_height(sizes)][: 1 + (len(sizes) <= _FEW)]
    for order, width in product(orders, _widths(sizes, area)):
        if area >= _DENSE * best.height * best.width:
            break
        most = (best.height * best.width - 1) // width  # rows, for less area
        if max(tallest, ceil(area / width)) > most:
            continue
        places = _packed(order, most, width, needs_all=True)
        if len(places) == len(sizes):
            best = _atlas(sizes, places, width)
    return best


def _widths(sizes: Sequence[tuple[int, int]], area: int) -> Iterator[int]:
    """Widths of an atlas, those near a square's first, each once."""
    widths = [width for _, width in sizes]
    widest, unit, side = max(widths), gcd(*widths), area**0.5
    shares = sorted(np.geomspace(_NARROWEST, _WIDEST, _WIDTHS).tolist(), key=lambda share: max(share, 1 / share))
    yield from dict.fromkeys(max(widest, round(side * share / unit) * unit) for share in shares)


def pack_into(sizes: Sequence[tuple[int, int]], height: int, width: int) -> list[dict[int, tuple[int, int]]]:
    """Few pictures of height × width that hold rectangles (height, width), as `pack`: {index: (top, left)} of each.

    ValueError for a rectangle that is larger than a picture.
    """
    if any(size[0] > height or size[1] > width for size in sizes):
        raise ValueError(f"a rectangle is larger than {height}x{width}")
    upright = _pictures(sizes, height, width)
    if len(upright) == 1:
        return upright
    turned = _pictures([size[::-1] for size in sizes], width, height)  # packed from left to right
    if len(upright) <= len(turned):
        return upright
    return [{number: place[::-1] for number, place in picture.items()} for picture in turned]


def _pictures(sizes: Sequence[tuple[int, int]], height: int, width: int) -> list[dict[int, tuple[int, int]]]:
    left_over = _by_width(sizes)
    pictures: list[dict[int, tuple[int, int]]] = []
    while left_over:
        pictures.append(_packed(left_over, height, width, needs_all=False))
        left_over = [one for one in left_over if one.number not in pictures[-1]]
    return pictures


class _Sized(NamedTuple):
    width: int
    height: int
    number: int


def _by_width(sizes: Sequence[tuple[int, int]]) -> list[_Sized]:
    return sorted(_Sized(width, height, index) for index, (height, width) in enumerate(sizes))


def _by_height(sizes: Sequence[tuple[int, int]]) -> list[_Sized]:
    return sorted(_by_width(sizes), key=lambda one: one.height)


def _atlas(sizes: Sequence[tuple[int, int]], places: dict[int, tuple[int, int]], width: int) -> Atlas:
    height = max((top + sizes[index][0] for index, (top, _) in places.items()), default=0)
    return Atlas(height, width, [places[index] for index in range(len(sizes))])


def _packed(order: Sequence[_Sized], height: int, width: int, *, needs_all: bool) -> dict[int, tuple[int, int]]:
    """Places (top, left) of rectangles in a picture of height × width, without those that find none. order: a gap takes
    the last one that has room in it. needs_all: end at the first that finds no place.
    """
    # the upper edge of what is packed: `tops[n]` from `lefts[n]` to the next one
    lefts, tops, places = [0, width], [0], dict[int, tuple[int, int]]()
    waiting, widths = list(order), [one.width for one in order]
    is_by_width = widths == sorted(widths)
    while waiting:
        top = min(tops)
        gap = tops.index(top)
        left, end = lefts[gap], lefts[gap + 1]
        before = tops[gap - 1] if gap else inf
        after = tops[gap + 1] if gap + 1 < len(tops) else inf
        taken = bisect_right(widths, end - left) - 1 if is_by_width else _last_within(widths, end - left)
        while taken >= 0 and top + waiting[taken].height > height:  # and no other gap is lower
            if needs_all:
                return places
            taken = taken - 1 if is_by_width else _last_within(widths[:taken], end - left)
        if taken >= 0:
            across, high, number = waiting.pop(taken)
            del widths[taken]
            is_left = before >= after  # beside the higher neighbour
            begin = left if is_left else end - across
            places[number] = top, begin
            if across < end - left:
                lefts.insert(gap + 1, left + across if is_left else begin)
                tops.insert(gap + is_left, top)
                gap += not is_left
            tops[gap] = top = top + high
        elif min(before, after) < inf:
            tops[gap] = top = int(min(before, after))  # stays empty
        else:
            break
        if gap + 1 < len(tops) and tops[gap + 1] == top:  # join equal ones
            del lefts[gap + 1], tops[gap + 1]
        if gap and tops[gap - 1] == top:
            del lefts[gap], tops[gap]
    return places


def _last_within(widths: Sequence[int], most: int) -> int:
    """The index of the last width that is at most `most`; -1 without one."""
    return next((index for index in range(len(widths) - 1, -1, -1) if widths[index] <= most), -1)
