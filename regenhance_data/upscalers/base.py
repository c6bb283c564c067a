"""The interface of upscaling networks, below tiling and batching."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from regenhance_data.errors import InputError, one_line

OVERLAP = 32  # LR pixels around a tile if the receptive field is unknown: trained networks use little beyond it
_SIDES_PROBED = (1, 2, 4, 8, 16, 32, 64)


class UpscalingNetwork(ABC):
    """Makes frames `scale` times as large: uint8 [N, h, w, 3] RGB → uint8 [N, h·scale, w·scale, 3], of any size.

    source: its file, for errors. overlap: LR pixels on each side that a pixel of the result depends on, as far as
    is known. multiple: both sides of the input are padded (mirrored) to a multiple of it. fixed_hw: the only size
    that the network takes, None where it takes any. batches: whether several frames go through it together; else they
    go one by one, also where a frame's bits would depend on its batch.
    """

    def __init__(
        self,
        source: str,
        scale: int,
        overlap: int = OVERLAP,
        multiple: int = 1,
        fixed_hw: tuple[int, int] | None = None,
        batches: bool = False,
    ) -> None:
        self.source, self.scale, self.overlap, self.multiple = source, scale, overlap, multiple
        self.fixed_hw, self.batches = fixed_hw, batches

    @abstractmethod
    def run(self, frames: np.ndarray) -> np.ndarray:
        """As the call, for frames of a size that needs no padding."""

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        height, width = frames.shape[1:3]
        inner_hw = self.fixed_hw or tuple(math.ceil(side / self.multiple) * self.multiple for side in (height, width))
        below, right = inner_hw[0] - height, inner_hw[1] - width
        if below or right:
            frames = np.pad(frames, ((0, 0), (0, below), (0, right), (0, 0)), mode="reflect")
        return self.run(frames)[:, : height * self.scale, : width * self.scale]

    def refuse_unless_finite(self, finite: bool) -> None:
        """InputError where the output has NaN or infinite pixels."""
        if not finite:
            raise InputError(
                f"{self.source}: outputs NaN or infinite pixels; the file is damaged, or needs --precision fp32"
            )


def probe(run: Callable[[np.ndarray], Any], source: str) -> tuple[int, int]:
    """(scale, multiple) of a network, found by running it: float32 [1, 3, h, w] in 0..1 → an array [1, 3, h·s, w·s].

    multiple: the smallest power of two that both sides of its input must be multiples of. InputError where it upscales
    at none.
    """
    rng = np.random.default_rng(0)
    for multiple in _SIDES_PROBED:
        frame = rng.random((1, 3, 64 + multiple, 64 + 2 * multiple), np.float32)
        try:
            made = run(frame)
        # a network for another size or purpose can raise anything
        except Exception as error:
            found = one_line(error)
            continue
        scale = scale_of(frame.shape, made)
        if scale:
            return scale, multiple
        found = f"its output is {described(made)} for {list(frame.shape)}"
    raise InputError(f"{source}: is not an upscaler of RGB frames [N, 3, h, w] ({found})")


def scale_of(shape: tuple[int, ...], made: Any) -> int | None:
    """How many times as large as a frame of `shape` [1, 3, h, w] the result is, None where it is no such frame."""
    result = tuple(getattr(made, "shape", ()))
    scale = result[2] // shape[2] if len(result) == 4 else 0
    return scale if scale and result == (1, 3, shape[2] * scale, shape[3] * scale) else None


def described(made: Any) -> str:
    """The shape of an output, or its type where it has none."""
    return str(list(made.shape)) if hasattr(made, "shape") else f"a {type(made).__name__}"
