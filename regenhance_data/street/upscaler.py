"""The built-in upscaler: a small network for compressed 320×180 frames of the built-in street, ×3."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from regenhance_data.learning.upscaler import CROP, SmallUpscaler, crop_pair, pixel_loss, pixels, upscaler_training
from regenhance_data.learning.weights import load_weights
from regenhance_data.street.detector import StreetDetector
from regenhance_data.street.samples import SCALE, Sample, crop_corner
from regenhance_data.street.weights import UPSCALER_WEIGHTS

_CHANNELS, _LAYERS = 28, 6  # 43,000 parameters: below 150 ms for a 320×180 frame on two cores
_DETECTOR_WEIGHT = 250.0  # both parts of the loss then weigh about the same; with 40 the detector gained half as much


def new_street_upscaler() -> SmallUpscaler:
    """The network of the built-in upscaler, with random weights."""
    return SmallUpscaler(SCALE, _CHANNELS, _LAYERS)


def load_street_upscaler(weights: Path = UPSCALER_WEIGHTS) -> SmallUpscaler:
    """The upscaler with the weights of this kit (or others of the same network), in eval mode."""
    return load_weights(new_street_upscaler(), weights, "tools/train_builtin_upscaler.py")


def train_street_upscaler(
    samples: Sequence[Sample],
    iterations: int,
    seed: int = 0,
    batch: int = 8,
    start: SmallUpscaler | None = None,
    detector: StreetDetector | None = None,
) -> SmallUpscaler:
    """An upscaler trained on random crops of LR and HR frames, in eval mode; from `start` if given.

    With `detector`, the loss also compares that detector's features with those of the HR frames (a perceptual loss,
    Johnson et al. 2016): a loss on pixels alone favours smooth frames, which hide objects. The detector is not trained.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    upscaler = (start or new_street_upscaler()).train()
    if detector is not None:
        detector.requires_grad_(False)

    def batch_loss(_: int) -> torch.Tensor:
        crops = [_crop(rng, samples[rng.integers(len(samples))]) for _ in range(batch)]
        lr, hr = (pixels(np.stack(frames)) for frames in zip(*crops, strict=True))
        made = upscaler(lr)
        loss = pixel_loss(made, hr)
        if detector is not None:
            with torch.no_grad():
                wanted = detector.features(hr)
            loss = loss + _DETECTOR_WEIGHT * functional.l1_loss(detector.features(made), wanted)
        return loss

    upscaler_training(upscaler, iterations).run(batch_loss)
    return upscaler.eval()


def _crop(rng: np.random.Generator, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """(LR [48, 48, 3], HR [144, 144, 3]) of the sample's dtype, mirrored at random."""
    left, top = crop_corner(rng, sample, (CROP, CROP)).tolist()
    return crop_pair(rng, sample.lr, sample.hr, (left, top), (CROP, CROP))
