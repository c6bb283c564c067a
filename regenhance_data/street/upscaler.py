"""The built-in upscaler: a small network for compressed 320×180 frames of the built-in street, ×3."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from regenhance_data.street.detector import StreetDetector
from regenhance_data.street.samples import SCALE, Sample, crop_corner
from regenhance_data.street.training import train_network
from regenhance_data.street.weights import UPSCALER_WEIGHTS, load_street_network

_CHANNELS, _LAYERS = 28, 6  # 43,000 parameters: below 150 ms for a 320×180 frame on two cores
_CROP = 48  # LR pixels per side of a training crop: three times the receptive field (15)
_LEARNING_RATE = 2e-3  # the usual choice for Adam at this size, with the one-cycle schedule
_DETECTOR_WEIGHT = 250.0  # both parts of the loss then weigh about the same; with 40 the detector gained half as much


class StreetUpscaler(nn.Module):
    """Frames float32 [N, 3, h, w] RGB 0..255 → [N, 3, 3h, 3w] RGB, not clamped: the upsampled frame plus a residual."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3] + [_CHANNELS] * _LAYERS
        body = [
            layer
            for channels, wider in pairwise(widths)
            for layer in (nn.Conv2d(channels, wider, 3, padding=1), nn.PReLU(wider))
        ]
        last = nn.Conv2d(_CHANNELS, 3 * SCALE**2, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.layers = nn.Sequential(*body, last, nn.PixelShuffle(SCALE))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        bilinear = functional.interpolate(frames, scale_factor=SCALE, mode="bilinear", align_corners=False)
        return bilinear + 127.5 * self.layers(frames / 127.5 - 1)


def load_street_upscaler(weights: Path = UPSCALER_WEIGHTS) -> StreetUpscaler:
    """The upscaler with the weights of this kit (or others of the same network), in eval mode."""
    return load_street_network(StreetUpscaler(), weights)


def upscale(upscaler: StreetUpscaler, lr_frames: np.ndarray) -> np.ndarray:
    """uint8 [N, h, w, 3] → uint8 [N, 3h, 3w, 3], on the network's device."""
    device = next(upscaler.parameters()).device
    with torch.inference_mode():
        frames = torch.from_numpy(np.ascontiguousarray(lr_frames)).to(device).permute(0, 3, 1, 2).float()
        return upscaler(frames).clamp(0, 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def train_street_upscaler(
    samples: Sequence[Sample],
    iterations: int,
    seed: int = 0,
    batch: int = 8,
    start: StreetUpscaler | None = None,
    detector: StreetDetector | None = None,
) -> StreetUpscaler:
    """An upscaler trained on random crops of LR and HR frames, in eval mode; from `start` if given.

    With `detector`, the loss also compares that detector's features with those of the HR frames (a perceptual loss,
    Johnson et al. 2016): a loss on pixels alone favours smooth frames, which hide objects. The detector is not trained.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    upscaler = (start or StreetUpscaler()).train()
    if detector is not None:
        detector.requires_grad_(False)
    optimizer = torch.optim.Adam(upscaler.parameters(), _LEARNING_RATE)

    def batch_loss() -> torch.Tensor:
        crops = [_crop(rng, samples[rng.integers(len(samples))]) for _ in range(batch)]
        lr, hr = (torch.from_numpy(np.stack(c)).permute(0, 3, 1, 2).float() for c in zip(*crops, strict=True))
        made = upscaler(lr)
        loss = _loss(made, hr)
        if detector is not None:
            with torch.no_grad():
                wanted = detector.features(hr)
            loss = loss + _DETECTOR_WEIGHT * functional.l1_loss(detector.features(made), wanted)
        return loss

    train_network(upscaler, optimizer, iterations, batch_loss, most_gradient=100.0)
    return upscaler.eval()


def _crop(rng: np.random.Generator, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """(LR [48, 48, 3], HR [144, 144, 3]) of the sample's dtype, mirrored at random."""
    left, top = crop_corner(rng, sample, (_CROP, _CROP))
    step = int(rng.choice([-1, 1]))
    lr = sample.lr[top : top + _CROP, left : left + _CROP]
    hr = sample.hr[SCALE * top : SCALE * (top + _CROP), SCALE * left : SCALE * (left + _CROP)]
    return lr[:, ::step], hr[:, ::step]


def _loss(made: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """L1 on the pixels and on the differences between neighbours: the second keeps edges sharp."""
    loss = functional.l1_loss(made, hr)
    for axis in (-1, -2):
        loss = loss + functional.l1_loss(made.diff(dim=axis), hr.diff(dim=axis))
    return loss
