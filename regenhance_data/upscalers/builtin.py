"""The built-in street upscaler, as an upscaler of this kit."""

import torch

from regenhance_data.io.torch_weights import default_device
from regenhance_data.upscalers.pytorch import TorchNetwork, runs_batches

_BUILTIN_RADIUS = 7  # origin pixels that a pixel of the result depends on: its layers, 3×3 each


def builtin_network() -> TorchNetwork:
    """The upscaler that comes with the kit, in full precision."""
    from regenhance_data.street.samples import SCALE
    from regenhance_data.street.upscaler import load_street_upscaler

    network = load_street_upscaler().to(default_device()).to(memory_format=torch.channels_last)
    return TorchNetwork(network, "builtin", SCALE, 255.0, overlap=_BUILTIN_RADIUS, batches=runs_batches())
