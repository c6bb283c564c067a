"""Splits without leakage: neighbouring frames are near-duplicates, so blocks are contiguous, with gaps between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate, pairwise
from math import ceil

from regenhance_data.errors import InputError

SPLITS = ("train", "val", "test")
_GAP = 10  # frames of the video


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
