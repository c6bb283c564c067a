"""Selection over cameras, the cover by rectangles, the atlas and the cache, on any mask and any size."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.regions.atlas import pack, pack_densely
from regenhance_data.regions.cache import CachePolicy, MacroblockCache
from regenhance_data.regions.composite import composite, copy_macroblocks, paste_regions
from regenhance_data.regions.masks import has_area, masked_macroblocks
from regenhance_data.regions.rectangles import cover
from regenhance_data.regions.selection import count_within, select_across, select_macroblocks

SIDES = st.integers(1, 75)
MASKS = st.tuples(SIDES, SIDES, st.sampled_from((5, 8, 16))).flatmap(
    lambda size: arrays(bool, MacroblockGrid(*size).shape).map(lambda mask: (MacroblockGrid(*size), mask))
)
SCORES = st.lists(
    arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(0, 1)),
    min_size=1,
    max_size=4,
)
SIZES = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=25)


@given(MASKS, st.integers(0, 9))
def test_regions_hold_all_selected_macroblocks_and_their_halo(case, halo_px):
    grid, selected = case
    regions = cover(selected, grid, halo_px)
    held = np.zeros(grid.shape, bool)
    for region in regions:
        held[region.cells.slices] = True
        assert selected[region.cells.slices].any()
        inner, outer = region.inner, region.outer
        assert grid.spread(_only(region.cells, grid))[inner.slices].all()
        assert (outer.top, outer.left) == (max(inner.top - halo_px, 0), max(inner.left - halo_px, 0))
        assert outer.bottom == min(inner.bottom + halo_px, grid.height)
        assert outer.right == min(inner.right + halo_px, grid.width)
    assert held[selected].all()


def _only(cells, grid):
    mask = np.zeros(grid.shape, bool)
    mask[cells.slices] = True
    return mask


@given(MASKS, st.integers(0, 9))
def test_a_cover_is_never_dearer_than_each_macroblock_alone_nor_cheaper_than_the_dilated_mask(case, halo_px):
    grid, selected = case
    alone = sum(_pixels_seen(one, grid, halo_px) for one in _each(selected))
    kernel = np.ones((2 * halo_px + 1,) * 2, np.uint8)
    bound = int(cv2.dilate(grid.spread(selected).astype(np.uint8), kernel).sum())
    assert bound <= _pixels_seen(selected, grid, halo_px) <= alone
    if not halo_px:
        assert _pixels_seen(selected, grid, 0) == grid.areas[selected].sum()


def _pixels_seen(selected, grid, halo_px):
    return sum(region.outer.area for region in cover(selected, grid, halo_px))


def _each(selected):
    for place in np.argwhere(selected):
        one = np.zeros_like(selected)
        one[tuple(place)] = True
        yield one


@given(SIZES, st.integers(60, 200))
def test_packed_rectangles_lie_in_the_atlas_and_do_not_overlap(sizes, width):
    for atlas in (pack(sizes, width), pack_densely(sizes)):
        taken = np.zeros((atlas.height, atlas.width), int)
        for (height, across), (top, left) in zip(sizes, atlas.places, strict=True):
            assert 0 <= top <= atlas.height - height
            assert 0 <= left <= atlas.width - across
            taken[top : top + height, left : left + across] += 1
        assert taken.max(initial=0) <= 1
        assert taken.sum() == sum(height * across for height, across in sizes)


def test_few_regions_of_a_street_fill_an_atlas():
    sizes = [
        (54, 22),
        (22, 54),
        (22, 22),
        (22, 38),
        (38, 22),
        (22, 22),
        (22, 54),
        (38, 24),
        (22, 54),
        (38, 22),
        (22, 22),
    ]
    atlas = pack_densely(sizes)
    assert sum(height * width for height, width in sizes) >= 0.92 * atlas.height * atlas.width


def test_a_rectangle_wider_than_the_atlas_is_refused():
    with pytest.raises(ValueError, match="61 pixels in an atlas of 60"):
        pack([(3, 61)], 60)


@given(SCORES, st.floats(0, 1), st.floats(0, 1))
def test_one_budget_goes_to_the_highest_scores_of_all_frames_after_the_floor_of_each(scores, budget, share):
    floor = share * budget
    selected = select_across(scores, budget, floor)
    sizes = [some.size for some in scores]
    assert [some.shape for some in selected] == [some.shape for some in scores]
    count = count_within(budget, sum(sizes))
    assert sum(some.sum() for some in selected) == count
    for mask, size in zip(selected, sizes, strict=True):
        assert mask.sum() >= int(floor * size)
    chosen = np.concatenate([some[mask] for some, mask in zip(scores, selected, strict=True)])
    left = [some[~mask] for some, mask in zip(scores, selected, strict=True)]
    if not floor and chosen.size:
        assert max(some.max(initial=0) for some in left) <= chosen.min()
    np.testing.assert_array_equal(select_across(scores[:1], budget)[0], select_macroblocks(scores[0], budget))


@given(MASKS, st.floats(0, 1))
def test_excluded_macroblocks_leave_their_share_to_others(case, budget):
    _, excluded = case
    scores = np.random.default_rng(0).random(excluded.shape)
    (selected,) = select_across([scores], budget, excluded=[excluded])
    assert not (selected & excluded).any()
    assert selected.sum() == min(count_within(budget, scores.size), (~excluded).sum())


def test_a_floor_above_the_budget_is_refused():
    with pytest.raises(InputError, match=r"floor 0\.3: expected a share from 0 to the budget \(0\.2\)"):
        select_across([np.zeros((2, 2))], 0.2, 0.3)


def test_each_frame_may_have_its_own_weight_and_floor():
    high, low = np.full((4, 5), 0.8), np.full((4, 5), 0.5)
    assert [int(some.sum()) for some in select_across([high, low], 0.2)] == [8, 0]
    assert [int(some.sum()) for some in select_across([high, low], 0.2, weight=[1, 2])] == [0, 8]
    assert [int(some.sum()) for some in select_across([high, low], 0.2, [0, 0.1])] == [6, 2]
    # alone in a round, a frame cannot have more than the budget
    assert [int(some.sum()) for some in select_across([low], 0.2, [0.4])] == [4]


def test_masked_are_the_macroblocks_that_reach_into_a_polygon():
    grid = MacroblockGrid(70, 100)  # on frames of twice the size; the last row and column are partial
    corner = ((0, 0), (64, 0), (64, 32), (0, 32))
    expected = np.zeros(grid.shape, bool)
    expected[0, :2] = True
    np.testing.assert_array_equal(masked_macroblocks((corner,), (140, 200), grid), expected)
    reaching = tuple((x + 4, y + 4) for x, y in corner)  # two LR pixels further
    expected[:2, :3] = True
    everything = ((0, 0), (200, 0), (200, 140), (0, 140))
    np.testing.assert_array_equal(masked_macroblocks((corner, reaching), (140, 200), grid), expected)
    assert masked_macroblocks((everything,), (140, 200), grid).all()
    assert not masked_macroblocks((), (140, 200), grid).any()


def test_a_mask_that_goes_around_a_place_twice_has_no_hole():
    grid = MacroblockGrid(64, 96)
    left, right = ((0, 0), (64, 0), (64, 64), (0, 64)), ((32, 0), (96, 0), (96, 64), (32, 64))
    twice_around_the_middle = (*left, *left[:1], *right, *right[:1])
    assert masked_macroblocks((twice_around_the_middle,), (64, 96), grid).all()
    hourglass = ((0, 0), (96, 0), (0, 64), (96, 64))
    assert masked_macroblocks((hourglass,), (64, 96), grid)[[0, -1]].all()


def test_a_mask_on_one_line_has_no_area():
    assert not has_area(((5, 5), (5, 5), (5, 5)))
    assert not has_area(((0, 0), (10, 20), (5, 10), (0, 0)))
    assert has_area(((0, 0), (96, 0), (0, 64), (96, 64)))  # of which half is wound around the other way


@given(MASKS, st.integers(1, 4))
def test_the_cache_gives_back_what_was_enhanced_while_the_picture_stays(case, scale):
    grid, selected = case
    rng = np.random.default_rng(0)
    lr = rng.integers(0, 250, (grid.height, grid.width, 3), np.uint8)
    hr, upsampled = rng.integers(0, 256, (2, grid.height * scale, grid.width * scale, 3), np.uint8)
    cache = MacroblockCache(grid, scale, CachePolicy(threshold=2, max_age=2))
    assert not cache.usable(lr).any()
    cache.add(lr, upsampled, hr, selected)
    for step in (1, 2):  # more light in all of it is no change
        usable = cache.usable(lr + np.uint8(5 * (step % 2)))
        np.testing.assert_array_equal(usable, selected)
        frame = upsampled.copy()
        cache.paste(frame, usable)
        np.testing.assert_array_equal(frame, composite(hr, upsampled, selected, grid.scaled(scale)))
        lighter = np.minimum(upsampled, 200) + np.uint8(9)
        frame = lighter.copy()
        cache.paste(frame, usable)
        followed = np.clip(lighter.astype(int) + hr - upsampled, 0, 255).astype(np.uint8)
        np.testing.assert_array_equal(frame, composite(followed, lighter, selected, grid.scaled(scale)))
    assert not cache.usable(lr).any()  # too old


def test_a_macroblock_is_dropped_when_it_changed_since_it_was_enhanced_however_slowly():
    grid = MacroblockGrid(32, 48)
    lr = np.full((32, 48, 3), 100, np.uint8)
    cache = MacroblockCache(grid, 2, CachePolicy(threshold=3))
    cache.add(lr, *np.zeros((2, 64, 96, 3), np.uint8), np.ones(grid.shape, bool))
    counts = []
    for _ in range(4):
        lr = lr.copy()
        lr[:16:2, :16] += 2  # from the mean of these rows and the others: 1
        counts.append(int(cache.usable(lr).sum()))
    assert counts == [6, 6, 5, 5]


def test_a_small_new_object_is_not_covered_by_what_was_enhanced_before():
    grid = MacroblockGrid(40, 56)
    lr = np.full((40, 56, 3), 100, np.uint8)
    cache = MacroblockCache(grid, 2, CachePolicy(threshold=3))
    cache.add(lr, *np.zeros((2, 80, 112, 3), np.uint8), np.ones(grid.shape, bool))
    lr = lr.copy()
    lr[21:25, 34:38] += 45  # 4x4 pixels, in the mean of the macroblock 2.8
    lr[37:40, 0:3] += 45  # in a partial macroblock
    expected = np.ones(grid.shape, bool)
    expected[1, 2] = expected[2, 0] = False
    np.testing.assert_array_equal(cache.usable(lr), expected)


@pytest.mark.parametrize(("shift", "kept"), [((20, 20, 20), True), ((60, 60, 60), False), ((60, 0, 0), False)])
def test_a_thing_of_one_colour_is_not_taken_for_light(shift, kept):
    grid = MacroblockGrid(30, 30)
    lr = np.full((30, 30, 3), 100, np.uint8)
    cache = MacroblockCache(grid, 2, CachePolicy(threshold=10))
    cache.add(lr, *np.zeros((2, 60, 60, 3), np.uint8), np.ones(grid.shape, bool))
    lr = lr.copy()
    lr[16:, 16:] += np.uint8(shift)  # the last macroblock, which is partial
    usable = cache.usable(lr)
    assert usable[0].all()
    assert usable[1, 1] == kept


def test_a_change_of_scene_empties_the_cache():
    grid = MacroblockGrid(32, 32)
    day, night = (np.full((32, 32, 3), value, np.uint8) for value in (200, 20))
    cache = MacroblockCache(grid, 2, CachePolicy(threshold=255))
    cache.add(day, *np.zeros((2, 64, 64, 3), np.uint8), np.ones(grid.shape, bool))
    assert cache.usable(day).all()
    assert not cache.usable(night).any()
    assert not cache.usable(day).any()


def test_without_a_threshold_nothing_is_kept():
    grid = MacroblockGrid(16, 16)
    frame = np.zeros((16, 16, 3), np.uint8)
    cache = MacroblockCache(grid, 1, CachePolicy(threshold=0))
    cache.add(frame, frame, frame, np.ones((1, 1), bool))
    assert not cache.usable(frame).any()


@pytest.mark.parametrize("values", [{"threshold": -1}, {"threshold": 300}, {"max_age": 0}])
def test_a_policy_out_of_range_is_refused(values):
    with pytest.raises(InputError, match="--cache_"):
        CachePolicy(**values)


@given(MASKS)
def test_copied_macroblocks_are_those_of_the_composite(case):
    grid, selected = case
    source, target = np.random.default_rng(0).integers(0, 256, (2, grid.height, grid.width, 3), np.uint8)
    expected = composite(source, target, selected, grid)
    copy_macroblocks(source, target, selected, grid.mb_size)
    np.testing.assert_array_equal(target, expected)


@given(MASKS, st.integers(0, 5), st.integers(1, 3))
def test_pasted_regions_are_the_composite(case, halo_px, scale):
    grid, selected = case
    hr_grid = grid.scaled(scale)
    hr, frame = np.random.default_rng(0).integers(0, 256, (2, hr_grid.height, hr_grid.width, 3), np.uint8)
    expected, regions = composite(hr, frame, selected, hr_grid), cover(selected, grid, halo_px)
    paste_regions(frame, regions, [hr[one.inner.scaled(scale).slices] for one in regions], selected, hr_grid.mb_size)
    np.testing.assert_array_equal(frame, expected)
