"""Enhancement of regions: HR pixels of some macroblocks, as upscaling of the whole frame makes them, for less."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from regenhance_data.console import warn
from regenhance_data.errors import InputError
from regenhance_data.regions.atlas import pack_densely
from regenhance_data.regions.rectangles import Rectangle, Region
from regenhance_data.upscalers.fixed_size import Call, calls_for, is_inside, made_by
from regenhance_data.upscalers.receptive_field import exact_halo, most_halo
from regenhance_data.upscalers.tiling import TiledUpscaler

MODES = ("whole", "regions", "atlas")


class RegionEnhancer:
    """Enhances the regions of LR frames. Threads may share one where they may share the upscaler.

    mode: 'regions' calls the upscaler for each region, which is best on a CPU. 'atlas' packs all regions into one
    picture, for engines that gain from few large calls; those at the frame's border are enhanced
    on their own, since there the network sees the border. 'whole' enhances the whole frame and cuts the regions out.
    All give the same pixels where the halo is the exact one. halo_px: LR pixels around a region that the upscaler sees,
    for `cover`; None takes the exact halo (see `exact_halo`). An upscaler that has none enhances whole frames, which a
    warning says. The regions for one that takes one size only are always packed, in pictures of that size. After that
    `mode` and `halo_px` are what holds.
    """

    def __init__(self, upscaler: TiledUpscaler, mode: str = "regions", halo_px: int | None = None) -> None:
        if mode not in MODES:
            raise ValueError(f"mode {mode}: expected one of {', '.join(MODES)}")
        self.mode, self.halo_px, self.scale = mode, halo_px or 0, upscaler.network.scale
        self._upscaler, self._multiple = upscaler, upscaler.network.multiple
        self._last_calls: tuple[Any, list[Call] | None] = None, None  # `pixels_seen` and `enhance` ask for the same
        is_fixed = upscaler.network.fixed_hw is not None
        if is_fixed and mode != "whole" and (halo_px or 0) > (most := max(most_halo(upscaler.network), 0)):
            raise InputError(
                f"--halo {halo_px}: {upscaler.network.source} takes inputs of one size, in which there is room for "
                f"{most} at most"
            )
        if mode == "whole" or (halo_px is not None and not is_fixed):
            return
        halo = exact_halo(upscaler.network)
        if halo.px is None:
            warn(f"{upscaler.network.source}: enhances whole frames, not regions: {halo.how}")
            self.mode, self.halo_px = "whole", 0
            return
        self.mode = "atlas" if is_fixed else mode
        self.halo_px = halo.px if halo_px is None else halo_px

    def enhance(self, lr: np.ndarray, regions: Sequence[Region]) -> list[np.ndarray]:
        """The HR pixels of each region's inner rectangle, uint8 [height·scale, width·scale, 3], of an LR frame, uint8
        [h, w, 3] RGB.

        The whole frame is enhanced where that takes no more pixels than the regions.
        """
        height, width = lr.shape[:2]
        seen = [self._aligned(region.outer, height, width) for region in regions]
        if not regions:
            return []
        if calls := self._calls(seen, (height, width)):
            made = made_by(calls, lr, seen, self._upscaler.network)
            return [self._inner(hr, region, one) for hr, region, one in zip(made, regions, seen, strict=True)]
        if self.pixels_seen(regions, (height, width)) == height * width:
            frame = Rectangle(0, 0, height, width)
            hr = self._made(lr, frame)
            return [self._inner(hr, region, frame) for region in regions]
        is_packed = [self.mode == "atlas" and is_inside(rectangle, (height, width)) for rectangle in seen]
        packed = iter(self._made_at_once(lr, [one for one, is_one in zip(seen, is_packed, strict=True) if is_one]))
        return [
            self._inner(next(packed) if is_one else self._made(lr, one), region, one)
            for region, one, is_one in zip(regions, seen, is_packed, strict=True)
        ]

    def pixels_seen(self, regions: Sequence[Region], lr_hw: tuple[int, int]) -> int:
        """How many LR pixels the upscaler sees for these regions of a frame (height, width), at most all; of an atlas,
        without what is left empty, unless it is of the one size that the upscaler takes.
        """
        whole = lr_hw[0] * lr_hw[1]
        if self.mode == "whole":
            return whole if regions else 0
        seen = [self._aligned(region.outer, *lr_hw) for region in regions]
        if fixed_hw := self._upscaler.network.fixed_hw:
            calls = self._calls(seen, lr_hw)
            return min(len(calls) * fixed_hw[0] * fixed_hw[1], whole) if calls is not None else whole
        return min(sum(one.area for one in seen), whole)

    def _calls(self, seen: Sequence[Rectangle], lr_hw: tuple[int, int]) -> list[Call] | None:
        """Those of a network of one size; None where the whole frame goes through it, and for other networks."""
        if self.mode == "whole" or not self._upscaler.network.fixed_hw:
            return None
        asked = (tuple(seen), lr_hw)
        known, calls = self._last_calls
        if known != asked:
            calls = calls_for(seen, lr_hw, self._upscaler.network, self.halo_px)
            self._last_calls = asked, calls
        return calls

    def _made(self, lr: np.ndarray, seen: Rectangle) -> np.ndarray:
        return self._upscaler(np.ascontiguousarray(lr[seen.slices])[None])[0]

    def _made_at_once(self, lr: np.ndarray, seen: Sequence[Rectangle]) -> list[np.ndarray]:
        """HR pixels of rectangles inside the frame, packed; all of their sides are multiples of what the network takes,
        so packing is in units of that.
        """
        if not seen:
            return []
        unit, scale = self._multiple, self.scale
        sizes = [(rectangle.height // unit, rectangle.width // unit) for rectangle in seen]
        rows, columns, corners = pack_densely(sizes)
        places = [
            Rectangle(top * unit, left * unit, top * unit + rectangle.height, left * unit + rectangle.width)
            for (top, left), rectangle in zip(corners, seen, strict=True)
        ]
        atlas = np.zeros((1, rows * unit, columns * unit, 3), np.uint8)
        for place, rectangle in zip(places, seen, strict=True):
            atlas[0][place.slices] = lr[rectangle.slices]
        hr = self._upscaler(atlas)[0]
        return [hr[place.scaled(scale).slices] for place in places]

    def _inner(self, hr: np.ndarray, region: Region, seen: Rectangle) -> np.ndarray:
        """The inner rectangle's part of the HR pixels of the rectangle that the upscaler has seen."""
        return hr[region.inner.within(seen).scaled(self.scale).slices]

    def _aligned(self, outer: Rectangle, height: int, width: int) -> Rectangle:
        """The rectangle grown to where the network's blocks begin and end in the whole frame."""
        top, bottom = _aligned_span(outer.top, outer.bottom, height, self._multiple)
        left, right = _aligned_span(outer.left, outer.right, width, self._multiple)
        return Rectangle(top, left, bottom, right)


def _aligned_span(first: int, last: int, length: int, multiple: int) -> tuple[int, int]:
    """[first, last) grown to multiples, the end cut at the frame's: there it is padded, as the whole frame is, with
    mirrored pixels, which must be in it.
    """
    last = min(-(-last // multiple) * multiple, length)
    if last == length:
        first = min(first, max(length - 1 - -length % multiple, 0))
    return first // multiple * multiple, last
