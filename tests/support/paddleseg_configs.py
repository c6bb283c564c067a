"""Small PaddleSeg configs, as people write them, and a network that trains in no time."""

from pathlib import Path
from typing import Any

import paddle
import yaml
from paddleseg.cvlibs import manager

NETWORK = "TinyPixels"
LOSS_ARGUMENTS = {  # of PaddleSeg's losses that do not work without
    "BootstrappedCrossEntropyLoss": {"min_K": 100, "loss_th": 0.3},
    "MixedLoss": {"losses": [{"type": "DiceLoss"}, {"type": "OhemCrossEntropyLoss", "min_kept": 100}], "coef": [1, 1]},
    "OhemCrossEntropyLoss": {"min_kept": 100},
    "OhemEdgeAttentionLoss": {"min_kept": 100},
    "PixelContrastCrossEntropyLoss": {"max_samples": 32, "max_views": 4},
}


class TinyPixels(paddle.nn.Layer):
    """One convolution; in training as many outputs as `kinds` has letters.

    p: logits of each pixel; e: one channel; a: logits and edges; s: logits and an embedding; t: logits and points; c:
    logits of the frame.
    """

    def __init__(self, num_classes: int, kinds: str = "p", in_channels: int = 3) -> None:
        super().__init__()
        self.kinds = kinds
        self.pixels = paddle.nn.Conv2D(in_channels, num_classes, 1)
        self.edges = paddle.nn.Conv2D(in_channels, 1, 1)

    def forward(self, x: Any) -> list[Any]:
        logits, edges = self.pixels(x), self.edges(x)
        if not self.training:
            return [logits]
        made = {
            "p": lambda: logits,
            "e": lambda: edges,
            "a": lambda: (logits, edges + 1),
            "s": lambda: {"seg": logits, "embed": logits},
            "t": lambda: (logits.flatten(2)[:, :, :9], paddle.rand([logits.shape[0], 9, 2])),
            "c": lambda: logits.mean([2, 3]),
        }
        return [made[kind]() for kind in self.kinds]


if NETWORK not in manager.MODELS.components_dict:
    manager.MODELS.add_component(TinyPixels)


def write_config(path: Path, losses: list[dict[str, Any]] | None = None, kinds: str = "p", **changes: Any) -> Path:
    """A config of TinyPixels with a loss for each of its outputs; `changes`: mappings are merged, others replaced."""
    normalize = {"transforms": [{"type": "Normalize"}]}
    dataset = {"type": "Dataset", "dataset_root": "my_dataset", "num_classes": 10, **normalize}
    config: dict[str, Any] = {
        "batch_size": 2,
        "iters": 2,
        "train_dataset": {**dataset, "train_path": "my_dataset/train.txt", "mode": "train"},
        "val_dataset": {**dataset, "val_path": "my_dataset/val.txt", "mode": "val"},
        "optimizer": {"type": "SGD", "momentum": 0.9},
        "lr_scheduler": {"type": "PolynomialDecay", "learning_rate": 0.01, "end_lr": 0, "power": 0.9},
        "loss": {"types": losses or [{"type": "CrossEntropyLoss"}], "coef": [1] * len(kinds)},
        "model": {"type": NETWORK, "num_classes": 10, "kinds": kinds},
    }
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
