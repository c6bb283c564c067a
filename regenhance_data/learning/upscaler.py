"""The small upscaling network, and what it is trained with: the built-in one, the general ones, a camera's own."""

import io
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from regenhance_data.io.files import write_bytes
from regenhance_data.learning.loop import Training

CROP = 48  # LR pixels per side of a training crop: three times the receptive field of the built-in network (15)
_LEARNING_RATE = 2e-3  # the usual choice for Adam at this size, with the one-cycle schedule
_MOST_GRADIENT = 100.0


class SmallUpscaler(nn.Module):
    """Frames float32 [N, 3, h, w] RGB 0..255 → [N, 3, h·scale, w·scale] RGB, not clamped: the upsampled frame plus a
    residual, made at the size of the LR frame by `layers` + 1 convolutions of 3×3 with `channels` between them.
    """

    def __init__(self, scale: int, channels: int, layers: int) -> None:
        super().__init__()
        self.scale, self.halo_px = scale, layers + 1
        widths = [3] + [channels] * layers
        body = [
            layer
            for narrow, wide in pairwise(widths)
            for layer in (nn.Conv2d(narrow, wide, 3, padding=1), nn.PReLU(wide))
        ]
        last = nn.Conv2d(channels, 3 * scale**2, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.layers = nn.Sequential(*body, last, nn.PixelShuffle(scale))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        bilinear = functional.interpolate(frames, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return bilinear + 127.5 * self.layers(frames / 127.5 - 1)


def upscale(upscaler: nn.Module, lr_frames: np.ndarray) -> np.ndarray:
    """uint8 [N, h, w, 3] → uint8 [N, h·scale, w·scale, 3], on the network's device."""
    device = next(upscaler.parameters()).device
    with torch.inference_mode():
        made: torch.Tensor = upscaler(pixels(lr_frames).to(device))
        return made.clamp(0, 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


class _OfUnit(nn.Module):
    """The network on frames in 0..1, as upscalers in TorchScript files take them."""

    def __init__(self, network: SmallUpscaler) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.network(frames * 255)
        return made / 255


def save_script(upscaler: SmallUpscaler, path: Path) -> None:
    """Write the network as TorchScript for frames [N, 3, h, w] RGB in 0..1 of any size."""
    content = io.BytesIO()  # a file would have its temporary name inside, and other bytes each time
    with warnings.catch_warnings(action="ignore"):  # TorchScript is deprecated, and what every PyTorch reads
        traced = torch.jit.trace(_OfUnit(upscaler).cpu().eval(), torch.rand(1, 3, CROP, 2 * CROP))
        torch.jit.save(traced, content)
    write_bytes(path, content.getvalue())


def upscaler_training(upscaler: nn.Module, iterations: int) -> Training:
    """A training of an upscaler, with Adam."""
    return Training(upscaler, torch.optim.Adam(upscaler.parameters(), _LEARNING_RATE), iterations, _MOST_GRADIENT)


def pixels(frames: np.ndarray) -> torch.Tensor:
    """uint8 [N, h, w, 3] → float32 [N, 3, h, w] in 0..255."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()


def crop_pair(
    rng: np.random.Generator, lr: np.ndarray, hr: np.ndarray, corner: tuple[int, int], size_wh: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """(LR crop, HR crop) at `corner` (left, top) in LR pixels, mirrored at random; frames [h, w, 3]."""
    scale = hr.shape[0] // lr.shape[0]
    left, top, right, bottom = *corner, corner[0] + size_wh[0], corner[1] + size_wh[1]
    step = int(rng.choice([-1, 1]))
    of_hr = hr[scale * top : scale * bottom, scale * left : scale * right]
    return lr[top:bottom, left:right][:, ::step], of_hr[:, ::step]


def pixel_loss(made: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """L1 on the pixels and on the differences between neighbours: the second keeps edges sharp."""
    loss = functional.l1_loss(made, hr)
    for axis in (-1, -2):
        loss = loss + functional.l1_loss(made.diff(dim=axis), hr.diff(dim=axis))
    return loss
