"""Selection of macroblocks within a budget."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from regenhance_data.errors import InputError


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
    return select_across([scores], budget)[0]


def select_across(
    scores: Sequence[np.ndarray],
    budget: float,
    floor: float | Sequence[float] = 0.0,
    excluded: Sequence[np.ndarray] | None = None,
    weight: float | Sequence[float] = 1.0,
) -> list[np.ndarray]:
    """The macroblocks with the highest scores of several frames within one budget: float [rows, cols] of each →
    bool [rows, cols] of each.

    budget: the share of the macroblocks of all frames, as for `select_macroblocks`, which this is for one frame.
    floor: the share of its macroblocks, rounded down to whole ones, that each frame gets at least; at most the budget.
    So a camera with little to see is not left out by the others. Or the share of each frame: where these are more than
    the budget together, the best of them. excluded: macroblocks that are not selected in any case, bool as the scores;
    what they would have taken goes to others. weight: multiplies the scores, of all frames or of each. InputError for
    one floor out of range.
    """
    if isinstance(floor, int | float):
        if not 0 <= floor <= budget:
            raise InputError(f"floor {floor:g}: expected a share from 0 to the budget ({budget:g})")
        floors: Sequence[float] = [floor] * len(scores)
    else:
        floors = floor
    sizes = [some.size for some in scores]
    weighted = [some.ravel() * times for some, times in zip(scores, np.broadcast_to(weight, len(scores)), strict=True)]
    ranked = np.concatenate(weighted).astype(np.float64) if sizes else np.zeros(0)
    free = ~np.concatenate([some.ravel() for some in excluded]) if excluded else np.ones(len(ranked), bool)
    ties = _ties(len(ranked))
    ends = np.cumsum([0, *sizes])
    is_floor = np.zeros(len(ranked), bool)
    for start, size, share in zip(ends[:-1].tolist(), sizes, floors, strict=True):
        if share:
            here = slice(start, start + size)
            order = np.lexsort((ties[here], -ranked[here], ~free[here]))
            is_floor[start + order[: int(share * size)]] = True
    keys = [ties, -ranked]  # of the order, the last one first
    if is_floor.any():
        keys.append(~is_floor)
    if excluded:
        keys.append(~free)
    order = np.lexsort(keys)
    selected = np.zeros(len(ranked), bool)
    selected[order[: count_within(budget, len(ranked))]] = True
    selected &= free
    starts = ends[:-1].tolist()
    return [selected[at : at + some.size].reshape(some.shape) for at, some in zip(starts, scores, strict=True)]


@lru_cache(16)
def _ties(count: int) -> np.ndarray:
    """The order of equal scores, the same in every call, read-only."""
    ties = np.random.default_rng(0).permutation(count)
    ties.flags.writeable = False
    return ties
