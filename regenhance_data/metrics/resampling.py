"""Resamples of frames for bootstrap intervals (Efron, 1979), of single frames or of blocks of neighbouring ones."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

RESAMPLES = 1000  # the 95 % bounds move by less than 0.01 between seeds
FEWEST_DRAWN = 5  # frames or blocks; resamples of fewer do not say how much others would differ


def resampling_weights(frames: int, seed: int = 0) -> np.ndarray:
    """How often each frame is drawn in each resample: int64 [RESAMPLES, frames], the same in every call."""
    return np.random.default_rng(seed).multinomial(frames, [1 / frames] * frames, RESAMPLES)


def interval_95(resampled: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of resampled values [n], without the NaN among them; (NaN, NaN) where all are."""
    known = resampled[~np.isnan(resampled)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def blocks_of(clips: Iterable[str]) -> list[int]:
    """The block of each frame, from the clip of each, in order: about n^(1/3) neighbouring ones of a clip of n frames.

    That many is the usual choice for a bootstrap of a series. No block has frames of two clips.
    """
    clips = list(clips)
    counts = Counter(clips)
    sizes = {clip: max(round(counts[clip] ** (1 / 3)), 1) for clip in counts}
    seen: dict[str, int] = {}
    numbers: dict[tuple[str, int], int] = {}
    blocks = []
    for clip in clips:
        key = clip, seen.get(clip, 0) // sizes[clip]
        seen[clip] = seen.get(clip, 0) + 1
        blocks.append(numbers.setdefault(key, len(numbers)))
    return blocks


def mean_difference(one: np.ndarray, other: np.ndarray, clips: Iterable[str]) -> tuple[float, tuple[float, float]]:
    """The mean over frames of `one` less `other`, float64 [frames], and its 95 % interval over blocks of frames.

    clips: that of each frame, in order. (NaN, NaN) for fewer than FEWEST_DRAWN blocks. ValueError without a frame.
    """
    difference, blocks = one - other, blocks_of(clips)
    if not blocks:
        raise ValueError("no frame to compare")
    value, count = float(difference.mean()), max(blocks) + 1
    if count < FEWEST_DRAWN:
        return value, (np.nan, np.nan)
    weights = resampling_weights(count)[:, blocks]
    return value, interval_95(weights @ difference / weights.sum(1))
