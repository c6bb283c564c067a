"""The settings of an upscaler's training, free of PyTorch."""

from dataclasses import dataclass

from regenhance_data.errors import InputError
from regenhance_data.learning.settings import CHANNELS, LAYERS, refuse_training_flags
from regenhance_data.upscalers.general_weights import GENERAL_SCALES

NAME, LOG = "upscaler", "train_log.json"  # of its files, and of its log
MINUTES = 8.0
_MOST_CHANNELS, _MOST_LAYERS = 256, 32


@dataclass(frozen=True)
class UpscalerTrainSettings:
    """How an upscaler is trained.

    minutes: they set how many steps the training takes, measured when it begins. iterations: the steps on pixels alone,
    then those with the detector too, in place of `minutes`. channels, layers: of the network. pretrained: whether it
    begins with the general weights where there are some of its size. InputError, which names the flag, for values out
    of range.
    """

    minutes: float = MINUTES
    iterations: tuple[int, int] | None = None
    channels: int = CHANNELS
    layers: int = LAYERS
    seed: int = 0
    pretrained: bool = True

    def begins_general(self, scale: int) -> bool:
        """Whether a training at this scale begins with the general weights."""
        return self.pretrained and scale in GENERAL_SCALES and (self.channels, self.layers) == (CHANNELS, LAYERS)

    def __post_init__(self) -> None:
        if not 0 < self.minutes <= 60 * 24 * 7:
            raise InputError(f"--minutes {self.minutes:g}: expected more than 0, at most a week")
        if self.iterations is not None and (self.iterations[0] < 0 or self.iterations[1] < 1):
            given = " ".join(map(str, self.iterations))
            raise InputError(f"--iterations {given}: expected at least 0 on pixels and at least 1 with the detector")
        for name, most in (("channels", _MOST_CHANNELS), ("layers", _MOST_LAYERS)):
            if not 1 <= getattr(self, name) <= most:
                raise InputError(f"--{name} {getattr(self, name)}: expected 1 to {most}")
        refuse_training_flags(self.seed)
