"""The interface of upscaling networks, below tiling and batching."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from regenhance_data.errors import InputError, one_line

OVERLAP = 32  # LR pixels around a tile if the receptive field is unknown: trained networks use little beyond it
RGB, BGR = "RGB", "BGR"
_SIDES_PROBED = (1, 2, 4, 8, 16, 32, 64)


class UnknownNetworkError(InputError):
    """Weights of a network whose code a reader does not have."""


class UpscalingNetwork(ABC):
    """Makes frames `scale` times as large: uint8 [N, h, w, 3] RGB → uint8 [N, h·scale, w·scale, 3], of any size.

    source: its file, for errors. name, pixels: what it was taken for and what it takes, for users. known_halo_px: LR
    pixels on each side that a pixel of the result depends on, None where that is not known. overlap: what tiles take
    for it. multiple: both sides of the input are padded (mirrored) to a multiple of it. fixed_hw: the only size that
    the network takes, None where it takes any. batches: whether several frames go through it together; else they go one
    by one, also where a frame's bits would depend on its batch. channel_order: of input and output (see
    `UpscalerSettings`).
    """

    def __init__(
        self,
        source: str,
        scale: int,
        overlap: int | None = None,
        multiple: int = 1,
        fixed_hw: tuple[int, int] | None = None,
        batches: bool = False,
        name: str = "network",
        pixels: str = RGB,
    ) -> None:
        self.source, self.scale, self.multiple, self.known_halo_px = source, scale, multiple, overlap
        self.overlap = OVERLAP if overlap is None else overlap
        self.fixed_hw, self.batches, self.name, self.pixels = fixed_hw, batches, name, pixels
        self.channel_order = RGB

    @property
    def read_as(self) -> str:
        """What the file was taken for, on one line."""
        parts = [self.name, f"×{self.scale}", self.pixels.replace(RGB, self.channel_order)]
        if self.fixed_hw:
            parts.append(f"input {self.fixed_hw[1]}x{self.fixed_hw[0]}")
        elif self.multiple > 1:
            parts.append(f"sides padded to multiples of {self.multiple}")
        return ", ".join(parts)

    @abstractmethod
    def run(self, frames: np.ndarray) -> np.ndarray:
        """As the call, for frames of a size that needs no padding."""

    def values(self, frames: np.ndarray) -> np.ndarray:
        """What `run` makes its pixels from, before they are rounded, where there is such: [N, h·scale, w·scale, …]."""
        return self.run(frames)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        height, width = frames.shape[1:3]
        inner_hw = self.fixed_hw or tuple(math.ceil(side / self.multiple) * self.multiple for side in (height, width))
        below, right = inner_hw[0] - height, inner_hw[1] - width
        if below or right:
            frames = np.pad(frames, ((0, 0), (0, below), (0, right), (0, 0)), mode="reflect")
        given, _, made = self.channel_order.partition("-")
        if given == BGR:
            frames = np.ascontiguousarray(frames[..., ::-1])
        result = self.run(frames)[:, : height * self.scale, : width * self.scale]
        return result[..., ::-1] if (made or given) == BGR else result

    def refuse_unless_finite(self, finite: bool) -> None:
        """InputError where the output has NaN or infinite pixels."""
        if not finite:
            raise InputError(
                f"{self.source}: outputs NaN or infinite pixels; the file is damaged, or needs --precision fp32"
            )


class FloatNetwork(UpscalingNetwork):
    """A function float32 [N, C, h, w] in 0..1 → float32 [N, C, h·scale, w·scale] in 0..255, as a network on frames.

    channels: 3 (RGB), or 1: luma, as PIL and OpenCV define it (BT.601, full range). Its chroma is interpolated bicubic.
    """

    def __init__(
        self, function: Callable[[np.ndarray], np.ndarray], channels: int, source: str, scale: int, **about: Any
    ) -> None:
        super().__init__(source, scale, **about)
        self._function, self._channels = function, channels

    def run(self, frames: np.ndarray) -> np.ndarray:
        return self.values(frames).clip(0, 255).round().astype(np.uint8)

    def values(self, frames: np.ndarray) -> np.ndarray:
        """float32 [N, h·scale, w·scale, 3] RGB, 0..255 and beyond."""
        return self._luma_values(frames) if self._channels == 1 else self._rgb_values(frames)

    def _rgb_values(self, frames: np.ndarray) -> np.ndarray:
        return self._made(frames.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)).transpose(0, 2, 3, 1)

    def _luma_values(self, frames: np.ndarray) -> np.ndarray:
        planes = [cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb) for frame in frames]
        made = self._made(np.stack([plane[None, ..., 0] for plane in planes]))
        result = []
        for plane, luma in zip(planes, made.clip(0, 255) / np.float32(255), strict=True):
            chroma = cv2.resize(plane[..., 1:], luma.shape[:0:-1], interpolation=cv2.INTER_CUBIC)
            result.append(cv2.cvtColor(np.dstack([luma[0], chroma]), cv2.COLOR_YCrCb2RGB))
        return np.stack(result) * 255

    def _made(self, given: np.ndarray) -> np.ndarray:
        made = self._function(given)
        self.refuse_unless_finite(bool(np.isfinite(made).all()))
        return made


def pixels_of(channels: int, white: float) -> str:
    """What a network takes, for users."""
    return f"{RGB} 0..{white:g}" if channels == 3 else f"luma 0..{white:g}, chroma bicubic"


def probe(run: Callable[[np.ndarray], Any], source: str, channels: Sequence[int] = (3, 1)) -> tuple[int, int, int]:
    """(scale, multiple, channels) of a network, found by running it: float32 [1, C, h, w] in 0..1 → an array
    [1, C, h·s, w·s], for each C in `channels`.

    multiple: the smallest power of two that both sides of its input must be multiples of. InputError where it upscales
    at none.
    """
    rng = np.random.default_rng(0)
    found = {}
    for multiple in _SIDES_PROBED:
        for count in channels:
            frame = rng.random((1, count, 64 + multiple, 64 + 2 * multiple), np.float32)
            try:
                made = run(frame)
            except InputError:
                raise
            # a network for another size or purpose can raise anything
            except Exception as error:
                found[count] = one_line(error)
                continue
            scale = scale_of(frame.shape, made)
            if scale:
                return scale, multiple, count
            found[count] = f"its output is {described(made)} for {list(frame.shape)}"
    what = " or of luma [N, 1, h, w]" if len(channels) > 1 else ""
    raise InputError(f"{source}: is not an upscaler of RGB frames [N, 3, h, w]{what} ({found[channels[0]]})")


def scale_of(shape: tuple[int, ...], made: Any) -> int | None:
    """How many times as large as a frame of `shape` [1, C, h, w] the result is, None where it is no such frame."""
    result = tuple(getattr(made, "shape", ()))
    scale = result[2] // shape[2] if len(result) == 4 else 0
    return scale if scale and result == (*shape[:2], shape[2] * scale, shape[3] * scale) else None


def described(made: Any) -> str:
    """The shape of an output, or its type where it has none."""
    return str(list(made.shape)) if hasattr(made, "shape") else f"a {type(made).__name__}"
