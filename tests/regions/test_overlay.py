import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from regenhance_data.grid import MacroblockGrid
from regenhance_data.regions.overlay import OUTLINE_RGB, draw_heatmap, draw_outline

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
