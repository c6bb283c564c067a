"""Upscalers from checkpoints that spandrel recognises."""

from pathlib import Path
from typing import Any

import torch

from regenhance_data.errors import InputError, one_line
from regenhance_data.io.files import sha256
from regenhance_data.io.torch_weights import default_device, read_checkpoint
from regenhance_data.upscalers.base import UpscalingNetwork
from regenhance_data.upscalers.pytorch import TorchNetwork, resolve_half, runs_batches
from regenhance_data.upscalers.settings import UpscalerSettings


def load(argument: str, settings: UpscalerSettings) -> UpscalingNetwork:
    """The network of a checkpoint whose architecture spandrel recognises."""
    path = Path(argument)
    try:
        import spandrel
    except ImportError:
        raise InputError(f"--model spandrel:{path}: spandrel is not installed; pip install spandrel") from None
    weights = read_checkpoint(path)
    try:
        found = spandrel.ModelLoader().load_from_state_dict(spandrel.canonicalize_state_dict(weights))
    except spandrel.UnsupportedModelError:
        raise InputError(
            f"{path}: spandrel knows no network with such weights ({', '.join(list(weights)[:3])} …)"
        ) from None
    # weights that only resemble an architecture
    except Exception as error:
        raise InputError(f"{path}: spandrel cannot load it ({one_line(error)})") from None
    name = found.architecture.name
    if not isinstance(found, spandrel.ImageModelDescriptor) or (found.input_channels, found.output_channels) != (3, 3):
        raise InputError(f"{path}: is a {name}, which does not upscale RGB images")
    half = resolve_half(settings.half, found.supports_half, str(path))
    found.eval().to(default_device(), torch.float16 if half else torch.float32)
    about: dict[str, Any] = {"multiple": found.size_requirements.multiple_of, "batches": runs_batches()}
    return TorchNetwork(found, str(path), found.scale, 1.0, half, **about)


def identity(argument: str) -> str:
    """The sha256 of the file."""
    return sha256(Path(argument))
