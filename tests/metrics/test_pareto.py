"""The Pareto front."""

from math import nan

from hypothesis import given
from hypothesis import strategies as st

from regenhance_data.metrics.pareto import pareto_front

Point = tuple[float, float]  # cost, value


def front(points: list[Point], margin: float = 0.0) -> list[Point]:
    return pareto_front(points, lambda point: point[0], lambda point: point[1], margin)


def test_the_cheapest_first_and_nothing_that_costs_more_for_as_much():
    assert front([(4, 0.9), (2, 0.7), (3, 0.85), (3, 0.9), (1, 0.8)]) == [(1, 0.8), (3, 0.9)]


def test_a_gain_within_the_margin_is_none():
    assert front([(1, 0.8), (2, 0.85), (3, 0.95)], margin=0.1) == [(1, 0.8), (3, 0.95)]


def test_what_has_no_value_is_left_out():
    assert front([(1, nan), (2, -0.5)]) == [(2, -0.5)]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9))))
def test_the_front_dominates_everything_and_nothing_dominates_it(points):
    found = front(points)
    for cost, value in points:
        assert any(c <= cost and v >= value for c, v in found)
    for cost, value in found:
        assert not any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points)
    assert found == sorted(found)
