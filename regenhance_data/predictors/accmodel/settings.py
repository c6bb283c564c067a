"""The settings of AccModel's training, free of PyTorch."""

from dataclasses import dataclass
from pathlib import Path

from regenhance_data.errors import InputError
from regenhance_data.learning.settings import refuse_training_flags

NAME = "accmodel"  # of its files
# Measured on 141 frames of a highway, from random weights. Ranking on the validation frames: 0.681 at a rate of 1e-3,
# 0.709 at 3e-3; half of the epochs reached both, the others did not improve them.
EPOCHS, LEARNING_RATE = 15, 3e-3


@dataclass(frozen=True)
class AccModelTrainSettings:
    """How AccModel is trained.

    threshold: of the normalised importance, in [0, 1), above which a macroblock is worth enhancing; None takes the one
    that a tenth of the training macroblocks exceed. pretrained: 'imagenet', the file of a MobileNetV2-SSD-lite, or
    None. device: 'cpu', 'gpu', or None for the GPU if there is one. overwrite: the training may replace an earlier one
    in `save_dir`. InputError for values out of range, and for a folder with an earlier training.
    """

    save_dir: Path
    epochs: int = EPOCHS
    batch_size: int = 8
    learning_rate: float = LEARNING_RATE
    threshold: float | None = None
    pretrained: str | None = None
    seed: int = 0
    device: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        refuse_training_flags(self.seed, epochs=self.epochs, batch_size=self.batch_size)
        if not 0 < self.learning_rate <= 1:
            raise InputError(f"--learning_rate {self.learning_rate}: expected more than 0, at most 1")
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise InputError(f"--threshold {self.threshold}: expected 0 or more, below 1")
        found = [path for suffix in (".pth", ".onnx") if (path := self.save_dir / f"{NAME}{suffix}").exists()]
        if found and not self.overwrite:
            raise InputError(
                f"{found[0]}: is of an earlier training; replace it with --overwrite, or give another --save_dir"
            )
