"""The network mb_nano, which predicts one level for each macroblock, and its loss.

Segmentation networks compute logits for each pixel. Importance has one value for each macroblock, a few hundred in a
frame: this network downsamples to the grid directly and does the rest of its work there. Importing this module
registers `MbNano` and `MacroblockLoss` with PaddleSeg.
"""

from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddleseg.cvlibs import manager

from regenhance_data.dataset.levels import IGNORED_LEVEL


class _ConvNorm(nn.Sequential):
    """Convolution, batch normalisation and, unless it is the last of a block, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        padding = 0 if kernel == stride else kernel // 2
        conv = nn.Conv2D(inputs, outputs, kernel, stride, padding, groups=groups, bias_attr=False)
        super().__init__(conv, nn.BatchNorm2D(outputs), *([nn.ReLU()] if act else []))


class _Block(nn.Layer):
    """An inverted residual block: expansion, depthwise 5×5 convolution, projection to `width`, skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _ConvNorm(width, 2 * width, 1),
            _ConvNorm(2 * width, 2 * width, 5, groups=2 * width),
            _ConvNorm(2 * width, width, 1, act=False),
        )

    def forward(self, x: Any) -> Any:
        return x + self.body(x)


@manager.MODELS.add_component
class MbNano(nn.Layer):
    """[N, 3, H, W] → [logits [N, num_classes, ceil(H / mb_size), ceil(W / mb_size)]], a list as PaddleSeg expects.

    A stem of stride 4, convolutions of stride 2 down to the grid, `depth` inverted residual blocks on it, and a context
    branch at a quarter of the grid's resolution. mb_size: 8, 16 or 32; width: channels on the grid.
    """

    def __init__(self, num_classes: int, mb_size: int = 16, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        if mb_size not in (8, 16, 32):
            raise ValueError(f"mb_size is {mb_size}, this network supports 8, 16 and 32")
        self.mb_size = mb_size
        stages, channels = [_ConvNorm(3, width // 2, 4, 4)], width // 2
        stride = 4
        while stride < mb_size:
            stages += [_ConvNorm(channels, channels, 3, 2, groups=channels, act=False), _ConvNorm(channels, width, 1)]
            channels, stride = width, 2 * stride
        self.to_grid = nn.Sequential(*stages)
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(depth)))
        self.context = nn.Sequential(_ConvNorm(width, width, 1), _ConvNorm(width, width, 3, groups=width))
        self.head = nn.Conv2D(2 * width, num_classes, 1)

    def forward(self, x: Any) -> list[Any]:
        height, width = x.shape[2:]
        right, bottom = -width % self.mb_size, -height % self.mb_size
        if right or bottom:
            x = F.pad(x, [0, right, 0, bottom], mode="replicate")
        cells = self.blocks(self.to_grid(x))
        coarse = self.context(F.avg_pool2d(cells, 4, ceil_mode=True, exclusive=True))
        coarse = F.interpolate(coarse, cells.shape[2:], mode="bilinear")
        return [self.head(paddle.concat([cells, coarse], axis=1))]


@manager.LOSSES.add_component
class MacroblockLoss(nn.Layer):
    """Cross-entropy of the level of each macroblock, plus `order` times the smooth L1 of the expected level.

    Cross-entropy alone treats levels as unordered: it does not prefer level 5 to level 9 where 4 is right. Logits
    [N, K, rows, cols] and labels int64 [N, H, W] → a scalar; a macroblock has the level of its middle pixel, ignored
    ones do not count. ValueError for logits of another grid.
    """

    def __init__(self, mb_size: int = 16, order: float = 1.0, ignore_index: int = IGNORED_LEVEL) -> None:
        super().__init__()
        self.mb_size, self.order, self.ignore_index = mb_size, order, ignore_index

    def forward(self, logits: Any, labels: Any, semantic_weights: Any = None) -> Any:
        levels, rows, cols = logits.shape[1:]
        if [rows, cols] != [-(-size // self.mb_size) for size in labels.shape[1:]]:
            raise ValueError(f"logits of {rows}x{cols} are not one for each macroblock; take a network on the grid")
        down, right = (
            (paddle.arange(count) * self.mb_size + self.mb_size // 2).clip(max=size - 1)
            for count, size in zip((rows, cols), labels.shape[1:], strict=True)
        )
        labels = labels.index_select(down, axis=1).index_select(right, axis=2)
        counted = (labels != self.ignore_index).astype(logits.dtype)
        count = counted.sum() + 1e-6
        cross_entropy = F.cross_entropy(logits, labels, axis=1, ignore_index=self.ignore_index, reduction="none")
        cross_entropy = cross_entropy.reshape(counted.shape)
        expected = (F.softmax(logits, axis=1) * paddle.arange(levels, dtype=logits.dtype).reshape([1, -1, 1, 1])).sum(1)
        distance = F.smooth_l1_loss(expected, labels.astype(logits.dtype), reduction="none")
        return ((cross_entropy + self.order * distance) * counted).sum() / count
