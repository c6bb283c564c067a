"""How well a predictor orders the macroblocks of validation frames, and how far its levels can be believed."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from regenhance_data.console import progress
from regenhance_data.dataset.levels import IGNORED_LEVEL, expected_level
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.metrics.ranking import agreement
from regenhance_data.predictors.paddleseg.batches import PreparedFrames
from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.samples import Samples


class NotFinite(InputError):
    """A network that says NaN."""


CALIBRATION_BINS = 15  # of confidence, as Guo et al. (2017) have them


def predict_levels(model: Any, images: Any, config: PredictorConfig, grid: MacroblockGrid) -> np.ndarray:
    """The probability of each level for each macroblock: prepared images [N, 3, h, w] → float64 [N, K, rows, cols].

    grid: of the frames before they were shrunk. The mean over a macroblock's pixels, or as it is where the network goes
    straight to the macroblocks. InputError where its output is neither, NotFinite where it is no number.
    """
    with paddle.no_grad():
        shares = F.softmax(model(images)[0], axis=1).numpy()
    if not np.isfinite(shares).all():
        raise NotFinite(f"{config.path}: its network puts out NaN; take an earlier checkpoint, or train again")
    if shares.shape[-2:] == grid.shape:
        return shares.astype(np.float64)
    if shares.shape[-2:] != tuple(images.shape[-2:]):
        rows, cols = grid.shape
        raise InputError(
            f"{config.path}: says {shares.shape[-2]}x{shares.shape[-1]} values of a frame with {rows}x{cols} "
            f"macroblocks; give it --opts model.mb_size={grid.mb_size}, and its loss"
        )
    height, width = shares.shape[-2:]
    return MacroblockGrid(height, width, grid.mb_size // config.shrink).mean(shares)


def validate(model: Any, config: PredictorConfig, samples: Samples) -> dict[str, float]:
    """Ranking of the macroblocks against the true importance, per frame (ranking.agreement); `calibration_error` (ECE)
    and `miou` of their levels, over all frames.
    """
    prepared = PreparedFrames(samples, config, "val_dataset")
    levels = Levels(config.num_classes)
    model.eval()

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for index, truth in enumerate(progress(samples.importance(), "validate", len(samples))):
            image, label = prepared[index, 0]
            height, width = samples.sizes_hw[index]
            grid = MacroblockGrid(height, width, samples.mb_size)
            shares = predict_levels(model, paddle.to_tensor(image[None]), config, grid)[0]
            step = grid.mb_size // config.shrink  # a label is the same in all of a macroblock
            levels.count(shares, label[::step, ::step])
            yield expected_level(shares, axis=0), truth

    return {**agreement(pairs()), "calibration_error": levels.calibration_error(), "miou": levels.miou()}


class Levels:
    """What levels were said and what they were, counted over frames."""

    def __init__(self, count: int) -> None:
        self._confusion = np.zeros((count, count), np.int64)
        self._bins = np.zeros((CALIBRATION_BINS, 3))  # macroblocks, their confidence, how many were right

    def count(self, shares: np.ndarray, truth: np.ndarray) -> None:
        """Probabilities [K, rows, cols] and true levels uint8 [rows, cols], of which IGNORED ones do not count."""
        known = truth != IGNORED_LEVEL
        said, confidence, level = shares.argmax(0)[known], shares.max(0)[known], truth[known].astype(np.int64)
        np.add.at(self._confusion, (level, said), 1)
        bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
        np.add.at(self._bins, bins, np.stack([np.ones_like(confidence), confidence, said == level], axis=-1))

    def calibration_error(self) -> float:
        """The expected calibration error (Guo et al. 2017): |share of right ones − confidence|, over equal bins of the
        confidence in the likeliest level, weighted by their macroblocks. In [0, 1].
        """
        number, confidence, right = self._bins.T
        return float(np.abs(right - confidence).sum() / max(number.sum(), 1))

    def miou(self) -> float:
        """The mean over the levels that were said or true of their intersection over union."""
        table = self._confusion
        union = table.sum(0) + table.sum(1) - table.diagonal()
        return float((table.diagonal()[union > 0] / union[union > 0]).mean()) if union.any() else 0.0


def describe(row: dict[str, Any]) -> str:
    """A validation in one line."""
    return "  ".join(f"{name} {value:.3f}" for name, value in row.items() if isinstance(value, float))
