"""PyTorch weights, read without running code, and the device that networks run on."""

import warnings
from pathlib import Path
from typing import Any

import torch

from regenhance_data.errors import InputError, one_line

WRAPPERS = ("model", "state_dict", "model_state_dict")  # under which training scripts save a state dict


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a .pth, by itself or as training scripts wrap it. Runs no code from the file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give --detector_weights a file of weights")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or hostile file can raise nearly anything
        raise InputError(f"{path}: is no file of weights ({one_line(error)})") from None
    for key in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise InputError(f"{path}: holds no state dict; save the model's state_dict()")
    return {str(key).removeprefix("module."): tensor for key, tensor in state.items()}


def default_device() -> torch.device:
    """Where networks run: the GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def read_weights(path: Path) -> dict[str, Any]:
    """What a checkpoint (.pt, .pth, .ckpt, .safetensors) holds by name; it runs no code. InputError for others."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # it also warns of what it then refuses, such as TorchScript
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    # broken and hostile files bring about nearly anything
    except Exception as error:
        # PyTorch's message begins with how to run the file's code, of all things
        reason = " ".join(str(error).partition("WeightsUnpickler error:")[2].split()).partition(". ")[0]
        raise InputError(
            f"{path}: is no checkpoint that can be read without running code ({reason[:100] or type(error).__name__})"
        ) from None
    if not isinstance(content, dict) or not all(isinstance(name, str) and name.isprintable() for name in content):
        raise InputError(f"{path}: holds a {type(content).__name__}, expected weights by name (a state dict)")
    return content
