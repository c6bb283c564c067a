"""Upscalers from TorchScript files."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from regenhance_data.io.torch_weights import default_device
from regenhance_data.io.torchscript import load_script
from regenhance_data.upscalers.base import UpscalingNetwork, probe
from regenhance_data.upscalers.pytorch import torch_network
from regenhance_data.upscalers.settings import UpscalerSettings


def load(argument: str, settings: UpscalerSettings) -> UpscalingNetwork:
    """A TorchScript module: frames [N, C, h, w] 0..white, RGB or luma → the same, larger; of several, the largest."""
    path, white, half = Path(argument), settings.white, bool(settings.half)
    dtype = torch.float16 if half else torch.float32
    run = _Largest(load_script(path).eval().to(dtype))

    def run_probe(frame: np.ndarray) -> Any:
        with torch.inference_mode():
            return run(torch.from_numpy(frame * np.float32(white)).to(default_device(), dtype))

    scale, multiple, channels = probe(run_probe, str(path))
    about: dict[str, Any] = {"multiple": multiple, "name": "TorchScript network"}
    return torch_network(run, channels, str(path), scale, white, half, **about)


class _Largest(nn.Module):
    """Of a script's outputs, the largest."""

    def __init__(self, script: nn.Module) -> None:
        super().__init__()
        self.script = script

    def forward(self, frames: torch.Tensor) -> Any:
        # without the executor that rewrites a graph after its first runs: the same pixels in every run
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            made = self.script(frames)
        made = list(made.values()) if isinstance(made, dict) else made
        tensors = [part for part in made if isinstance(part, torch.Tensor)] if isinstance(made, list | tuple) else []
        return max(tensors, key=lambda tensor: int(tensor.numel()), default=made)
