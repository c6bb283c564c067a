import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regenhance_data.detectors.base import Detector, Objective
from regenhance_data.detectors.segmentation import Segmenter
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.importance.formula_spec import FORMULAS, POINTS, WITH_POINTS, formula_spec, parse_formula
from regenhance_data.importance.formulas import SIGNED_WEIGHT, difference_map, importance_map
from regenhance_data.importance.frame_pairs import FramePair
from regenhance_data.regions.composite import upsample_frame
from tests.support.files import noise

SCALE = 2


def noisy_pair(height=50, width=70, seed=0):
    """A dim square (whose score has a slope) over noise, in frames with partial macroblocks."""
    (clear,) = noise(1, SCALE * height, SCALE * width, seed)
    clear[16:24, 16:24] = (160, 0, 0)
    clear[-20:-12, -20:-12] = (10, 10, 200)
    origin = np.ascontiguousarray(clear[::SCALE, ::SCALE])
    return FramePair(origin, clear, upsample_frame(origin, SCALE), MacroblockGrid(height, width).scaled(SCALE))


def slope(detector, pair, point):
    """∂Acc/∂x at a point between upsampled and HR frame, of the HR frame's detections: float64 [3, H, W]."""
    hr, upsampled = (detector.tensor(image[None]) for image in (pair.hr, pair.upsampled))
    frames = (upsampled + point * (hr - upsampled)).requires_grad_()
    value = detector.accuracy(hr.requires_grad_()).at(frames).sum()
    return torch.autograd.grad(value, frames)[0][0].cpu().numpy().astype(np.float64)


def change(pair):
    return pair.hr.astype(np.float64).transpose(2, 0, 1) - pair.upsampled.transpose(2, 0, 1)


@pytest.mark.parametrize("points", [None, (0.0,), (1.0,), (0.25, 1.0, 0.6)])
@pytest.mark.parametrize("size", [(50, 70), (33, 47)])
def test_importance_is_what_its_formula_says(detector, size, points):
    pair = noisy_pair(*size)
    for name in FORMULAS if points is None else WITH_POINTS:
        slopes = [slope(detector, pair, point) for point in points or POINTS[name]]
        steepness = np.mean([pair.grid.mean(np.abs(slope).sum(0)) for slope in slopes], axis=0)
        effects = [(slope * change(pair)).sum(0) for slope in slopes]
        moved = np.mean([pair.grid.mean(np.abs(effect)) for effect in effects], axis=0)
        brought = np.mean([pair.grid.mean(effect) for effect in effects], axis=0)
        expected = {
            "product": steepness * difference_map(pair),
            "gradient": steepness,
            "first_order": moved,
            "path": steepness * difference_map(pair),
            "gain": moved + SIGNED_WEIGHT * brought.clip(0),
        }[name]
        importance, detections = importance_map(detector, pair, formula_spec(name, points))
        np.testing.assert_allclose(importance, expected, rtol=1e-3, atol=1e-6 * expected.max())
        assert importance.dtype == np.float32
        assert detections >= 1
        assert importance.max() > 0


def test_difference_is_the_mean_change_of_a_macroblock():
    pair = noisy_pair(33, 47)
    np.testing.assert_allclose(difference_map(pair), pair.grid.mean(np.abs(change(pair)).sum(0)), rtol=1e-5)


@pytest.mark.parametrize("formula", FORMULAS)
def test_what_does_not_change_has_no_importance_but_for_the_gradient_alone(detector, formula):
    pair = noisy_pair()
    same = FramePair(pair.lr, pair.hr, pair.hr, pair.grid)
    assert (importance_map(detector, same, formula)[0].max() > 0) == (formula == "gradient")


def test_along_a_short_way_path_is_product_and_gain_counts_the_sum_beside_first_order(detector):
    pair = noisy_pair()
    almost = FramePair(pair.lr, pair.hr, pair.hr - (pair.hr > 100).astype(np.uint8), pair.grid)
    maps = {formula: importance_map(detector, almost, formula)[0] for formula in FORMULAS}
    np.testing.assert_allclose(maps["path"], maps["product"], rtol=0.1)
    assert (maps["gain"] <= (1 + SIGNED_WEIGHT) * 1.1 * maps["first_order"] + 1e-9).all()
    assert (maps["gain"] >= 0.9 * maps["first_order"]).all()


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_frame_without_detections_has_no_importance(detector, formula):
    pair = noisy_pair()
    black = FramePair(pair.lr, np.zeros_like(pair.hr), pair.upsampled, pair.grid)
    importance, detections = importance_map(detector, black, formula)
    assert importance.shape == pair.grid.shape
    assert (importance.max(), detections) == (0, 0)


