"""From importance to levels: a normaliser fitted on training frames, and the quantisation of [0, 1] into levels."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from regenhance_data.errors import InputError

Kind = Literal["log", "minmax", "rank", "none"]
MOST_LEVELS = 255  # a label is uint8 and PaddleSeg ignores pixels of value 255
IGNORED_LEVEL = 255  # PaddleSeg leaves pixels of this value out of the loss


def to_levels(normalised: np.ndarray, levels: int) -> np.ndarray:
    """Level k covers [k/K, (k+1)/K), and 1.0 belongs to K−1: floats in [0, 1] → uint8, any shape.

    The edges k/K are rounded to the dtype of the input, so that a float32 0.7 is level 7 of 10.
    """
    if not 2 <= levels <= MOST_LEVELS:
        raise InputError(f"--levels {levels}: a label needs 2 to {MOST_LEVELS} levels")
    normalised = np.asarray(normalised)
    if normalised.size and not (normalised.min() >= 0 and normalised.max() <= 1):
        raise ValueError("normalised importance must lie in [0, 1]")
    edges = (np.arange(1, levels) / levels).astype(normalised.dtype)
    return np.searchsorted(edges, normalised, side="right").astype(np.uint8)


def expected_level(shares: np.ndarray, axis: int = 1) -> np.ndarray:
    """A predictor's importance of a macroblock: Σ k·p_k / (K − 1) in [0, 1], p the probabilities along `axis`."""
    return np.tensordot(np.linspace(0, 1, shares.shape[axis]), shares, (0, axis))


@dataclass(frozen=True)
class Normaliser:
    """Maps importance (finite, >= 0) to [0, 1], monotonically, with parameters fitted on the training frames.

    log: 0 up to `low`, 1 from `high` on, logarithmic between. minmax: linear between them. rank: the share of training
    macroblocks with less importance (`quantiles`: 257 of them, evenly spaced). none: importance that is in [0, 1]
    already.
    """

    kind: Kind
    low: float = 0.0
    high: float = 1.0
    quantiles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(f"normaliser {self.kind!r}: expected one of {', '.join(get_args(Kind))}")
        if not 0 <= self.low < self.high or (self.kind == "log" and self.low == 0):
            raise InputError(f"normaliser {self.kind}: needs 0 <= low < high, got {self.low} and {self.high}")

    @classmethod
    def fit(cls, kind: Kind, training: np.ndarray) -> "Normaliser":
        """Fit on the importance of all training frames (any shape). InputError when it is 0 everywhere."""
        values = np.asarray(training, dtype=np.float64).ravel()
        if kind == "none":
            return cls("none")
        positive = values[values > 0]
        if not positive.size:
            raise InputError(
                "importance is 0 in every training frame: the detector finds nothing there, or HR and upsampled frames "
                "are equal; lower --score_threshold or look at the HR frames"
            )
        if kind == "rank":
            return cls("rank", quantiles=tuple(np.quantile(values, np.linspace(0, 1, 257)).tolist()))
        if kind == "minmax":
            low, high = float(values.min()), float(values.max())
            return cls("minmax", low, high if high > low else low + 1.0)
        # Importance is heavy-tailed. Between the median and the 99.9th percentile the levels are evenly filled (the
        # lower half is level 0, which a budget never reaches anyway). Where half of the macroblocks are 0, the median
        # is taken of the others.
        low = float(np.median(values)) or float(np.median(positive))
        return cls("log", low, max(float(np.quantile(values, 0.999)), low * np.e))

    def __call__(self, importance: np.ndarray) -> np.ndarray:
        """Importance of any shape → floats in [0, 1] of the same shape: float64, but `none` keeps the dtype.

        So `to_levels` puts a stored float32 0.7 in the level of 0.7.
        """
        if self.kind == "none":
            if np.max(importance, initial=0) > 1:
                raise InputError(
                    f"--normalize none takes importance in [0, 1], found {importance.max():.4g}; "
                    "use log, minmax or rank"
                )
            return importance
        values = np.asarray(importance, dtype=np.float64)
        if self.kind == "rank":
            return np.searchsorted(np.asarray(self.quantiles), values, side="left") / len(self.quantiles)
        if self.kind == "log":
            spread = np.log(np.maximum(values, self.low) / self.low) / np.log(self.high / self.low)
        else:
            spread = (values - self.low) / (self.high - self.low)
        return np.clip(spread, 0.0, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """For dataset.yaml; `Normaliser.from_dict` is its inverse."""
        return {key: list(value) if key == "quantiles" else value for key, value in asdict(self).items() if value != ()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Normaliser":
        """The inverse of `to_dict`. TypeError, ValueError or InputError where `value` is broken."""
        numbers: dict[str, Any] = {**value, "quantiles": tuple(value.get("quantiles", ()))}
        return cls(**numbers)
