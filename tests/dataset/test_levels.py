import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenhance_data.dataset.levels import Normaliser, to_levels
from regenhance_data.errors import InputError

KINDS = ["log", "minmax", "rank"]
importances = st.lists(st.floats(0, 1e6, allow_nan=False, width=32), min_size=1, max_size=60).filter(
    lambda values: max(values) > 1e-30
)


def test_levels_follow_the_published_rule():
    edges = np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert to_levels(edges, 10).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]
    assert to_levels(np.nextafter(edges[1:], 0), 10).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


@given(st.integers(2, 255), st.sampled_from([np.float32, np.float64]))
def test_level_k_covers_k_to_k_plus_1_for_any_number_of_levels(levels, dtype):
    k = np.arange(levels)
    lower = (k / levels).astype(dtype)
    assert (to_levels(lower, levels) == k).all()
    assert (to_levels(np.nextafter(lower[1:], dtype(0)), levels) == k[:-1]).all()
    assert to_levels(np.ones(1, dtype), levels) == levels - 1


@given(st.floats(0, 1), st.integers(2, 255))
def test_every_value_lies_in_its_level(value, levels):
    level = int(to_levels(np.array([value]), levels)[0])
    assert level / levels <= value
    assert value < (level + 1) / levels or level == levels - 1


@pytest.mark.parametrize("levels", [1, 0, -3, 256])
def test_too_few_or_too_many_levels_are_refused(levels):
    with pytest.raises(InputError, match="2 to 255"):
        to_levels(np.zeros(3), levels)


@given(st.sampled_from(KINDS), importances)
def test_normalised_importance_is_in_0_to_1_and_keeps_the_order(kind, values):
    values = np.array(values)
    normalised = Normaliser.fit(kind, values)(values)
    assert (normalised >= 0).all()
    assert (normalised <= 1).all()
    assert (np.diff(normalised[np.argsort(values)]) >= 0).all()


@given(st.sampled_from([*KINDS, "none"]), importances)
def test_a_normaliser_survives_its_dictionary(kind, values):
    fitted = Normaliser.fit(kind, np.array(values) / (max(values) if kind == "none" else 1))
    assert Normaliser.from_dict(fitted.to_dict()) == fitted


def test_log_fills_levels_of_a_heavy_tail_that_minmax_leaves_empty():
    values = np.random.default_rng(0).pareto(1.0, 20_000)
    share_of_level_0 = {kind: (to_levels(Normaliser.fit(kind, values)(values), 10) == 0).mean() for kind in KINDS}
    assert share_of_level_0["minmax"] > 0.95
    assert share_of_level_0["log"] < 0.7
    assert share_of_level_0["rank"] == pytest.approx(0.1, abs=0.01)


def test_values_beyond_the_training_range_are_clipped():
    fitted = Normaliser.fit("log", np.linspace(1, 10, 100))
    assert fitted(np.array([0.0, 1e9])).tolist() == [0.0, 1.0]


def test_no_importance_anywhere_is_refused():
    with pytest.raises(InputError, match="importance is 0 in every training frame"):
        Normaliser.fit("log", np.zeros(10))


def test_none_takes_only_what_is_in_0_to_1():
    assert Normaliser("none")(np.array([0.25, 1.0])).tolist() == [0.25, 1.0]
    with pytest.raises(InputError, match=r"in \[0, 1\]"):
        Normaliser("none")(np.array([1.5]))
