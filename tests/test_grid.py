import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from regenhance_data.grid import MacroblockGrid

grids = st.builds(MacroblockGrid, st.integers(1, 80), st.integers(1, 80), st.integers(1, 33))


@given(grids, st.integers(0, 2**32 - 1))
def test_mean_inverts_spread(grid, seed):
    cells = np.random.default_rng(seed).random(grid.shape)
    np.testing.assert_allclose(grid.mean(grid.spread(cells)), cells, rtol=1e-12)


@given(grids)
def test_cells_cover_every_pixel_once(grid):
    assert grid.areas.shape == grid.shape
    assert grid.areas.sum() == grid.height * grid.width
    assert grid.areas.min() >= 1


@given(grids, st.integers(0, 2**32 - 1))
def test_mean_of_a_cell_is_over_its_own_pixels_only(grid, seed):
    rng = np.random.default_rng(seed)
    picture = rng.random((grid.height, grid.width))
    row, col = rng.integers(grid.rows), rng.integers(grid.cols)
    own = picture[
        row * grid.mb_size : (row + 1) * grid.mb_size,
        col * grid.mb_size : (col + 1) * grid.mb_size,
    ]
    np.testing.assert_allclose(grid.mean(picture)[row, col], own.mean(), rtol=1e-9)


@given(grids, st.integers(1, 4))
def test_scaled_grid_has_the_same_cells(grid, scale):
    assert grid.scaled(scale).shape == grid.shape


def test_360p_has_23_by_40_macroblocks():
    assert MacroblockGrid(360, 640).shape == (23, 40)
