"""Rectangles of a frame for a network of one input size: few calls, each as full as can be."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from regenhance_data.regions.atlas import pack_into
from regenhance_data.regions.rectangles import Rectangle
from regenhance_data.upscalers.base import UpscalingNetwork
from regenhance_data.upscalers.tiling import fixed_spans


class Piece(NamedTuple):
    """What of a rectangle goes through the network at once: it sees `seen`; `kept` of that holds, in the frame."""

    of: int
    seen: Rectangle
    kept: Rectangle


class Call(NamedTuple):
    """One input of the network: the pieces in it, each with its place there. window: the part of the frame that it is,
    None where it is packed.
    """

    window: Rectangle | None
    pieces: list[tuple[Piece, Rectangle]]


def calls_for(
    rectangles: Sequence[Rectangle], frame_hw: tuple[int, int], network: UpscalingNetwork, halo_px: int
) -> list[Call] | None:
    """The calls that show a network of one size all of these rectangles of a frame; None where the whole frame takes no
    more.

    A rectangle that is too large goes in pieces. Pieces at the frame's border go into windows of the frame, since there
    the network sees the border; so do others that lie in such a window. The rest is packed.
    """
    assert network.fixed_hw is not None
    most = int(
        np.prod([len(fixed_spans(*sides, network.overlap)) for sides in zip(frame_hw, network.fixed_hw, strict=True)])
    )
    pieces = [
        piece for number, one in enumerate(rectangles) for piece in _pieces(number, one, network.fixed_hw, halo_px)
    ]
    height, width = (min(sides) for sides in zip(frame_hw, network.fixed_hw, strict=True))
    calls: list[Call] = []
    while border := [piece for piece in pieces if not is_inside(piece.seen, frame_hw)]:
        if len(calls) + 1 >= most:
            return None
        top, left = min(border[0].seen.top, frame_hw[0] - height), min(border[0].seen.left, frame_hw[1] - width)
        window = Rectangle(top, left, top + height, left + width)
        here = [piece for piece in pieces if _holds(window, piece.seen)]
        calls.append(Call(window, [(piece, piece.seen.within(window)) for piece in here]))
        pieces = [piece for piece in pieces if not _holds(window, piece.seen)]
    for places in pack_into([(piece.seen.height, piece.seen.width) for piece in pieces], *network.fixed_hw):
        packed = [(pieces[number], _at(place, pieces[number].seen)) for number, place in places.items()]
        calls.append(Call(None, packed))
    return calls if len(calls) < most else None


def made_by(
    calls: Sequence[Call], lr: np.ndarray, rectangles: Sequence[Rectangle], network: UpscalingNetwork
) -> list[np.ndarray]:
    """The HR pixels of the rectangles of an LR frame, uint8 [h, w, 3] RGB, by `calls_for` them."""
    scale = network.scale
    made = [np.empty((one.height * scale, one.width * scale, 3), np.uint8) for one in rectangles]
    for call in calls:
        if call.window is not None:
            given = np.ascontiguousarray(lr[call.window.slices])
        else:
            assert network.fixed_hw is not None
            given = np.zeros((*network.fixed_hw, 3), np.uint8)
            for piece, place in call.pieces:
                given[place.slices] = lr[piece.seen.slices]
        hr = network(given[None])[0]
        for piece, place in call.pieces:
            found = hr[place.scaled(scale).slices][piece.kept.within(piece.seen).scaled(scale).slices]
            made[piece.of][piece.kept.within(rectangles[piece.of]).scaled(scale).slices] = found
    return made


def _pieces(number: int, one: Rectangle, fixed_hw: tuple[int, int], halo_px: int) -> list[Piece]:
    return [
        Piece(
            number,
            Rectangle(one.top + rows.first, one.left + cols.first, one.top + rows.last, one.left + cols.last),
            Rectangle(one.top + rows.start, one.left + cols.start, one.top + rows.stop, one.left + cols.stop),
        )
        for rows in fixed_spans(one.height, fixed_hw[0], halo_px)
        for cols in fixed_spans(one.width, fixed_hw[1], halo_px)
    ]


def is_inside(rectangle: Rectangle, frame_hw: tuple[int, int]) -> bool:
    """Whether it does not touch the frame's border."""
    height, width = frame_hw
    return min(rectangle.top, rectangle.left) > 0 and rectangle.bottom < height and rectangle.right < width


def _holds(window: Rectangle, other: Rectangle) -> bool:
    return (
        window.top <= other.top
        and window.left <= other.left
        and window.bottom >= other.bottom
        and window.right >= other.right
    )


def _at(place: tuple[int, int], size: Rectangle) -> Rectangle:
    top, left = place
    return Rectangle(top, left, top + size.height, left + size.width)
