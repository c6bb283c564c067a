from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regenhance_data.dataset.split import (
    LEAST_OF_SHARE,
    Ratios,
    balanced_blocks,
    default_gap,
    split_blocks,
    split_clips,
)
from regenhance_data.errors import InputError


@st.composite
def ratios(draw):
    weights = draw(st.tuples(st.integers(1, 20), st.integers(0, 20), st.integers(0, 20)))
    total = sum(weights)
    return Ratios(*(w / total for w in weights))


@given(st.integers(1, 5000), ratios(), st.integers(0, 50))
def test_blocks_are_in_order_and_a_gap_lies_between_them(count, shares, gap):
    blocks = split_blocks(count, shares, gap)
    used = [block for block in (blocks["train"], blocks["val"], blocks["test"]) if block]
    assert used[0].start == 0
    assert used[-1].stop == count
    for before, after in pairwise(used):
        assert after.start - before.stop == gap


@given(st.integers(300, 5000), ratios())
def test_blocks_have_their_shares(count, shares):
    blocks = split_blocks(count, shares, 10)
    usable = sum(len(block) for block in blocks.values())
    for share, block in zip(shares.shares, blocks.values(), strict=True):
        assert abs(len(block) - share * usable) <= 2
        assert bool(block) == (share > 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(30, 400), st.lists(st.tuples(st.floats(0, 1), st.integers(1, 20)), max_size=6), st.integers(0, 12))
def test_blocks_that_follow_importance_keep_the_gap_and_serve_no_split_worse(count, events, gap):
    shares, importance = Ratios(0.7, 0.15, 0.15), np.zeros(count)
    for place, length in events:
        importance[int(place * (count - 1)) :][:length] += 1
    blocks, served = balanced_blocks(importance, shares, gap)
    in_order = sorted((block for parts in blocks.values() for block in parts), key=lambda block: block.start)
    assert in_order[0].start == 0
    assert in_order[-1].stop == count
    for before, after in pairwise(in_order):
        assert after.start - before.stop == gap
    usual = {name: [block] if block else [] for name, block in split_blocks(count, shares, gap).items()}
    total = importance.sum() or 1
    usual_served = min(
        importance[usual[name][0].start : usual[name][0].stop].sum() / total / share if usual[name] else 0
        for name, share in zip(usual, shares.shares, strict=True)
    )
    assert (blocks == usual) if usual_served >= LEAST_OF_SHARE else (served >= min(usual_served, 1) - 1e-9)
    assert balanced_blocks(importance, shares, gap) == (blocks, served)


@given(st.lists(st.integers(60, 200), min_size=3, max_size=8))
def test_every_split_has_objects_where_there_are_as_many_events_as_splits(pauses):
    importance = np.concatenate([np.r_[np.zeros(pause), np.ones(5)] for pause in pauses])
    blocks, served = balanced_blocks(importance, Ratios(0.7, 0.15, 0.15), 10)
    assert served > 0
    assert all(any(importance[block.start : block.stop].any() for block in parts) for parts in blocks.values())


@pytest.mark.parametrize(("first", "last"), [(100, 159), (100, 179), (50, 109), (100, 219)])
def test_one_stretch_of_objects_is_cut_so_that_each_split_has_some(first, last):
    importance = np.zeros(300)
    importance[first : last + 1] = 1
    assert balanced_blocks(importance, Ratios(0.7, 0.15, 0.15), 10)[1] >= LEAST_OF_SHARE


@given(st.floats(1, 500))
def test_the_default_gap_lasts_as_long_however_few_frames_are_taken(every):
    gap = default_gap(every)
    assert (gap + 1) * every >= default_gap(1) + 1 - 1e-3
    assert gap == 1 or (gap - 1) * every < default_gap(1)


def test_a_clip_of_one_frame_goes_to_train():
    assert split_blocks(1, Ratios(0.7, 0.15, 0.15), 10)["train"] == range(1)


@given(st.sets(st.text("abc", min_size=1), min_size=3), ratios())
def test_each_clip_goes_to_one_split_whatever_the_order(clips, shares):
    parted = split_clips(sorted(clips), shares)
    assert sorted(chain.from_iterable(parted.values())) == sorted(clips)
    assert split_clips(sorted(clips, reverse=True), shares) == parted
    assert parted["train"]


@pytest.mark.parametrize("shares", [(0.7, 0.2, 0.2), (1.2, -0.1, -0.1), (0, 0.5, 0.5), (float("nan"), 0.5, 0.5)])
def test_shares_that_do_not_sum_to_1_are_refused(shares):
    with pytest.raises(InputError, match="sum to 1"):
        Ratios(*shares)
