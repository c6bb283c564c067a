"""Splits without leakage: neighbouring frames are near-duplicates, so blocks are contiguous, with gaps between them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate, combinations, pairwise, permutations
from math import ceil

import numpy as np

from regenhance_data.errors import InputError

SPLITS = ("train", "val", "test")
_GAP = 10  # frames of the video
_MOST_REPEATS = 8  # blocks of a split that are tried
_QUIET_PLACES, _BUSY_PLACES = 24, 16  # where a clip is cut for one block a split: within pauses, and beside them
LEAST_OF_SHARE = 0.25  # of its wanted share of importance that a split needs, or the clip is cut into other blocks


@dataclass(frozen=True)
class Ratios:
    """Shares of train, val and test: each >= 0, train > 0, their sum 1 (to 1e-6)."""

    train: float
    val: float
    test: float

    def __post_init__(self) -> None:
        if min(self.shares) < 0 or self.train <= 0 or not abs(sum(self.shares) - 1) < 1e-6:
            raise InputError(
                f"--split {' '.join(f'{s:g}' for s in self.shares)}: needs three shares >= 0 that sum to 1, "
                "the first above 0"
            )

    @property
    def shares(self) -> tuple[float, float, float]:
        return self.train, self.val, self.test


def _portions(total: int, ratios: Ratios) -> list[int]:
    """`total` items in integer portions near the ratios (largest remainder); every ratio above 0 gets at least one."""
    exact = [total * share for share in ratios.shares]
    portions = [max(int(e + 1e-9), 1) if share > 0 else 0 for e, share in zip(exact, ratios.shares, strict=True)]
    while sum(portions) != total:
        step = 1 if sum(portions) < total else -1
        movable = [i for i, share in enumerate(ratios.shares) if share > 0 and portions[i] + step >= 1]
        portions[max(movable, key=lambda i: step * (exact[i] - portions[i]))] += step
    return portions


def default_gap(every: float) -> int:
    """The frames between two blocks of a clip that has one of `every` frames of its video: as long as 10 of those."""
    return max(ceil(_GAP / every - 1e-6), 1)


def split_blocks(count: int, ratios: Ratios, gap: int) -> dict[str, range]:
    """Cut `count` frames in time order into train, val and test blocks with `gap` unused frames between them.

    A clip too short for that (fewer than one frame for each block, plus the gaps) goes to train completely.
    """
    parts = sum(share > 0 for share in ratios.shares)
    usable = count - gap * (parts - 1)
    if usable < parts:
        return {"train": range(count), "val": range(0), "test": range(0)}
    blocks, start = {}, 0
    for name, portion in zip(SPLITS, _portions(usable, ratios), strict=True):
        blocks[name] = range(start, start + portion)
        start += portion + gap if portion else 0
    return blocks


def balanced_blocks(importance: np.ndarray, ratios: Ratios, gap: int) -> tuple[dict[str, list[range]], float]:
    """Cut a clip into blocks so that each split gets its share of importance [frames], with `gap` unused frames between
    neighbouring blocks. Returns the blocks of each split in time order, and the least share of its wanted importance
    that a split has, at most 1.

    The blocks are those of `split_blocks`, one a split, wherever each split has LEAST_OF_SHARE of what it wants.
    Otherwise many cuts are tried for every order of the splits: one block a split, cut at any two of some places (the
    middles of the longest stretches without importance, and equal sums of importance); and a block of every split
    again and again, up to 8 times, cut at equal sums of a frame's share of the importance and of the frames. The best
    is the one whose worst served split has most of what it wants of both. Only `importance` decides, so the same clip
    is always cut the same.
    """
    simple = {name: [block] if block else [] for name, block in split_blocks(len(importance), ratios, gap).items()}
    served = _least_served(simple, importance, ratios)
    if served >= LEAST_OF_SHARE or not importance.any():
        return simple, served
    cuts = [simple, *_cuts(importance, ratios, gap)]
    frames = np.ones(len(importance))
    best = max(cuts, key=lambda cut: min(_least_served(cut, importance, ratios), _least_served(cut, frames, ratios)))
    return best, _least_served(best, importance, ratios)


def _least_served(blocks: Mapping[str, Sequence[range]], weights: np.ndarray, ratios: Ratios) -> float:
    """The least share of its wanted part of all `weights` that a split has, at most 1."""
    total = weights.sum()
    parts = [sum(weights[block.start : block.stop].sum() for block in blocks[name]) for name in SPLITS]
    served = [part / (share * total) for part, share in zip(parts, ratios.shares, strict=True) if share * total > 0]
    return float(min(1.0, *served)) if served else 0.0


def _cuts(importance: np.ndarray, ratios: Ratios, gap: int) -> Iterator[dict[str, list[range]]]:
    """The cuts that `balanced_blocks` tries; those without an empty block."""
    shares = {name: share for name, share in zip(SPLITS, ratios.shares, strict=True) if share > 0}
    measure = np.cumsum(importance / importance.sum() + 1 / len(importance)) / 2
    busy = np.searchsorted(np.cumsum(importance), importance.sum() * np.arange(1, _BUSY_PLACES) / _BUSY_PLACES)
    places = sorted({*_middles_of_quiet(importance), *busy.tolist()})
    for order in permutations(shares):
        for ends in combinations(places, len(shares) - 1):
            yield from _cut(list(order), ends, gap, len(importance))
        for repeats in range(1, _MOST_REPEATS + 1):
            names = list(order) * repeats
            sums = np.cumsum([shares[name] / repeats for name in names[:-1]])
            yield from _cut(names, np.searchsorted(measure, sums).tolist(), gap, len(importance))


def _middles_of_quiet(importance: np.ndarray) -> list[int]:
    """The middles of the longest stretches without importance between frames that have some, in time order."""
    stretches = [(a + 1, b) for a, b in pairwise(np.flatnonzero(importance).tolist()) if b - a > 1]
    longest = sorted(stretches, key=lambda stretch: stretch[0] - stretch[1])[:_QUIET_PLACES]
    return sorted((start + stop) // 2 for start, stop in longest)


def _cut(names: Sequence[str], ends: Sequence[int], gap: int, count: int) -> Iterator[dict[str, list[range]]]:
    """The blocks of `count` frames with a gap around each of `ends`, for the splits of these names; none where one of
    the blocks would be empty.
    """
    before, after = gap // 2, gap - gap // 2
    starts, stops = [0, *(end + after for end in ends)], [*(end - before for end in ends), count]
    blocks: dict[str, list[range]] = {name: [] for name in SPLITS}
    for name, start, stop in zip(names, starts, stops, strict=True):
        if start >= stop:
            return
        blocks[name].append(range(start, stop))
    yield blocks


def split_clips(
    clips: Sequence[str], ratios: Ratios, earlier: Mapping[str, Sequence[str]] | None = None
) -> dict[str, list[str]]:
    """Assign whole clips to train, val and test, in an order that depends only on their names.

    The clips of an `earlier` split keep their split; each new one goes to the split that lacks most.
    """
    parts = sum(share > 0 for share in ratios.shares)
    if len(clips) < parts:
        raise InputError(f"--split_by clip needs at least {parts} clips, there are {len(clips)}; use --split_by block")
    order = sorted(clips, key=lambda clip: sha256(clip.encode()).digest())
    if not earlier:
        starts = accumulate(_portions(len(clips), ratios), initial=0)
        return {name: sorted(order[a:b]) for name, (a, b) in zip(SPLITS, pairwise(starts), strict=True)}
    assigned = {name: [clip for clip in earlier.get(name, ()) if clip in clips] for name in SPLITS}
    wanted = dict(zip(SPLITS, _portions(len(clips), ratios), strict=True))
    for clip in order:
        if not any(clip in given for given in assigned.values()):
            assigned[max(SPLITS, key=lambda name: wanted[name] - len(assigned[name]))].append(clip)
    return {name: sorted(given) for name, given in assigned.items()}
