"""Validation: how well a predictor ranks the macroblocks of frames, and how well its levels are calibrated."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from regenhance_data.console import progress
from regenhance_data.dataset.levels import IGNORED_LEVEL, expected_level
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.metrics.ranking import frame_agreement, mean_agreement, rankings
from regenhance_data.predictors.paddleseg.batches import PreparedFrames
from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.paddleseg.pieces import outputs
from regenhance_data.predictors.samples import Samples

CALIBRATION_BINS = 15  # of confidence, as in Guo et al. (2017)


class ValidationStopped(Exception):
    """A validation was asked to stop before its end."""


class NotFiniteError(InputError):
    """The output of a network is not finite."""


def level_probabilities(model: Any, images: Any, config: PredictorConfig, grid: MacroblockGrid) -> np.ndarray:
    """The probability of each level for each macroblock: prepared images [N, 3, h, w] → float64 [N, K, rows, cols].

    grid: of the frames before they were shrunk. A network that outputs pixels gets the mean over each macroblock.
    InputError where its output is neither pixels nor macroblocks, NotFiniteError where it is not finite.
    """
    with paddle.no_grad():
        probabilities = F.softmax(outputs(model, images, config.path)[0], axis=1).numpy()
    if not np.isfinite(probabilities).all():
        raise NotFiniteError(f"{config.path}: its network outputs NaN; take an earlier checkpoint, or train again")
    if probabilities.shape[-2:] == grid.shape:
        return probabilities.astype(np.float64)
    height, width = images.shape[-2:]
    refuse_another_grid(config.path, probabilities.shape[-2:], (height, width), grid)
    return MacroblockGrid(height, width, grid.mb_size // config.shrink).mean(probabilities)


def refuse_another_grid(
    config: Path, output_hw: tuple[int, ...], image_hw: tuple[int, ...], grid: MacroblockGrid
) -> None:
    """InputError where the output of a config's network has neither the size of its input nor that of the grid."""
    if output_hw not in (image_hw, grid.shape):
        (height, width), (rows, cols) = output_hw, grid.shape
        raise InputError(
            f"{config}: outputs {height}x{width} values for a frame with {rows}x{cols} macroblocks of {grid.mb_size} "
            "pixels; take a network with a value for each macroblock, or for each pixel of its input"
        )


def validate(
    model: Any, config: PredictorConfig, samples: Samples, stops: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Ranking of the macroblocks against the true importance, the mean over frames (see ranking.mean_agreement), and
    over all frames the `calibration_error` (ECE) and `miou` of their levels. ValidationStopped when `stops` says so
    after a frame.
    """
    return validate_frames(model, config, samples, stops)[0]


def validate_frames(
    model: Any, config: PredictorConfig, samples: Samples, stops: Callable[[], bool] = lambda: False
) -> tuple[dict[str, Any], np.ndarray]:
    """(what `validate` gives, the `ranking` of each frame, float64 [frames], NaN where there is nothing to rank)."""
    prepared = PreparedFrames(samples, config, "val_dataset")
    levels = LevelCounts(config.num_classes)
    model.eval()

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for index, truth in enumerate(progress(samples.importance(), "validate", len(samples))):
            probabilities, label = _probabilities_and_label(model, config, samples, prepared, index)
            levels.count(probabilities, label)
            yield expected_level(probabilities, axis=0), truth
            if stops():
                raise ValidationStopped

    rows = [frame_agreement(predicted, truth) for predicted, truth in pairs()]
    of_levels = {"calibration_error": levels.calibration_error(), "miou": levels.miou()}
    return {**mean_agreement(rows), **of_levels}, rankings(rows)


def try_out(model: Any, config: PredictorConfig, samples: Samples) -> None:
    """Predict the first frame. InputError where a validation would fail: its transforms, its network, its grid."""
    model.eval()
    with suppress(NotFiniteError):  # of random weights
        _probabilities_and_label(model, config, samples, PreparedFrames(samples, config, "val_dataset"), 0)
    model.train()


def _probabilities_and_label(
    model: Any, config: PredictorConfig, samples: Samples, prepared: PreparedFrames, index: int
) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities [K, rows, cols], levels [rows, cols]) of one frame."""
    image, label = prepared[index, 0][:2]
    grid = MacroblockGrid(*samples.sizes_hw[index], samples.mb_size)
    probabilities = level_probabilities(model, paddle.to_tensor(image[None]), config, grid)[0]
    step = grid.mb_size // config.shrink  # a label is the same in all of a macroblock
    return probabilities, label[::step, ::step]


class LevelCounts:
    """Counts of predicted and true levels, over all frames."""

    def __init__(self, count: int) -> None:
        self._confusion = np.zeros((count, count), np.int64)
        self._bins = np.zeros((CALIBRATION_BINS, 3))  # macroblocks, their confidence, number of right levels

    def count(self, probabilities: np.ndarray, truth: np.ndarray) -> None:
        """Count probabilities [K, rows, cols] and true levels uint8 [rows, cols], except where they are ignored."""
        known = truth != IGNORED_LEVEL
        predicted, confidence = probabilities.argmax(0)[known], probabilities.max(0)[known]
        level = truth[known].astype(np.int64)
        np.add.at(self._confusion, (level, predicted), 1)
        bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
        np.add.at(self._bins, bins, np.stack([np.ones_like(confidence), confidence, predicted == level], axis=-1))

    def calibration_error(self) -> float:
        """The expected calibration error (Guo et al. 2017) in [0, 1]: |accuracy − confidence| of equal bins of the
        confidence in the likeliest level, weighted by their number of macroblocks.
        """
        number, confidence, right = self._bins.T
        return float(np.abs(right - confidence).sum() / max(number.sum(), 1))

    def miou(self) -> float:
        """The mean intersection over union of the levels that occur, predicted or true."""
        table = self._confusion
        union = table.sum(0) + table.sum(1) - table.diagonal()
        return float((table.diagonal()[union > 0] / union[union > 0]).mean()) if union.any() else 0.0


def describe(row: dict[str, Any]) -> str:
    """A validation in one line; figures that say nothing are left out."""
    is_ranked = row.get("frames", 1) > 0
    shown = {name: value for name, value in row.items() if isinstance(value, float)}
    if not is_ranked:
        shown = {name: value for name, value in shown.items() if name in ("calibration_error", "miou")}
    words = [*(["nothing to rank"] if not is_ranked else []), *(f"{name} {value:.3f}" for name, value in shown.items())]
    return "  ".join(words)
