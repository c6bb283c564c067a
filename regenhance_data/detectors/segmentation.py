"""Detectors of the task segmentation: a class for every pixel."""

from abc import abstractmethod
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from regenhance_data.detectors.base import BATCH, Detector, Objective

NO_CLASS = -100  # cross_entropy's value for ignored pixels


class Segmenter(Detector):
    """A network that gives each pixel a class. Acc is the mean over pixels of the winning class's log-probability.

    The winner is that of the HR frame; with `--classes`, the pixels are those whose winner is among them. Pixels
    are those of the network's output. Subclasses give `class_names` (at most 256) and implement `logits`.
    """

    task = "segmentation"

    @abstractmethod
    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames float32 [N, 3, H, W] RGB 0..255 → the logits of each class float32 [N, C, h, w], differentiable in
        the frames and covering all of them, at the network's output size.
        """

    @torch.no_grad()
    def detect(self, frames: np.ndarray) -> list[np.ndarray]:
        """The class of each pixel: uint8 [N, H, W, 3] RGB → N maps uint8 [H, W]."""
        maps: list[np.ndarray] = []
        for start in range(0, len(frames), BATCH):
            batch = self.tensor(frames[start : start + BATCH])
            maps += [one.cpu().numpy() for one in self.class_maps(batch)]
        return maps

    def class_maps(self, frames: torch.Tensor) -> Iterator[torch.Tensor]:
        """The class of each pixel, uint8 [H, W] for each of the frames float32 [N, 3, H, W] RGB 0..255."""
        hw = int(frames.shape[2]), int(frames.shape[3])
        for one in self.logits(frames):  # one at a time: logits at the frame's size are large
            full = functional.interpolate(one[None], hw, mode="bilinear", align_corners=False)
            yield full[0].argmax(0).byte()

    def accuracy(self, hr: torch.Tensor) -> Objective:
        logits = self.logits(hr)
        winners = logits.detach().argmax(1)
        if self.settings.classes:
            wanted = torch.tensor(self.counted_classes(), device=winners.device)
            winners[~torch.isin(winners, wanted)] = NO_CLASS
        return Objective(
            _log_probability(logits, winners)[0], int((winners != NO_CLASS).sum()), partial(self._accuracy_of, winners)
        )

    def _accuracy_of(self, winners: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        return _log_probability(self.logits(frames), winners.expand(len(frames), -1, -1))


def _log_probability(logits: torch.Tensor, winners: torch.Tensor) -> torch.Tensor:
    """The mean over the pixels that count of the winner's log-probability, [N]; 0 where none counts."""
    losses = functional.cross_entropy(logits, winners, ignore_index=NO_CLASS, reduction="none")
    return -losses.sum((1, 2)) / (winners != NO_CLASS).sum((1, 2)).clamp(min=1)
