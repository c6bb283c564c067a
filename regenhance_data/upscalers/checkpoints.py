"""State dicts of upscalers in checkpoints, however training scripts wrap them and name their weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from regenhance_data.io.torch_weights import read_checkpoint

# in this order: the averaged weights are those that their authors publish
_WRAPPERS = (
    *("params_ema", "params-ema", "model_ema", "ema", "ema_state_dict", "params", "state_dict", "model_state_dict"),
    *("generator", "generator_state_dict", "net_g", "netG", "g", "model", "net", "network", "weights", "module"),
)
_PREFIXES = (
    *("module.", "_orig_mod.", "model.", "generator.", "netG.", "net_g.", "net.", "network.", "params_ema.", "params."),
    *("upscaler.", "sr.", "G."),
)
_MOST_WRAPPERS = 8  # nested in each other; a forged file must not cost more


def read_state_dicts(path: Path) -> list[dict[str, torch.Tensor]]:
    """What the state dict of a network in a checkpoint can be: as it is stored, then with one prefix after the other
    taken off its names; dense. InputError as `read_checkpoint`.
    """
    state = {name: value.to_dense() for name, value in _tensors(_unwrapped(read_checkpoint(path))).items()}
    found = [state]
    while prefix := next((p for p in _PREFIXES if any(name.startswith(p) for name in state)), None):
        # a training script's other networks (discriminator, loss) have no such prefix
        state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        found.append(state)
    return found


def _unwrapped(content: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(_MOST_WRAPPERS):
        inner = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping) and content[key]]
        if not inner and not _tensors(content):  # the only mapping under a name that is not listed
            inner = [value for value in content.values() if isinstance(value, Mapping) and value]
            inner = inner if len(inner) == 1 else []
        if not inner:
            break
        content = inner[0]
    return content


def _tensors(content: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    return {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
