"""PyTorch weights, read without running code, and the device that networks run on."""

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from regenhance_data.errors import InputError

WRAPPERS = ("model", "state_dict", "model_state_dict")  # under which training scripts save a state dict
SPARE_BYTES = 2**26  # that a file may need in memory beyond its size; its code, which alone is compressed, needs less
_MOST_TIMES = 16  # its size that its numbers may need beyond that: sparse and tied weights are larger in a network


def default_device() -> torch.device:
    """Where networks run: the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint (.pt, .pth, .ckpt, .safetensors) by name; runs no code from the file.

    InputError for a missing file, for one that holds anything but a dict with printable names, and for one that would
    take far more memory than its size.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of weights")
    try:
        _refuse_inflated(path)
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # PyTorch also warns of what it then refuses, such as TorchScript
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    # a broken or hostile file can raise nearly anything
    except Exception as error:
        raise InputError(
            f"{path}: is not a checkpoint that can be read without running code ({_reason(error)}); "
            "save its state_dict() alone"
        ) from None
    if not isinstance(content, dict) or not all(isinstance(name, str) and name.isprintable() for name in content):
        raise InputError(f"{path}: holds a {type(content).__name__}, expected weights by name (a state dict)")
    if _bytes_of(content) > _MOST_TIMES * path.stat().st_size + SPARE_BYTES:
        raise InputError(f"{path}: has far fewer numbers than its weights claim; it is damaged or forged, take another")
    return content


def is_inflated(archive: zipfile.ZipFile, path: Path) -> bool:
    """Whether the content of the archive at `path` is far larger than the file: PyTorch compresses no weights."""
    return sum(file.file_size for file in archive.infolist()) > path.stat().st_size + SPARE_BYTES


def _refuse_inflated(path: Path) -> None:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if is_inflated(archive, path):
                raise InputError(f"{path}: is compressed, and far larger in memory; save it again with torch.save")


def _bytes_of(content: Any) -> int:
    """What the tensors in nested dicts, lists and tuples need in memory, as dense numbers of four bytes at least."""
    count, seen, left = 0, set(), [content]
    while left:
        value = left.pop()
        if isinstance(value, torch.Tensor):
            count += value.numel() * max(value.element_size(), 4)
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:  # each once: they can hold each other
            seen.add(id(value))
            left += value.values() if isinstance(value, dict) else value
    return count


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a checkpoint, by itself or as training scripts wrap it. InputError as `read_checkpoint`."""
    state: Any = read_checkpoint(path)
    for key in WRAPPERS:
        if isinstance(state.get(key), dict):
            state = state[key]
    if not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path}: holds no state dict; save the model's state_dict()")
    return {str(key).removeprefix("module."): tensor for key, tensor in state.items()}


def _reason(error: Exception) -> str:
    """Why a file is refused, without PyTorch's advice to run its code, which precedes the reason."""
    reason = " ".join(str(error).rpartition("WeightsUnpickler error:")[2].split())
    return reason.partition(". ")[0][:160] or type(error).__name__
