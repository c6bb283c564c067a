"""A plan of validation frames, held against test frames and against a full grid search there; asserts no time.

PLAN_FOR="--data D --predictor P --upscaler U --detector T --target_fps 8" make bench PYTEST_FLAGS="-k planner"
"""

import os
import shlex
import time
from dataclasses import replace
from itertools import product

import pytest

from deploy import plan
from deploy.online.comparison import counting
from deploy.online.plan import Plan
from deploy.online.plan_file import read_plan
from deploy.online.plan_report import in_words
from deploy.online.planning import DETECT_EVERY, NO_CACHE, NONE, THRESHOLDS, WHOLE, Scores
from deploy.online.timing import measured, spread
from deploy.online.trials import Trials
from regenhance_data.dataset.folder import Dataset
from regenhance_data.defaults import BUDGETS
from regenhance_data.regions.cache import CachePolicy

HALOS = (1,)  # and the exact one


def grid(exact_px: int) -> list[Plan]:
    """All combinations of the settings that the planner chooses from, without rarer prediction."""
    caches = [NO_CACHE, *map(CachePolicy, THRESHOLDS)]
    halos = [*(px for px in HALOS if px < exact_px), exact_px]
    found = [NONE, WHOLE, *(Plan(b, halo_px=px, cache=one) for b, px, one in product(BUDGETS, halos, caches))]
    return [replace(one, detect_every=every) for one in found for every in (1, *DETECT_EVERY)]


@pytest.mark.skipif("PLAN_FOR" not in os.environ, reason="PLAN_FOR gives no flags of deploy/plan.py")
def test_a_plan_holds_on_other_frames(tmp_path):
    words = [*shlex.split(os.environ["PLAN_FOR"]), "--save_dir", str(tmp_path)]
    started = time.perf_counter()
    plan.main(plan.make_parser().parse_args(words))
    print(f"\n  planned in {time.perf_counter() - started:.0f} s")
    record = read_plan(tmp_path / "plan.json")
    args = plan.make_parser().parse_args([*words, "--split", "test"])
    dataset = Dataset.open(args.data)
    clips, _ = plan.read_clips(args, dataset)
    engines, detector, _ = plan.load_engines(args, dataset, clips)
    metric, count, score = counting(detector.task, detector.class_names, detector.settings.classes)
    scores = Scores(score, [frame.camera for clip in clips for frame in clip])
    trials = Trials(engines, clips, record.target.cameras, plan.reference_by(args, detector), count)
    chosen = trials(record.chosen.plan)
    value, promised = scores.value(chosen), record.chosen
    fps = spread(measured(engines, [chosen.plan], clips, record.target.cameras)[chosen.plan].fps)[1]
    print(f"  {in_words(chosen.plan)}: {metric} {value:.3f}, planned {promised.score.value:.3f}")
    print(f"  {fps:.2f} frames a second, planned {promised.fps[1]:.2f} ({fps / promised.fps[1] - 1:+.0%})")
    started = time.perf_counter()
    tried = [trials(one) for one in grid(engines.exact_px or 0)]
    as_fast = [trial for trial in [*tried, chosen] if trial.frame_ms <= 1.05 * chosen.frame_ms]
    best = max(as_fast, key=scores.value)
    print(f"  of {len(tried)} settings ({time.perf_counter() - started:.0f} s) the best that is as fast:")
    print(f"  {in_words(best.plan)}: {metric} {scores.value(best):.3f}; ratio {value / scores.value(best):.3f}")
