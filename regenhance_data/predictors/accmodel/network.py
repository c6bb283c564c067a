"""AccModel's network and what it predicts.

MobileNetV2-SSD-lite sees the frame. Its feature maps of six scales, and the class scores of its six heads, are sampled
on the grid of macroblocks; three convolutions classify each macroblock: worth enhancing, or not.
"""

import warnings
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops import Conv2dNormActivation

from regenhance_data.defaults import MB_SIZE
from regenhance_data.errors import InputError
from regenhance_data.io.leftovers import temporary_folder

# What MobileNetV2-SSD was trained with: (255 · RGB − 127) / 128, here as (RGB − MEAN) / STD.
MEAN, STD = 127 / 255, 128 / 255
_SSD_OUTPUTS = 6 * 21  # at each position six boxes; 20 classes of Pascal VOC and the background
_TAPPED_BLOCK = 14  # SSD-lite's first feature map is the expansion of this block, the last one of stride 16
_WIDTHS = (576, 1280, 512, 256, 256, 64)  # channels of the six feature maps, of strides 16 to 512
_EXPANSIONS = (0.2, 0.25, 0.5, 0.25)  # of the four blocks that make the last four maps
_HIDDEN = 16


class AccNetwork(nn.Module):
    """Normalised frames float32 [N, 3, H, W] → logits [N, 2, ceil(H / mb_size), ceil(W / mb_size)], of any size."""

    def __init__(self, mb_size: int = MB_SIZE) -> None:
        super().__init__()
        self.mb_size = mb_size
        self.features = torchvision.models.mobilenet_v2(num_classes=1).features
        self.extras = nn.ModuleList(
            InvertedResidual(inputs, outputs, stride=2, expand_ratio=ratio)
            for inputs, outputs, ratio in zip(_WIDTHS[1:], _WIDTHS[2:], _EXPANSIONS, strict=False)
        )
        self.heads = nn.ModuleList(_head(width) for width in _WIDTHS)
        inputs = sum(_WIDTHS) + len(_WIDTHS) * _SSD_OUTPUTS
        self.process = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, _HIDDEN, 3, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(_HIDDEN),
            nn.Conv2d(_HIDDEN, _HIDDEN, 3, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(_HIDDEN),
            nn.Conv2d(_HIDDEN, 2, 3, padding=1),
            nn.BatchNorm2d(2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = padded(x, self.mb_size)
        rows, cols = (int(side) // self.mb_size for side in x.shape[2:])
        maps = self._maps(x)
        scores = [head(features) for head, features in zip(self.heads, maps, strict=True)]
        return self.process(torch.cat([_on_grid(one, rows, cols) for one in (*scores, *maps)], 1))

    def _maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The six feature maps of SSD-lite, each half the size of the one before."""
        expand, *rest = self.features[_TAPPED_BLOCK].conv
        maps = [expand(self.features[:_TAPPED_BLOCK](x))]
        x = maps[0]
        for layer in (*rest, *self.features[_TAPPED_BLOCK + 1 :]):
            x = layer(x)
        maps.append(x)
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return maps


class AccModel(nn.Module):
    """Frames float32 [N, 3, H, W] RGB in 0..1 → logits [N, 2, ceil(H / mb_size), ceil(W / mb_size)], of any size.

    threshold: the normalised importance above which a macroblock counts as worth enhancing in training.
    """

    def __init__(self, mb_size: int = MB_SIZE, threshold: float = 0.5) -> None:
        super().__init__()
        self.network = AccNetwork(mb_size)
        self.threshold = threshold

    @property
    def mb_size(self) -> int:
        return self.network.mb_size

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.network((frames - MEAN) / STD)

    def importance(self, frames: np.ndarray) -> np.ndarray:
        """The probability that a macroblock is worth enhancing: uint8 [N, H, W, 3] RGB → float32 [N, rows, cols]."""
        with torch.inference_mode():
            tensor = frames_tensor(frames).to(next(self.parameters()).device)
            return self.eval()(tensor).softmax(1)[:, 1].cpu().numpy()

    def clip_importance(self, frames: Iterable[np.ndarray], source: str | Path, batch_size: int = 8) -> np.ndarray:
        """The importance of a clip's frames, uint8 [H, W, 3] RGB each: float32 [T, rows, cols] in [0, 1].

        Only `batch_size` frames are in memory at once. InputError, which names `source`, where the frames differ in
        size or the importance is not finite.
        """
        maps: list[np.ndarray] = []
        frames, shape = iter(frames), None
        while batch := list(islice(frames, batch_size)):
            shape = shape or batch[0].shape
            if any(frame.shape != shape for frame in batch):
                raise InputError(f"{source}: its frames differ in size; one clip has one size")
            maps.append(self.importance(np.stack(batch)))
            if not np.isfinite(maps[-1]).all():
                raise InputError(f"{source}: --model outputs NaN for its frames; the model is damaged, train it again")
        return np.concatenate(maps)


def _head(width: int) -> nn.Module:
    if width == _WIDTHS[-1]:  # the smallest map, mostly of one position
        return nn.Conv2d(width, _SSD_OUTPUTS, 1)
    depthwise = Conv2dNormActivation(width, width, 3, groups=width, bias=True, activation_layer=nn.ReLU6)
    return nn.Sequential(depthwise, nn.Conv2d(width, _SSD_OUTPUTS, 1))


def padded(frames: torch.Tensor, mb_size: int) -> torch.Tensor:
    """Frames [N, C, H, W], padded to whole macroblocks by repeating the last row and column."""
    height, width = (int(side) for side in frames.shape[2:])
    right, below = -width % mb_size, -height % mb_size
    return functional.pad(frames, (0, right, 0, below), mode="replicate") if right or below else frames


def _on_grid(features: torch.Tensor, rows: int, cols: int) -> torch.Tensor:
    """The nearest position of [N, C, h, w] for each macroblock: [N, C, rows, cols].

    In integers: functional.interpolate and ONNX's Resize round differently on grids of more than 100 columns.
    """
    for axis, (count, size) in enumerate(zip((rows, cols), features.shape[2:], strict=True), 2):
        if count != int(size):
            features = features.index_select(axis, torch.arange(count, device=features.device) * int(size) // count)
    return features


def frames_tensor(frames: np.ndarray) -> torch.Tensor:
    """uint8 [N, H, W, 3] → float32 [N, 3, H, W] in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255


def accmodel_onnx(network: AccNetwork, input_hw: tuple[int, int]) -> bytes:
    """The network as ONNX for one frame of a fixed size: `x` float32 [1, 3, H, W] normalised → logits."""
    example = torch.zeros(1, 3, *input_hw, device=next(network.parameters()).device)
    with temporary_folder() as folder, warnings.catch_warnings(action="ignore"):
        path = folder / "network.onnx"
        # it warns that the frame's size becomes a constant, which is intended
        torch.onnx.export(network.eval(), (example,), path, opset_version=17, input_names=["x"], dynamo=False)
        return path.read_bytes()
