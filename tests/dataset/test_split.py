from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenhance_data.dataset.split import Ratios, default_gap, split_blocks, split_clips
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
