"""The budget follows a machine whose speed is simulated."""

import pytest

from deploy.online.holding import Holding
from deploy.online.plan import Plan
from deploy.online.plan_file import Point
from regenhance_data.evaluation.record import Estimate

FPS = {0.0: 14.0, 0.05: 12.0, 0.1: 10.0, 0.2: 7.0}


def point(budget, **changes):
    plan = Plan(budget, **changes) if budget else Plan(mode="none", **changes)
    return Point(plan, (0.9 * FPS[budget], FPS[budget], 1.1 * FPS[budget]), Estimate(0.5, (0.4, 0.6)), {})


def held(speeds, jitter=0.0, front=()):
    """The budget after each 30 s of a loop whose machine has these shares of the planned speed."""
    holding, now_s, found = Holding.of(point(0.1), front or list(map(point, FPS))), 0.0, []
    changes = []
    for number, speed in enumerate(speeds):
        end_s = 30.0 * (number + 1)
        while now_s < end_s:
            wobble = 1 + jitter * (-1) ** int(now_s)
            now_s += 1 / (speed * wobble * FPS[holding.budget])
            if (budget := holding.add(1, now_s)) is not None:
                changes.append(budget)
        found.append(holding.budget)
    assert len(changes) <= 2 * len(speeds)  # no swinging
    return found


@pytest.mark.parametrize("jitter", [0, 0.1])
def test_a_slower_machine_gets_a_smaller_budget_and_it_comes_back(jitter):
    assert held([1, 0.7, 0.7, 1, 1], jitter) == [0.1, 0.05, 0.05, 0.1, 0.1]
    assert held([0.4, 0.4, 1, 1], jitter) == [0.0, 0.0, 0.1, 0.1]


def test_a_drift_of_less_than_a_fifth_changes_nothing():
    assert held([0.85, 1.15, 0.9]) == [0.1] * 3


def test_a_faster_machine_gets_a_larger_budget_of_the_front_and_no_more():
    assert held([1.5, 1.5, 3]) == [0.2] * 3


def test_only_points_that_search_as_many_frames_are_steps():
    front = [point(0.05, detect_every=2), point(0.1), point(0.2, mode="atlas")]
    assert held([0.3, 3], front=front) == [0.1, 0.1]
