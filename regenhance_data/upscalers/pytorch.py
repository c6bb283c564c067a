"""Upscalers that PyTorch runs: builtin, weights of EDSR and of spandrel's architectures, TorchScript files."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from regenhance_data.cli import InputError
from regenhance_data.upscalers.base import UpscalingNetwork, one_line, probe

_BUILTIN_RADIUS = 7  # origin pixels that a pixel of the result depends on: its layers, 3×3 each


class TorchNetwork(UpscalingNetwork):
    """A function on tensors [N, 3, h, w] of one device and type, RGB from 0 to `white`, as a network on frames."""

    def __init__(
        self,
        function: Callable[[torch.Tensor], torch.Tensor],
        source: str,
        scale: int,
        white: float,
        half: bool = False,
        **about: Any,
    ) -> None:
        super().__init__(source, scale, **about)
        self._function, self._depth = function, 255 / white
        self._dtype = torch.float16 if half else torch.float32

    def run(self, frames: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            given = torch.from_numpy(frames).to(device()).permute(0, 3, 1, 2).to(self._dtype) / self._depth
            made = self._function(given)
            self.refuse_unless_finite(bool(made.isfinite().all()))
            pixels = (made.float() * self._depth).clamp(0, 255).round().byte()
            return pixels.permute(0, 2, 3, 1).cpu().numpy()


def device() -> torch.device:
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


def edsr_network(path: Path, half: bool | None) -> TorchNetwork:
    """An official EDSR checkpoint. half: None takes half precision on a GPU."""
    from regenhance_data.upscalers.edsr import edsr_from

    weights = {name: value for name, value in read_weights(path).items() if isinstance(value, torch.Tensor)}
    network = edsr_from(weights, str(path))
    half = _half(half, supported=True, source=str(path))
    network.to(device(), torch.float16 if half else torch.float32).to(memory_format=torch.channels_last)
    about: dict[str, Any] = {"overlap": network.radius, "batches": _batches()}
    return TorchNetwork(network, str(path), network.scale, 255.0, half, **about)


def spandrel_network(path: Path, half: bool | None) -> TorchNetwork:
    """A checkpoint of an architecture that spandrel recognises. half: None takes what it supports on a GPU."""
    try:
        import spandrel
    except ImportError:
        raise InputError(f"--model spandrel:{path}: spandrel is not installed; pip install spandrel") from None
    weights = read_weights(path)
    try:
        found = spandrel.ModelLoader().load_from_state_dict(spandrel.canonicalize_state_dict(weights))
    except spandrel.UnsupportedModelError:
        raise InputError(
            f"{path}: spandrel knows no network with such weights ({', '.join(list(weights)[:3])} …)"
        ) from None
    # weights that resemble an architecture and are not of it
    except Exception as error:
        raise InputError(f"{path}: spandrel cannot load it ({one_line(error)})") from None
    name = found.architecture.name
    if not isinstance(found, spandrel.ImageModelDescriptor) or (found.input_channels, found.output_channels) != (3, 3):
        raise InputError(f"{path}: is a {name} that makes no RGB picture of an RGB picture; give a super-resolver")
    half = _half(half, found.supports_half, str(path))
    found.eval().to(device(), torch.float16 if half else torch.float32)
    about: dict[str, Any] = {"multiple": found.size_requirements.multiple_of, "batches": _batches()}
    return TorchNetwork(found, str(path), found.scale, 1.0, half, **about)


def torchscript_network(path: Path, half: bool | None, white: float) -> TorchNetwork:
    """A TorchScript module: frames [N, 3, h, w] RGB 0..white → the same, larger."""
    from regenhance_data.io.torchscript import load_script

    half = bool(half)
    dtype = torch.float16 if half else torch.float32
    module = load_script(path).eval().to(dtype)

    def run(frames: torch.Tensor) -> Any:
        # without the executor that rewrites a graph after its first runs: the same pixels in every run
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            return module(frames)

    def run_probe(frame: np.ndarray) -> Any:
        with torch.inference_mode():
            return run(torch.from_numpy(frame * np.float32(white)).to(device(), dtype))

    scale, multiple = probe(run_probe, str(path))
    return TorchNetwork(run, str(path), scale, white, half, multiple=multiple)


def builtin_network() -> TorchNetwork:
    """The upscaler that comes with the kit, in full precision."""
    from regenhance_data.street.samples import SCALE
    from regenhance_data.street.upscaler import load_street_upscaler

    network = load_street_upscaler().to(device()).to(memory_format=torch.channels_last)
    return TorchNetwork(network, "builtin", SCALE, 255.0, overlap=_BUILTIN_RADIUS, batches=_batches())


def _half(asked: bool | None, supported: bool, source: str) -> bool:
    if asked and not supported:
        raise InputError(f"{source}: this network does not work in half precision; use --precision fp32")
    return supported and device().type == "cuda" if asked is None else asked


def _batches() -> bool:
    # On a CPU a batch is no faster, and its size would change the last bits of a frame.
    return device().type == "cuda"
