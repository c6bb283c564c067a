"""Weights of the kit's own networks: written in half precision, read without running code."""

from pathlib import Path
from typing import TypeVar

import torch

from regenhance_data.errors import InputError, one_line
from regenhance_data.io.files import atomic_write, refuse_missing
from regenhance_data.io.torch_weights import read_checkpoint

Network = TypeVar("Network", bound=torch.nn.Module)


def save_weights(network: torch.nn.Module, path: Path) -> Path:
    """Write a network's state dict, whole or not at all, and return `path`.

    Numbers are kept as float16: half the bytes in the repository, scores the same to three digits.
    """
    state = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    with atomic_write(path) as temporary:
        torch.save(state, temporary)
    return path


def load_weights(network: Network, path: Path, script: str) -> Network:
    """The network with weights that `save_weights` wrote, in eval mode. script: what makes them. InputError for other
    files.
    """
    refuse_missing(path, f"weights; make them with {script}")
    try:
        network.load_state_dict(read_checkpoint(path))
    except RuntimeError as error:
        raise InputError(
            f"{path}: its weights are not of {type(network).__name__} ({one_line(error)}); make them with {script}"
        ) from None
    return network.eval()
