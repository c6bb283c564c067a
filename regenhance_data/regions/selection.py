"""Selection of macroblocks within a budget."""

import numpy as np


def select_macroblocks(scores: np.ndarray, budget: float) -> np.ndarray:
    """The round(budget · cells) macroblocks of the highest scores: float [rows, cols] → bool [rows, cols].

    `budget` is the share of the macroblocks, in [0, 1]; a half is rounded up, and a share below half a macroblock
    chooses none. Equal scores are taken in a fixed pseudo-random order, so that flat maps favour no corner; NaN last.
    """
    if not 0 <= budget <= 1:
        raise ValueError(f"budget {budget}: expected a share in [0, 1]")
    tie_breaker = np.random.default_rng(0).permutation(scores.size)
    order = np.lexsort((tie_breaker, -scores.ravel().astype(np.float64)))
    chosen = np.zeros(scores.size, bool)
    chosen[order[: int(budget * scores.size + 0.5)]] = True
    return chosen.reshape(scores.shape)
