"""Weights of the built-in networks: written in half precision, read without running code."""

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regenhance_data.errors import InputError, one_line
from regenhance_data.io.files import written_whole

if TYPE_CHECKING:
    import torch

_FOLDER = Path(__file__).parent / "weights"
DETECTOR_WEIGHTS = _FOLDER / "street_detector.pt"
UPSCALER_WEIGHTS = _FOLDER / "street_upscaler.pt"


def save_street_weights(network: "torch.nn.Module", path: Path) -> Path:
    """Write a network's state dict, whole or not at all, and return `path`.

    Numbers are kept as float16: half the bytes in the repository, scores the same to three digits.
    """
    import torch

    state = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    with written_whole(path) as temporary:
        torch.save(state, temporary)
    return path


def load_street_weights(path: Path) -> dict[str, Any]:
    """A state dict that `save_weights` wrote. InputError when it is missing or holds anything but numbers."""
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such weights; make them with the tools/train_builtin_*.py scripts") from None
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise InputError(f"{path}: not readable as weights ({one_line(error)})") from None
