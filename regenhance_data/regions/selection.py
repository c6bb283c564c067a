"""Selection of macroblocks within a budget."""

import numpy as np


def count_within(budget: float, macroblocks: int) -> int:
    """How many of the macroblocks a budget in [0, 1] allows: rounded, a half up. ValueError for any other budget."""
    if not 0 <= budget <= 1:
        raise ValueError(f"budget {budget}: expected a share in [0, 1]")
    return int(budget * macroblocks + 0.5)


def select_macroblocks(scores: np.ndarray, budget: float) -> np.ndarray:
    """The macroblocks with the highest scores within the budget: float [rows, cols] → bool [rows, cols].

    `budget` is the share of the macroblocks, in [0, 1]; `count_within` gives their number, 0 for less than half a
    macroblock. Equal scores are taken in a fixed pseudo-random order, so that flat maps favour no corner; NaN last.
    """
    count = count_within(budget, scores.size)
    tie_breaker = np.random.default_rng(0).permutation(scores.size)
    order = np.lexsort((tie_breaker, -scores.ravel().astype(np.float64)))
    selected = np.zeros(scores.size, bool)
    selected[order[:count]] = True
    return selected.reshape(scores.shape)
