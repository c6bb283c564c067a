import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenhance_data.metrics.resampling import FEWEST_DRAWN, blocks_of, mean_difference


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60))
def test_a_block_has_neighbouring_frames_of_one_clip(clips):
    blocks = blocks_of(clips)
    assert sorted(set(blocks)) == list(range(max(blocks) + 1))
    for block in set(blocks):
        members = [number for number, of in enumerate(blocks) if of == block]
        clip = clips[members[0]]
        own = [number for number, of in enumerate(clips) if of == clip]
        first = own.index(members[0])
        assert members == own[first : first + len(members)]  # neighbours among the frames of their clip
        assert len(members) <= max(round(len(own) ** (1 / 3)), 1)


@given(st.integers(20, 50), st.floats(-1, 1), st.integers(0, 9))
def test_a_difference_that_all_frames_share_is_certain_and_others_are_within_their_range(frames, apart, seed):
    other, clips = np.random.default_rng(seed).random(frames), ["a"] * frames
    value, (low, high) = mean_difference(other + apart, other, clips)
    assert (value, low, high) == pytest.approx((apart, apart, apart), abs=1e-9)
    value, (low, high) = mean_difference(other, np.zeros(frames), clips)
    assert other.min() - 1e-9 <= low <= value + 0.05
    assert value - 0.05 <= high <= other.max() + 1e-9


def test_neighbours_that_are_alike_count_less_than_as_many_frames_that_are_not():
    values = np.random.default_rng(0).random(16)
    alike, apart = np.repeat(values, 4), np.tile(values, 4)  # the same frames, in another order
    widths = [np.ptp(mean_difference(some, np.zeros(64), ["a"] * 64)[1]) for some in (alike, apart)]
    assert widths[0] > 1.4 * widths[1]


@given(st.integers(1, 12))
def test_few_blocks_have_no_interval(frames):
    clips = ["a"] * frames
    value, interval = mean_difference(np.full(frames, 0.5), np.zeros(frames), clips)
    assert value == 0.5
    assert np.isnan(interval).all() == (max(blocks_of(clips)) + 1 < FEWEST_DRAWN)


def test_no_frame_has_no_difference():
    with pytest.raises(ValueError, match="no frame"):
        mean_difference(np.zeros(0), np.zeros(0), [])
