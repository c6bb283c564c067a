"""Upscalers from checkpoints that spandrel recognises."""

from pathlib import Path
from typing import Any

import torch

from regenhance_data.errors import InputError, one_line
from regenhance_data.io.torch_weights import default_device
from regenhance_data.upscalers.base import UnknownNetworkError, UpscalingNetwork
from regenhance_data.upscalers.checkpoints import read_state_dicts
from regenhance_data.upscalers.pytorch import resolve_half, runs_batches, torch_network
from regenhance_data.upscalers.settings import UpscalerSettings


def load(argument: str, settings: UpscalerSettings) -> UpscalingNetwork:
    """The network of a checkpoint whose architecture spandrel recognises."""
    path = Path(argument)
    try:
        import spandrel  # slow, and optional
    except ImportError:
        raise InputError(f"--model spandrel:{path}: spandrel is not installed; pip install spandrel") from None
    found = _descriptor(path)
    name, channels = found.architecture.name, (found.input_channels, found.output_channels)
    if not isinstance(found, spandrel.ImageModelDescriptor) or channels not in ((3, 3), (1, 1)):
        raise InputError(f"{path}: is a {name}, which upscales neither RGB images nor luma")
    half = resolve_half(settings.half, found.supports_half, str(path))
    found.eval().to(default_device(), torch.float16 if half else torch.float32)
    found.model.requires_grad_(False)
    about: dict[str, Any] = {"multiple": found.size_requirements.multiple_of, "batches": runs_batches(), "name": name}
    return torch_network(found, channels[0], str(path), found.scale, 1.0, half, **about)


def _descriptor(path: Path) -> Any:
    """spandrel's description of the network in a checkpoint. InputError where it knows none."""
    import spandrel

    states, reason = read_state_dicts(path), ""
    for state in states:
        try:
            return spandrel.ModelLoader().load_from_state_dict(spandrel.canonicalize_state_dict(state))
        except spandrel.UnsupportedModelError:
            continue
        # weights that only resemble an architecture
        except Exception as error:
            reason = reason or f"spandrel cannot load it ({one_line(error)})"
    names = ", ".join(name[:60] for name in list(states[0])[:3]) or "none"
    raise UnknownNetworkError(
        f"{path}: {reason or f'spandrel knows no network with such weights ({names} …)'}"
    ) from None
