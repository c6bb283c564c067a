"""The budget follows a machine whose speed is simulated."""

from itertools import pairwise

import numpy as np
import pytest

from deploy.online.cameras import CameraFrame
from deploy.online.holding import Holding
from deploy.online.loop import Loop
from deploy.online.plan import Plan
from deploy.online.plan_file import Point
from regenhance_data.evaluation.record import Estimate
from regenhance_data.grid import MacroblockGrid
from regenhance_data.regions.cache import CachePolicy
from regenhance_data.regions.reuse import ReusePolicy
from regenhance_data.upscalers.enhancement import RegionEnhancer
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.settings import UpscalerSettings

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


def test_cameras_that_are_slower_than_the_machine_change_nothing():
    holding = Holding.of(point(0.1), list(map(point, FPS)))
    assert [holding.add(1, 0.5 * number, dropped=number % 10 == 0) for number in range(100)] == [None] * 100


def test_live_cameras_that_lose_frames_get_a_smaller_budget_and_it_comes_back():
    holding = Holding.of(point(0.1), list(map(point, FPS)))
    changes = [holding.add(4, float(second), 6) for second in range(1, 40)]
    assert [budget for budget in changes if budget is not None] == [0.05, 0.0]
    changes = [holding.add(10, float(second), 0) for second in range(40, 80)]
    assert [budget for budget in changes if budget is not None] == [0.05, 0.1]


def test_a_budget_that_cannot_be_kept_is_tried_less_and_less_often():
    holding = Holding.of(point(0.1), list(map(point, FPS)))
    changes = []
    for second in range(1, 1000):
        done = 10 if holding.budget < 0.1 else 7
        if (budget := holding.add(done, float(second), 10 - done)) is not None:
            changes.append((second, budget))
    seconds = [second for second, budget in changes if budget == 0.1]
    waits = [later - sooner for sooner, later in pairwise(seconds)]
    assert len(seconds) < 10
    assert waits == sorted(waits)
    assert waits[-1] > 4 * waits[0]


def test_only_points_that_differ_in_the_budget_alone_are_steps():
    front = [point(0.05, detect_every=2), point(0.1), point(0.2, mode="atlas"), point(0.2, reuse=ReusePolicy(4))]
    assert held([0.3, 3], front=front) == [0.1, 0.1]


class Nothing:
    """A detector that finds nothing."""

    def detect(self, frames):
        return [None] * len(frames)


def test_the_loop_spends_what_is_held():
    grid = MacroblockGrid(64, 80)  # 20 macroblocks
    enhancer = RegionEnhancer(load_upscaler(UpscalerSettings("bicubic", 2)))
    loop = Loop(Plan(0.1, floor=0.1), grid, lambda frames: np.zeros((1, *grid.shape), np.float32), enhancer, Nothing())
    holding, lr = Holding.of(point(0.1), list(map(point, FPS))), np.zeros((64, 80, 3), np.uint8)
    assert [told for second in range(12) if (told := holding.follow(loop, 6, float(second)))] == [
        "6.0 frames a second, planned 10.0: budget 0.1 to 0.05"
    ]
    (item,) = loop.step([CameraFrame("gate", 0, 0.0, lr, lr)]).done
    assert item.selected.sum() == 1


def test_the_floor_comes_back_with_the_budget():
    grid = MacroblockGrid(160, 160)  # 100 macroblocks
    enhancer = RegionEnhancer(load_upscaler(UpscalerSettings("bicubic", 2)))
    importance = np.stack([np.full(grid.shape, 0.1, np.float32), np.ones(grid.shape, np.float32)])
    plan = Plan(0.1, floor=0.05, cache=CachePolicy(0))
    loop, lr = Loop(plan, grid, lambda frames: importance, enhancer, Nothing()), np.zeros((160, 160, 3), np.uint8)
    for budget in (0.02, 0.1):
        loop.spend(budget)
    done = loop.step([CameraFrame(name, 0, 0.0, lr, lr) for name in ("gate", "yard")]).done
    assert [int(item.selected.sum()) for item in done] == [5, 15]
