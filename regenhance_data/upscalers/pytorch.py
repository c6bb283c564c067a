"""Upscalers that PyTorch runs: the kit's own, weights of EDSR and of spandrel's architectures, TorchScript files."""

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
        self.function, self.white = function, white
        self._dtype = torch.float16 if half else torch.float32

    def run(self, frames: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self._made(frames).clamp(0, 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()

    def values(self, frames: np.ndarray) -> np.ndarray:
        """float32 [N, h·scale, w·scale, 3] RGB, 0..255 and beyond."""
        with torch.inference_mode():
            return self._made(frames).permute(0, 2, 3, 1).cpu().numpy()

    def _made(self, frames: np.ndarray) -> torch.Tensor:
        depth = 255 / self.white
        given = torch.from_numpy(frames).to(default_device()).permute(0, 3, 1, 2).to(self._dtype) / depth
        made = self.function(given)
        self.refuse_unless_finite(bool(made.isfinite().all()))
        return made.float() * depth


class TorchLumaNetwork(FloatNetwork):
    """A function on tensors [N, 1, h, w] of one device and type, luma from 0 to `white`, as a network on frames."""

    def __init__(
        self,
        function: Callable[[torch.Tensor], torch.Tensor],
        source: str,
        scale: int,
        white: float,
        half: bool = False,
        **about: Any,
    ) -> None:
        super().__init__(self._run, 1, source, scale, pixels=pixels_of(1, white), **about)
        self.function, self.white = function, white
        self._dtype = torch.float16 if half else torch.float32

    def _run(self, luma: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            given = torch.from_numpy(luma * np.float32(self.white)).to(default_device(), self._dtype)
            return (self.function(given).float() * (255 / self.white)).cpu().numpy()


def torch_network(
    function: Callable[[torch.Tensor], torch.Tensor],
    channels: int,
    source: str,
    scale: int,
    white: float,
    half: bool = False,
    **about: Any,
) -> UpscalingNetwork:
    """`TorchNetwork` for 3 channels, `TorchLumaNetwork` for 1."""
    kind = TorchNetwork if channels == 3 else TorchLumaNetwork
    return kind(function, source, scale, white, half, **about)


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
