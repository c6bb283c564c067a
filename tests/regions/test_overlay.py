import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from regenhance_data.detections import Detections
from regenhance_data.grid import MacroblockGrid
from regenhance_data.regions.overlay import OUTLINE_RGB, draw_boxes, draw_heatmap, draw_outline

grids = st.builds(MacroblockGrid, st.integers(1, 60), st.integers(1, 60), st.integers(1, 20))


@given(grids, st.integers(0, 255))
def test_heat_colours_only_important_macroblocks(grid, grey):
    frame = np.full((grid.height, grid.width, 3), grey, np.uint8)
    importance = np.zeros(grid.shape)
    assert np.array_equal(draw_heatmap(frame, importance, grid), frame)
    importance[0, 0] = 1
    changed = (draw_heatmap(frame, importance, grid) != frame).any(-1)
    assert changed[: grid.mb_size, : grid.mb_size].all() or grey > 200  # the hottest colour is nearly white itself
    assert not changed[grid.mb_size :].any()
    assert not changed[:, grid.mb_size :].any()


@given(grids)
def test_the_outline_runs_inside_the_chosen_macroblocks(grid):
    frame = np.zeros((grid.height, grid.width, 3), np.uint8)
    chosen = np.zeros(grid.shape, bool)
    assert np.array_equal(draw_outline(frame, chosen, grid), frame)
    chosen[-1, -1] = True
    drawn = (draw_outline(frame, chosen, grid) == OUTLINE_RGB).all(-1)
    assert drawn[-1, -1]
    assert not drawn[~grid.spread(chosen)].any()


def boxes_drawn(*boxes, scores=None, hw=(120, 200)):
    frame = np.zeros((*hw, 3), np.uint8)
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores or [0.5] * len(boxes), np.float32),
        np.arange(len(boxes)),
    )
    return draw_boxes(frame, found, [f"class {number}" for number in range(len(boxes))])


def test_the_words_of_a_box_stay_inside_the_frame():
    inside = (boxes_drawn([60, 50, 100, 90]) > 0).sum()
    for corner in ([0, 0, 40, 40], [160, 0, 200, 40], [0, 80, 40, 120], [160, 80, 200, 120]):
        # box lines on the border of the frame may be cut, words are not
        assert (boxes_drawn(corner) > 0).sum() > 0.9 * inside


def test_words_in_the_same_place_do_not_cover_each_other():
    box = [60, 50, 100, 90]
    colours = [boxes_drawn(*[box] * count) for count in (1, 2, 3, 9)]
    filled = [(drawn.reshape(-1, 3) > 0).any(-1).sum() for drawn in colours]
    assert filled[0] < filled[1] < filled[2] == filled[3]  # above, below, inside, and no more


def test_the_words_of_the_highest_score_are_drawn_first():
    box = [60, 50, 100, 90]
    low, high = (boxes_drawn(*[box] * 2, scores=scores) for scores in ((0.9, 0.1), (0.1, 0.9)))
    assert not np.array_equal(low[30:48], high[30:48])  # above the box


@given(st.lists(st.tuples(*[st.integers(-30, 230)] * 4), max_size=12))
def test_boxes_anywhere_can_be_drawn(boxes):
    drawn = boxes_drawn(*boxes)
    assert drawn.shape == (120, 200, 3)
