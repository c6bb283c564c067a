"""EDSR, the upscaler that RegenHance uses, from the checkpoints that its authors publish.

Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR workshops 2017; published as
EDSR-PyTorch. Width, depth and scale are those of the weights.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from regenhance_data.errors import one_line
from regenhance_data.io.torch_weights import default_device
from regenhance_data.upscalers.base import UnknownNetworkError, UpscalingNetwork
from regenhance_data.upscalers.checkpoints import read_state_dicts
from regenhance_data.upscalers.pytorch import TorchNetwork, resolve_half, runs_batches
from regenhance_data.upscalers.settings import UpscalerSettings

_WIDE = 256  # features from which the authors scale residuals, so that training stays stable
_FACTORS = {(4,): 2, (9,): 3, (4, 4): 4, (4, 4, 4): 8}  # channels per feature of each upsampling layer: scale
_DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # of RGB in 0..1; the first layer of a published network subtracts it
_MOST_FEATURES, _MOST_BLOCKS = 1024, 256  # more than in any published network


def load(argument: str, settings: UpscalerSettings) -> UpscalingNetwork:
    """The network of an official EDSR checkpoint, by itself or wrapped. Its weights say whether it was trained for
    0..255 or for 0..1.
    """
    path = Path(argument)
    found = read_state_dicts(path)
    weights = next((state for state in found if "head.0.weight" in state), found[0])
    network = edsr_from(weights, str(path))
    white = 1.0 if torch.allclose(weights["sub_mean.bias"].float(), -torch.tensor(_DIV2K_MEAN), atol=1e-3) else 255.0
    half = resolve_half(settings.half, supported=True, source=str(path))
    network.to(default_device(), torch.float16 if half else torch.float32).to(memory_format=torch.channels_last)
    name = f"EDSR, {len(network.body) - 1} blocks of {len(weights['head.0.weight'])} features"
    about: dict[str, Any] = {"overlap": network.radius, "batches": runs_batches(), "name": name}
    return TorchNetwork(network, str(path), network.scale, white, half, **about)


class Edsr(nn.Module):
    """Frames float [N, 3, h, w] RGB → [N, 3, h·scale, w·scale] RGB, not clamped; 0..255 in published networks."""

    def __init__(self, features: int, blocks: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.sub_mean, self.add_mean = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.head = nn.Sequential(_conv(3, features))
        residual_gain = 0.1 if features >= _WIDE else 1.0
        self.body = nn.Sequential(*(_Block(features, residual_gain) for _ in range(blocks)), _conv(features, features))
        factors = next(factors for factors, times in _FACTORS.items() if times == scale)
        up = [layer for n in factors for layer in (_conv(features, n * features), nn.PixelShuffle(round(n**0.5)))]
        self.tail = nn.Sequential(nn.Sequential(*up), _conv(features, 3))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        shallow = self.head(self.sub_mean(frames))
        return self.add_mean(self.tail(self.body(shallow) + shallow))

    @property
    def radius(self) -> int:
        """LR pixels on each side that an HR pixel depends on: one for each layer; the layers after an upsampling add
        less (at most 3/4 together).
        """
        blocks = len(self.body) - 1
        return 1 + 2 * blocks + 1 + 1 + 1


class _Block(nn.Module):
    def __init__(self, features: int, gain: float) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(features, features), nn.ReLU(inplace=True), _conv(features, features))
        self.gain = gain

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.body(features) * self.gain


def _conv(channels: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, padding=1)


def edsr_from(state: Mapping[str, torch.Tensor], source: str) -> Edsr:
    """The network of a published state dict, in eval mode. InputError, which names `source`, for any other."""
    head = state.get("head.0.weight")
    if head is None or head.ndim != 4 or not 1 <= len(head) <= _MOST_FEATURES:
        raise UnknownNetworkError(f"{source}: is no EDSR: it has {_some(state)}")
    features = len(head)
    blocks = sum(1 for name in state if re.fullmatch(r"body\.\d+\.body\.0\.weight", name))
    ups = [value for name, value in sorted(state.items()) if re.fullmatch(r"tail\.0\.\d\.weight", name)]
    scale = _FACTORS.get(tuple(len(value) // features for value in ups if value.ndim == 4))
    if scale is None or blocks > _MOST_BLOCKS:
        what = "is an EDSR without an upsampling by 2, 3, 4 or 8 that can be read from its tail"
        raise UnknownNetworkError(f"{source}: {what}")
    with torch.device("meta"):  # takes no memory: the names alone of a forged file make a large network
        network = Edsr(features, blocks, scale)
    _refuse_other_shapes(network, state, source)
    network.to_empty(device="cpu")
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:  # quantised weights
        raise UnknownNetworkError(f"{source}: is no EDSR in floating point ({one_line(error)})") from None
    return network.eval().requires_grad_(False)


def _refuse_other_shapes(network: Edsr, state: Mapping[str, torch.Tensor], source: str) -> None:
    expected = network.state_dict()
    for what, names in (("lacks", expected.keys() - state.keys()), ("has as well", state.keys() - expected.keys())):
        if names:
            raise UnknownNetworkError(f"{source}: is no EDSR: it {what} {_some(names)}")
    for name, value in expected.items():
        if state[name].shape != value.shape:
            shapes = f"{list(state[name].shape)}, expected {list(value.shape)}"
            raise UnknownNetworkError(f"{source}: is no EDSR: {name} is {shapes}")


def _some(names: Mapping[str, torch.Tensor] | set[str]) -> str:
    few = sorted(names)[:3]
    return (", ".join(name[:60] for name in few) or "no weights") + (
        f" and {len(names) - 3} more" if len(names) > 3 else ""
    )
