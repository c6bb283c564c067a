"""Upscalers that PyTorch runs, as ONNX graphs that read and write pixels."""

import warnings
from collections.abc import Callable

import onnx
import torch
from torch import nn

from regenhance_data.errors import InputError, one_line
from regenhance_data.io.leftovers import temporary_folder
from regenhance_data.io.torch_weights import default_device
from regenhance_data.upscalers.base import BGR, UpscalingNetwork
from regenhance_data.upscalers.pytorch import TorchLumaNetwork, TorchNetwork

OPSET = 17
_EXAMPLE_HW = (64, 128)  # multiples of what any network takes


def upscaler_onnx(network: UpscalingNetwork) -> onnx.ModelProto:
    """The graph of a network in full precision, for frames of any number and size that the network itself takes.

    RGB: `frames` uint8 [N, h, w, 3] → `hr` uint8 [N, h·scale, w·scale, 3], RGB whatever the network's order of channels
    is. Luma: float32 [N, 1, h, w] in 0..1 → the same, larger. InputError where PyTorch cannot trace it.
    """
    module: nn.Module
    if isinstance(network, TorchNetwork):
        module, axes = _Pixels(network), (1, 2)
        example = torch.zeros(1, *_EXAMPLE_HW, 3, dtype=torch.uint8, device=default_device())
    elif isinstance(network, TorchLumaNetwork):
        module, axes = _Scaled(network.function, network.white), (2, 3)
        example = torch.zeros(1, 1, *_EXAMPLE_HW, device=default_device())
    else:
        raise InputError(f"{network.source}: is no network that PyTorch runs; it cannot be exported")
    names = ("n", "h", "w"), ("n", "hr_h", "hr_w")
    open_axes = [dict(zip((0, *axes), dims, strict=True)) for dims in names]
    with temporary_folder() as folder, warnings.catch_warnings(action="ignore"):
        path = folder / "upscaler.onnx"
        try:
            # traced before: the exporter's own tracing refuses TorchScript inside
            traced = torch.jit.trace(module.eval(), example, check_trace=False)
            torch.onnx.export(
                *(traced, (example,), path),
                opset_version=OPSET,
                input_names=["frames"],
                output_names=["hr"],
                dynamic_axes=dict(zip(("frames", "hr"), open_axes, strict=True)),
                dynamo=False,
            )
        except Exception as error:  # a network's own code, and the exporter, raise many kinds
            raise InputError(f"{network.source}: PyTorch cannot export it to ONNX ({one_line(error)})") from None
        graph = onnx.load(path)
    channels = graph.graph.output[0].type.tensor_type.shape.dim[3 if axes == (1, 2) else 1]
    channels.dim_value = example.shape[3] if axes == (1, 2) else 1
    return graph


class _Scaled(nn.Module):
    """A function from 0 to `white` as one from 0 to 1."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], white: float) -> None:
        super().__init__()
        self.function, self.white = function, white

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        made = self.function(frames * self.white if self.white != 1 else frames)
        return made / self.white if self.white != 1 else made


class _Pixels(nn.Module):
    """A network from pixels to pixels: uint8 [N, h, w, 3] → uint8 [N, h·scale, w·scale, 3]."""

    def __init__(self, network: TorchNetwork) -> None:
        super().__init__()
        self.function, self.depth = network.function, 255 / network.white
        given, _, made = network.channel_order.partition("-")
        self.is_given_bgr, self.is_made_bgr = given == BGR, (made or given) == BGR

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        given = frames.permute(0, 3, 1, 2).float()
        given = given / self.depth if self.depth != 1 else given
        made = self.function(given.flip(1) if self.is_given_bgr else given)
        made = made.flip(1) if self.is_made_bgr else made
        made = made * self.depth if self.depth != 1 else made
        return made.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)
