"""The halo of an upscaler: how far around an HR pixel the network looks, so how much a region must show it."""

from dataclasses import dataclass

import numpy as np

from regenhance_data.upscalers.base import UpscalingNetwork

FARTHEST_PX = 128  # with more around it, a macroblock is most of a 360-line frame
_BEYOND_PX = 16  # LR pixels of a frame beyond the halo in question
_LEAST_CENTRE_PX = 16
_MOVED_PX = 5
_FRAMES = 2  # of noise; each has hundreds of HR pixels in the centre, and each must show the dependence alone


@dataclass(frozen=True)
class Halo:
    """px: LR pixels around a region with which its HR pixels are those of the whole frame; None where there is no such
    number. how: how it was found, or why there is none, for users.
    """

    px: int | None
    how: str


def exact_halo(network: UpscalingNetwork) -> Halo:
    """The halo of a network: known of its kind, else measured on noise.

    Measured: the least distance beyond which changed pixels change no number of the network's output in the centre.
    It is then tried on regions at the frame's corners and edges, so that a network that pads inside, attends over
    windows or takes a mean of the frame is found.
    """
    if network.known_halo_px is not None and not network.fixed_hw:  # of which it is only what tiles overlap by
        return Halo(network.known_halo_px, "known")
    farthest = most_halo(network)
    px = _measured(network, farthest) if farthest > 0 else None
    if px is None:
        return Halo(None, f"a pixel depends on others more than {max(farthest, 0)} pixels away")
    if not (_is_movable(network, px) if network.fixed_hw else _serves(network, px)):
        return Halo(None, "its pixels depend on where they are in its input")
    return Halo(px, "measured")


def most_halo(network: UpscalingNetwork) -> int:
    """The largest halo that a network may have, in LR pixels; below 0 where its one size leaves none."""
    if not network.fixed_hw:
        return FARTHEST_PX
    # the centre, and what is beyond the halo, are in its input too
    return min(FARTHEST_PX, (min(network.fixed_hw) - _LEAST_CENTRE_PX - _BEYOND_PX) // 2)


def _measured(network: UpscalingNetwork, farthest: int) -> int | None:
    within, beyond = 0, -1  # the least distance known to suffice, the greatest known not to
    while _reaches(network, within):
        if within == farthest:
            return None
        within, beyond = min(max(2 * within, 4), farthest), within
    while within - beyond > 1:
        middle = (within + beyond) // 2
        within, beyond = (within, middle) if _reaches(network, middle) else (middle, beyond)
    return within


def _reaches(network: UpscalingNetwork, px: int) -> bool:
    """Whether the centre's HR pixels depend on LR pixels more than `px` away from it."""
    multiple, scale = network.multiple, network.scale
    # both begin at multiples: networks that work on blocks then see the centre as one of them
    centre = -(-_LEAST_CENTRE_PX // multiple) * multiple
    first = -(-(px + _BEYOND_PX) // multiple) * multiple
    sides = network.fixed_hw or (2 * first + centre,) * 2
    firsts = [(side - centre) // 2 // multiple * multiple for side in sides]
    seen = (slice(None), *(slice(max(at - px, 0), at + centre + px) for at in firsts))
    kept = (slice(None), *(slice(at * scale, (at + centre) * scale) for at in firsts))
    rng = np.random.default_rng(0)
    for _ in range(_FRAMES):
        frame, other = rng.integers(0, 256, (2, 1, *sides, 3), np.uint8)
        other[seen] = frame[seen]
        made, made_of_other = (network.values(one)[kept] for one in (frame, other))
        if not np.array_equal(made, made_of_other):
            return True
    return False


def _serves(network: UpscalingNetwork, px: int) -> bool:
    """Whether corners and edges, cut with this halo, are those of the whole frame, to within rounding."""
    multiple, scale = network.multiple, network.scale
    side = -(-(2 * px + 3 * _LEAST_CENTRE_PX) // multiple) * multiple
    odd = multiple if multiple > 1 else 7  # where a part may begin
    frame = np.random.default_rng(1).integers(0, 256, (1, side, side, 3), np.uint8)
    whole = network(frame).astype(int)
    for first, last in ((0, side - odd), (odd, side)):  # rows and columns: all but the last, all but the first
        made = network(np.ascontiguousarray(frame[:, first:last, first:last]))
        expected = whole[:, first * scale : last * scale, first * scale : last * scale]
        inside = slice(px * scale if first else 0, (last - first - (px if last < side else 0)) * scale)
        if np.abs(expected - made)[:, inside, inside].max(initial=0) > 1:
            return False
    return True


def _is_movable(network: UpscalingNetwork, px: int) -> bool:
    """Whether a network of one size makes the same pixels, to within rounding, of what is elsewhere in its input."""
    assert network.fixed_hw is not None
    (height, width), scale, moved = network.fixed_hw, network.scale, _MOVED_PX
    frame = np.random.default_rng(1).integers(0, 256, (1, height + moved, width + moved, 3), np.uint8)
    one, other = (
        network(np.ascontiguousarray(frame[:, at : at + height, at : at + width])).astype(int) for at in (0, moved)
    )
    common = one[:, moved * scale :, moved * scale :] - other[:, : (height - moved) * scale, : (width - moved) * scale]
    inside = slice(px * scale, -px * scale or None)
    return int(np.abs(common[:, inside, inside]).max(initial=0)) <= 1
