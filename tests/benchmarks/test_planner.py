"""A plan of validation frames, held against test frames and against a full search; asserts no time.

PLAN_FOR="--data D --predictor P --upscaler U --detector T --target_fps 8" .venv/bin/python -m pytest \\
    tests/benchmarks/test_planner.py -s
"""

import os
import shlex
import time
from dataclasses import replace
from itertools import product

import pytest

from deploy import plan
from deploy.online.plan import Plan
from deploy.online.plan_file import read_plan
from deploy.online.plan_making import Judged, judged
from deploy.online.plan_report import held_against, in_words
from deploy.online.planning import DETECT_EVERY, FEEDBACK, NONE, THRESHOLDS, WHOLE
from deploy.online.strategies import KnownFrame
from deploy.online.timing import measured, spread
from deploy.online.trials import Engines
from regenhance_data.console import progress
from regenhance_data.dataset.folder import Dataset
from regenhance_data.defaults import BUDGETS
from regenhance_data.regions.cache import NO_CACHE, CachePolicy

HALOS = (1,)  # and the exact one


def grid(exact_px: int) -> list[Plan]:
    """All combinations of the settings that the planner chooses from, without rarer prediction."""
    caches = [NO_CACHE, *map(CachePolicy, THRESHOLDS)]
    halos = [*(px for px in HALOS if px < exact_px), exact_px]
    every = product(BUDGETS, halos, caches, (0.0, *FEEDBACK))
    found = [NONE, WHOLE, *(Plan(b, halo_px=px, cache=one, feedback=weight) for b, px, one, weight in every)]
    return [replace(one, detect_every=every) for one in found for every in (1, *DETECT_EVERY)]


def trials_of(words: list[str], split: str, cameras: int) -> tuple[Judged, Engines, list[list[KnownFrame]]]:
    """What runs plans on the frames of a split, and scores them."""
    args = plan.make_parser().parse_args([*words, "--split", split])
    material = plan.material_from(args, Dataset.open(args.data))
    engines, detector = material.load(args.threads)
    return judged(material, engines, detector, cameras, args.truth), engines, material.clips


@pytest.mark.skipif("PLAN_FOR" not in os.environ, reason="PLAN_FOR gives no flags of deploy/plan.py")
def test_a_plan_holds_on_other_frames(tmp_path):
    words = [*shlex.split(os.environ["PLAN_FOR"]), "--save_dir", str(tmp_path)]
    started = time.perf_counter()
    plan.main(plan.make_parser().parse_args(words))
    print(f"\n  planned in {time.perf_counter() - started:.0f} s")
    record = read_plan(tmp_path / "plan.json")
    chosen, cameras = record.chosen.plan, record.target.cameras
    threads = [] if record.machine.threads is None else ["--threads", str(record.machine.threads)]
    test, engines, clips = trials_of([*words, *threads], "test", cameras)
    timing = measured({chosen: (engines, chosen)}, clips, cameras)[chosen]
    value, fps = test.value(test.trials(chosen)), spread(timing.fps)[1]
    held = held_against(
        test.scores.estimate(test.trials(chosen).counts), len(test.scores.clips), record.chosen.score, record.frames
    )
    print(f"  {in_words(chosen)}: {record.metric} {held}")
    print(f"  {fps:.2f} frames a second, planned {record.chosen.fps[1]:.2f} ({fps / record.chosen.fps[1] - 1:+.0%})")
    validation, *_ = trials_of([*words, *threads], "val", cameras)
    plans = [*grid(engines.exact_px or 0), chosen]
    best = best_as_fast(plans, chosen, validation)
    ratio = validation.value(validation.trials(chosen)) / validation.value(validation.trials(best))
    print(
        f"  validation: the best of {len(plans)} that is as fast: {in_words(best)}; F1 of the plan / its: {ratio:.3f}"
    )
    print(f"  test: F1 of the plan / that of this one: {value / test.value(test.trials(best)):.3f}")
    best = best_as_fast(plans, chosen, test)
    print(f"  test: F1 of the plan / the best there, {in_words(best)}: {value / test.value(test.trials(best)):.3f}")


def best_as_fast(plans: list[Plan], chosen: Plan, on: Judged) -> Plan:
    """The plan with the best score of those that take at most 5 % more time than the chosen one."""
    found = [on.trials(one) for one in progress(plans, "search", unit="setting")]
    return max((one for one in found if one.frame_ms <= 1.05 * on.trials(chosen).frame_ms), key=on.value).plan
