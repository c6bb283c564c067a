"""The general upscalers: small networks that were trained on videos of many cameras, for any other one."""

import hashlib
from pathlib import Path
from typing import Any

from regenhance_data.errors import InputError
from regenhance_data.io.files import sha256
from regenhance_data.io.torch_weights import default_device
from regenhance_data.learning.settings import CHANNELS, LAYERS
from regenhance_data.learning.upscaler import SmallUpscaler
from regenhance_data.learning.weights import load_weights
from regenhance_data.upscalers.base import UpscalingNetwork
from regenhance_data.upscalers.general_weights import GENERAL_SCALES, general_weights
from regenhance_data.upscalers.pytorch import TorchNetwork, runs_batches
from regenhance_data.upscalers.settings import UpscalerSettings


def load(_: str, settings: UpscalerSettings) -> UpscalingNetwork:
    """The upscaler of the settings' scale, in full precision. InputError for a scale that none was trained for."""
    if settings.scale not in GENERAL_SCALES:
        scales = ", ".join(map(str, GENERAL_SCALES))
        raise InputError(f"--scale {settings.scale}: the general upscalers have {scales}; take another --model")
    network = load_general_upscaler(settings.scale)
    about: dict[str, Any] = {"overlap": network.halo_px, "batches": runs_batches(), "name": "general network"}
    return TorchNetwork(network.to(default_device()), settings.spec, settings.scale, 255.0, **about)


def load_general_upscaler(scale: int, weights: Path | None = None) -> SmallUpscaler:
    """The network of a scale of GENERAL_SCALES with the weights of this kit (or others), in eval mode."""
    network = SmallUpscaler(scale, CHANNELS, LAYERS)
    return load_weights(network, weights or general_weights(scale), "tools/train_general_upscaler.py")


def identity(_: str) -> str:
    """The sha256 of those of the weights of all scales."""
    return hashlib.sha256("".join(sha256(general_weights(scale)) for scale in GENERAL_SCALES).encode()).hexdigest()
