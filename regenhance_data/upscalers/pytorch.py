"""Upscalers that PyTorch runs: builtin, weights of EDSR and of spandrel's architectures, TorchScript files."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from regenhance_data.errors import InputError
from regenhance_data.io.torch_weights import default_device
from regenhance_data.upscalers.base import FloatNetwork, UpscalingNetwork, pixels_of


class TorchNetwork(UpscalingNetwork):
    """A function on tensors [N, 3, h, w] of one device and type, RGB from 0 to `white`, as a network on frames."""

    def __init__(
        self,
        function: Callable[[torch.Tensor], torch.Tensor],
        source: str,
        scale: int,
        white: float,
        half: bool = False,
        **about: Any,
    ) -> None:
        super().__init__(source, scale, pixels=pixels_of(3, white), **about)
        self._function, self._depth = function, 255 / white
        self._dtype = torch.float16 if half else torch.float32

    def run(self, frames: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            given = torch.from_numpy(frames).to(default_device()).permute(0, 3, 1, 2).to(self._dtype) / self._depth
            made = self._function(given)
            self.refuse_unless_finite(bool(made.isfinite().all()))
            pixels = (made.float() * self._depth).clamp(0, 255).round().byte()
            return pixels.permute(0, 2, 3, 1).cpu().numpy()


def torch_network(
    function: Callable[[torch.Tensor], torch.Tensor],
    channels: int,
    source: str,
    scale: int,
    white: float,
    half: bool = False,
    **about: Any,
) -> UpscalingNetwork:
    """`TorchNetwork` for 3 channels; for 1, the same of a function on luma [N, 1, h, w] from 0 to `white`."""
    if channels == 3:
        return TorchNetwork(function, source, scale, white, half, **about)
    dtype = torch.float16 if half else torch.float32

    def run(luma: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            made = function(torch.from_numpy(luma * np.float32(white)).to(default_device(), dtype))
            return (made.float() * (255 / white)).cpu().numpy()

    return FloatNetwork(run, 1, source, scale, pixels=pixels_of(1, white), **about)


def resolve_half(asked: bool | None, supported: bool, source: str) -> bool:
    """Whether a network runs in half precision: as asked, by default on a GPU where supported.

    InputError where it is asked for and not supported.
    """
    if asked and not supported:
        raise InputError(f"{source}: this network does not work in half precision; use --precision fp32")
    return supported and default_device().type == "cuda" if asked is None else asked


def runs_batches() -> bool:
    """Whether several frames go through a network together."""
    # On a CPU a batch is no faster, and its size would change the last bits of a frame.
    return default_device().type == "cuda"
