"""Durations of millions of calls in little memory."""

import numpy as np

_LEAST_MS, _STEP, _BINS = 1e-3, 1.01, 2400  # each bin 1 % wide, up to six hours


class Durations:
    """Counts durations in bins that are 1 % wide; memory does not depend on their number."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)

    def add(self, ms: float) -> None:
        """One more duration in milliseconds."""
        number = int(np.log(max(ms, _LEAST_MS) / _LEAST_MS) / np.log(_STEP))
        self._counts[min(number, _BINS - 1)] += 1

    def percentile(self, share: float) -> float | None:
        """The duration in milliseconds that this share of all stays below, within 1 %; None of none."""
        count = int(self._counts.sum())
        if not count:
            return None
        number = int(np.searchsorted(np.cumsum(self._counts), share * count))
        return float(_LEAST_MS * _STEP ** (number + 0.5))