class Brightness(Detector):
    """Acc is the mean of an HR frame's pixels where `sign` is 1, its negative where it is -1; counts its passes."""

    class_names = ("bright",)

    def __init__(self, sign=1.0):
        super().__init__(DetectorSettings())
        self.sign, self.with_gradient, self.passes = sign, 0, 0

    def detect(self, frames):
        raise NotImplementedError

    def _acc(self, frames):
        self.passes += 1
        self.with_gradient += frames.requires_grad
        return self.sign * frames.mean((1, 2, 3))

    def accuracy(self, clear):
        return Objective(self._acc(clear)[0], 1, self._acc)


@pytest.mark.parametrize(
    ("formula", "passes", "with_gradient"),
    [("product", 1, 1), ("first_order", 1, 1), ("path", 4, 3), ("path:0.1,0.5", 3, 2), ("gain", 2, 2)],
)
def test_a_formula_costs_a_pass_a_point_and_one_to_find_what_the_clear_frame_shows(formula, passes, with_gradient):
    detector = Brightness()
    importance_map(detector, noisy_pair(), formula)
    assert (detector.passes, detector.with_gradient) == (passes, with_gradient)


def test_gain_prefers_what_helps_to_what_harms_by_as_much():
    pair = noisy_pair()
    half = pair.hr // 2
    brighter = FramePair(pair.lr, pair.hr, half, pair.grid)
    helps, harms = (importance_map(Brightness(sign), brighter, "gain")[0] for sign in (1.0, -1.0))
    np.testing.assert_allclose(helps, (1 + SIGNED_WEIGHT) * harms, rtol=1e-4)
    for formula in ("product", "first_order", "path"):
        helps, harms = (importance_map(Brightness(sign), brighter, formula)[0] for sign in (1.0, -1.0))
        np.testing.assert_allclose(helps, harms, rtol=1e-6)


class RedOrNot(Segmenter):
    """A pixel is red by how red it is."""

    class_names = ("not", "red")

    def logits(self, frames):
        return torch.stack([torch.full_like(frames[:, 0], 0.5), frames[:, 0] / 255], 1)


@pytest.mark.parametrize("formula", FORMULAS)
def test_segmentation_has_importance_where_the_change_is(formula):
    pair = noisy_pair()
    changed = pair.hr.copy()
    changed[32:64, 64:96, 0] = 0  # one macroblock
    importance, pixels = importance_map(
        RedOrNot(DetectorSettings()), FramePair(pair.lr, pair.hr, changed, pair.grid), formula
    )
    assert pixels == pair.hr.shape[0] * pair.hr.shape[1]
    assert importance[1, 2] > 0
    if formula != "gradient":
        assert (importance > 0).sum() == 1


@given(st.sampled_from(WITH_POINTS), st.lists(st.integers(0, 1000), min_size=1, max_size=5, unique=True))
def test_a_formula_with_points_is_one_string_and_back(name, thousandths):
    points = tuple(point / 1000 for point in thousandths)
    assert parse_formula(formula_spec(name, points)) == (name, points)


def test_a_formulas_own_points_need_not_be_said():
    for name in FORMULAS:
        assert formula_spec(name) == formula_spec(name, POINTS[name]) == name
        assert parse_formula(name) == (name, POINTS[name])


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("products", "formula products: expected one of product, gradient, first_order, path, gain"),
        ("path:", "expected numbers from 0 to 1"),
        ("path:a,1", "expected numbers from 0 to 1"),
        ("path:0.5,1.5", "--points 0.5 1.5: expected distinct numbers from 0 to 1"),
        ("gain:0.5,0.5", "expected distinct"),
        ("gain:nan", "expected distinct"),
        ("product:0.5", "product takes its gradient at the HR frame"),
    ],
)
def test_a_formula_that_there_is_not_is_refused(spec, words):
    with pytest.raises(InputError, match=words):
        parse_formula(spec)
