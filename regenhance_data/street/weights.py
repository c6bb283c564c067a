"""Weights of the built-in networks: written in half precision, read without running code."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from regenhance_data.errors import InputError, one_line
from regenhance_data.io.files import atomic_write, refuse_missing

if TYPE_CHECKING:
    import torch

Network = TypeVar("Network", bound="torch.nn.Module")
_FOLDER = Path(__file__).parent / "weights"
DETECTOR_WEIGHTS = _FOLDER / "street_detector.pt"
UPSCALER_WEIGHTS = _FOLDER / "street_upscaler.pt"
_MEND = "make them with the tools/train_builtin_*.py scripts"


def save_street_weights(network: "torch.nn.Module", path: Path) -> Path:
    """Write a network's state dict, whole or not at all, and return `path`.

    Numbers are kept as float16: half the bytes in the repository, scores the same to three digits.
    """
    import torch

    state = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    with atomic_write(path) as temporary:
        torch.save(state, temporary)
    return path


def load_street_network(network: Network, path: Path) -> Network:
    """The network with weights that `save_street_weights` wrote, in eval mode. InputError for other files."""
    from regenhance_data.io.torch_weights import read_checkpoint

    refuse_missing(path, f"weights; {_MEND}")
    try:
        network.load_state_dict(read_checkpoint(path))
    except RuntimeError as error:
        raise InputError(
            f"{path}: its weights are not of {type(network).__name__} ({one_line(error)}); {_MEND}"
        ) from None
    return network.eval()
