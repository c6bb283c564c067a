"""The built-in street: what a seed means, and what the true boxes promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regenhance_data.street.scene import CLASS_NAMES, PERSON, render_scene


def test_the_same_seed_gives_the_same_pixels_boxes_and_labels():
    for first, second in zip(render_scene(1000, 2), render_scene(1000, 2), strict=True):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)


def test_another_seed_gives_another_street():
    (one, _, _), (other, _, _) = next(render_scene(1000, 1)), next(render_scene(1001, 1))
    assert np.abs(one.astype(int) - other).mean() > 10


def test_a_longer_clip_begins_like_a_shorter_one():
    *_, short_last = render_scene(1002, 2)
    long_second = list(render_scene(1002, 3))[1]
    np.testing.assert_array_equal(short_last[0], long_second[0])


def test_traffic_moves_and_the_street_stands():
    frames = [frame.astype(int) for frame, _, _ in render_scene(1003, 6)]
    changed = (np.abs(frames[-1] - frames[0]).max(-1) > 25).mean()
    assert 0 < changed < 0.25


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31), height=st.integers(90, 271), width=st.integers(120, 483))
def test_boxes_lie_inside_a_frame_of_any_size_and_have_an_area(seed, height, width):
    for frame, boxes, labels in render_scene(seed, 2, height, width):
        assert frame.shape == (height, width, 3)
        assert frame.dtype == np.uint8
        assert boxes.dtype == np.float32
        assert boxes.shape == (len(labels), 4)
        assert labels.dtype == np.int64
        assert set(labels) <= set(range(len(CLASS_NAMES)))
        assert (boxes >= 0).all()
        assert (boxes <= (width, height, width, height)).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()


@pytest.mark.slow
def test_a_street_has_small_far_objects_of_every_class_and_is_never_crowded():
    frames = [next(render_scene(seed, 1)) for seed in range(1000, 1012)]
    counts = [len(boxes) for _, boxes, _ in frames]
    heights = np.concatenate([boxes[:, 3] - boxes[:, 1] for _, boxes, _ in frames])
    assert min(counts) >= 3
    assert max(counts) <= 22
    assert set(np.concatenate([labels for _, _, labels in frames])) == set(range(len(CLASS_NAMES)))
    assert np.median(heights) < 60
    assert heights.max() > 80


def test_a_box_bounds_what_moves_there():
    (before, boxes, labels), (after, _, _) = list(render_scene(1004, 2))
    changed = np.abs(before.astype(int) - after).max(-1) > 40
    walkers = [box.astype(int) for box, label in zip(boxes, labels, strict=True) if label == PERSON]
    assert walkers
    assert any(changed[y0:y1, x0:x1].any() for x0, y0, x1, y1 in walkers)


@pytest.mark.slow
def test_a_larger_frame_shows_the_same_street():
    _, _, small_labels = next(render_scene(1005, 1))
    frame, _, large_labels = next(render_scene(1005, 1, 1080, 1920))
    assert frame.shape == (1080, 1920, 3)
    assert len(large_labels) == pytest.approx(len(small_labels), abs=2)
