"""What was found in the last frame, beside predictors, on real clips, where enhancement is perfect: the original's
pixels. Prints F1 against the detector's results on the originals: of general weights, which have seen none of these
cameras, of no predictor at all, and of two passes of the detector, with and without feedback.

python -m pytest tests/benchmarks/test_feedback.py -s
"""

from collections.abc import Sequence

import numpy as np
import pytest

from deploy.backends.registry import load_predictor
from deploy.online.cameras import CameraFrame, flat_importance, importance_by
from deploy.online.detectors import load_online_detector
from deploy.online.plan import Plan
from regenhance_data.grid import MacroblockGrid
from regenhance_data.metrics.detection import count_matches, f1
from regenhance_data.regions.cache import CachePolicy
from regenhance_data.regions.composite import upsample_frame
from regenhance_data.regions.coverage import box_coverage
from tests.benchmarks.real_clips import CLIPS, DATA, FRAMES, SCALE, SETTINGS, frames_of, run_loop
from tests.support.files import ROOT

BUDGETS, WEIGHTS = (0.05, 0.1), (3.0, 30.0)


@pytest.mark.skipif(not DATA.is_dir(), reason="the real clips are not here")
@pytest.mark.parametrize("name", CLIPS)
def test_f1_with_and_without_what_was_found_last(name, tmp_path, run):
    frames = frames_of(name, with_importance=False)
    height, width = frames[0].lr.shape[:2]
    grid = MacroblockGrid(height, width)
    detector = load_online_detector(SETTINGS, frames[0].original.shape[:2])
    references = [detector.detect(frame.original[None])[0] for frame in frames]
    config = ROOT / "paddleseg_configs" / "mb_nano.yml"
    run(
        *("deploy/export_onnx.py", "--config", config, "--zero_shot"),
        *("--input_size", height, width, "--save_dir", tmp_path),
    )
    (general,) = tmp_path.glob("*.onnx")

    def two_passes(some: Sequence[CameraFrame]) -> np.ndarray:
        found = detector.detect(np.stack([upsample_frame(frame.lr, SCALE) for frame in some]))
        return np.stack([box_coverage(one, grid.scaled(SCALE)) for one in found])

    def nothing(some: Sequence[CameraFrame]) -> np.ndarray:
        return np.zeros((len(some), *grid.shape), np.float32)

    def score(importance, budget, feedback):
        plan = Plan(budget, cache=CachePolicy(0), feedback=feedback)
        found = [item.found for item in run_loop(plan, importance, frames, detector)]
        return float(f1(sum(map(count_matches, found, references))))

    ways = {"general weights": importance_by(load_predictor(general)), "flat map": flat_importance(grid.shape)}
    print(
        f"\n{name}, {CLIPS[name]} camera, {FRAMES} frames: F1 at {BUDGETS}; nothing enhanced {score(nothing, 0, 0):.3f}"
    )
    print(f"  {'boxes, two passes':34}", *(f"{score(two_passes, budget, 0):.3f}" for budget in BUDGETS))
    for way, importance in ways.items():
        for feedback in (0, *WEIGHTS) if way == "general weights" else (1,):
            row = (f"{score(importance, budget, feedback):.3f}" for budget in BUDGETS)
            print(f"  {f'{way}, feedback {feedback:g}':34}", *row)
