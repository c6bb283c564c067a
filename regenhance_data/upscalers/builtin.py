"""The built-in street upscaler, as an upscaler of this kit."""

from typing import Any

import torch

from regenhance_data.io.files import sha256
from regenhance_data.io.torch_weights import default_device
from regenhance_data.street.samples import SCALE
from regenhance_data.street.upscaler import load_street_upscaler
from regenhance_data.street.weights import UPSCALER_WEIGHTS
from regenhance_data.upscalers.base import UpscalingNetwork
from regenhance_data.upscalers.pytorch import TorchNetwork, runs_batches
from regenhance_data.upscalers.settings import UpscalerSettings

_RADIUS = 7  # LR pixels that an HR pixel depends on: its layers, 3×3 each


def load(_: str, settings: UpscalerSettings) -> UpscalingNetwork:
    """The upscaler with the weights of this kit, in full precision."""
    network = load_street_upscaler().to(default_device()).to(memory_format=torch.channels_last)
    about: dict[str, Any] = {"overlap": _RADIUS, "batches": runs_batches(), "name": "street network"}
    return TorchNetwork(network, settings.spec, SCALE, 255.0, **about)


def identity(_: str) -> str:
    """The sha256 of the weights."""
    return sha256(UPSCALER_WEIGHTS)
