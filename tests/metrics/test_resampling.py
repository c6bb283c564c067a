import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenhance_data.metrics.resampling import blocks_of, mean_difference


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60))
def test_a_block_has_neighbouring_frames_of_one_clip(clips):
    blocks = blocks_of(clips)
    assert sorted(set(blocks)) == list(range(max(blocks) + 1))
    for block in set(blocks):
        assert len({clip for clip, of in zip(clips, blocks, strict=True) if of == block}) == 1


@given(st.integers(1, 50), st.floats(-1, 1), st.integers(0, 9))
def test_a_difference_that_all_frames_share_is_certain_and_others_are_within_their_range(frames, apart, seed):
    other, clips = np.random.default_rng(seed).random(frames), ["a"] * frames
    value, (low, high) = mean_difference(other + apart, other, clips)
    assert (value, low, high) == pytest.approx((apart, apart, apart), abs=1e-9)
    value, (low, high) = mean_difference(other, np.zeros(frames), clips)
    assert other.min() - 1e-9 <= low <= value + 0.05
    assert value - 0.05 <= high <= other.max() + 1e-9


def test_no_frame_has_no_difference():
    with pytest.raises(ValueError, match="no frame"):
        mean_difference(np.zeros(0), np.zeros(0), [])
