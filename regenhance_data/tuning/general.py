"""The training of the general upscalers, on the originals of many cameras."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from regenhance_data.detectors.base import Detector
from regenhance_data.io.images import jpeg_compressed
from regenhance_data.io.torch_weights import default_device
from regenhance_data.learning.settings import CHANNELS, LAYERS
from regenhance_data.learning.upscaler import SmallUpscaler, upscaler_training
from regenhance_data.tuning.training import (
    Pairs,
    detector_weight,
    loss_on_pixels,
    loss_with_detector,
    refuse_without_gradient,
)

_QUALITY = 50, 95  # of JPEG


def as_from_cameras(pairs: Pairs, seed: int) -> Pairs:
    """The pairs, and each again with its LR frame compressed as JPEG: cameras compress little or much, and an upscaler
    that has seen only the one makes the other worse.
    """
    rng = np.random.default_rng(seed)
    return [*pairs, *((jpeg_compressed(lr, int(rng.integers(*_QUALITY, endpoint=True))), hr) for lr, hr in pairs)]


def train_general_upscaler(
    pairs: Pairs,
    detectors: Sequence[Detector],
    iterations: tuple[int, int],
    seed: int,
    start: SmallUpscaler | None = None,
) -> SmallUpscaler:
    """An upscaler in eval mode. iterations: steps on pixels, then with the detectors in turn. start: a trained
    upscaler, of any scale, with whose layers it begins, but for a last one of another size. InputError for a detector
    without a gradient.
    """
    torch.manual_seed(seed)
    upscaler = SmallUpscaler(pairs[0][1].shape[0] // pairs[0][0].shape[0], CHANNELS, LAYERS)
    if start is not None:
        own = upscaler.state_dict()
        known = {name: value for name, value in start.state_dict().items() if value.shape == own[name].shape}
        upscaler.load_state_dict(own | known)
    upscaler.to(default_device())
    for detector in detectors:
        refuse_without_gradient(upscaler, pairs, detector)
    on_pixels, with_detector = iterations
    if on_pixels:
        upscaler_training(upscaler, on_pixels).run(partial(loss_on_pixels, upscaler, pairs, seed))
    weights = [detector_weight(upscaler, pairs, detector) for detector in detectors]

    def loss_in_turn(step: int) -> torch.Tensor:
        turn = step % len(detectors)
        return loss_with_detector(upscaler, pairs, detectors[turn], weights[turn], seed, step)

    upscaler.train()
    upscaler_training(upscaler, with_detector).run(loss_in_turn)
    return upscaler.eval()
