"""The cache of enhanced macroblocks beside enhancing anew, on real clips, where enhancement is perfect: the original's
pixels. Prints F1 against the detector's results on the originals, and its paired difference from that of a fresh 10 %.

python -m pytest tests/benchmarks/test_cache.py -s
"""

import numpy as np
import pytest

from deploy.online.detectors import load_online_detector
from deploy.online.plan import Plan
from regenhance_data.evaluation.bootstrap import Counts, CurvePoint, FrameScores
from regenhance_data.metrics.metric import F1
from regenhance_data.regions.cache import CachePolicy
from tests.benchmarks.real_clips import CLIPS, DATA, FRAMES, SETTINGS, frames_of, known_importance, run_loop

FRESH = CurvePoint("enhanced anew", 0.1)


@pytest.mark.skipif(not DATA.is_dir(), reason="the real clips are not here")
@pytest.mark.parametrize("name", CLIPS)
def test_f1_of_kept_macroblocks_beside_those_enhanced_anew(name):
    frames = frames_of(name)
    hr_hw = frames[0].original.shape[:2]
    detector = load_online_detector(SETTINGS, hr_hw)
    references = [detector.detect(frame.original[None])[0] for frame in frames]
    print(f"\n{name}, {CLIPS[name]} camera, {len(frames)} frames: F1, macroblocks enhanced anew")
    scores, counts, anew = FrameScores(F1, [name] * FRAMES), list[Counts]({} for _ in frames), dict[CurvePoint, float]()
    for budget in (0.0, 0.05, 0.1):
        for threshold in (0, 1, 2, 3, 4, 6, 8, 10) if budget else (0,):
            plan = Plan(budget, cache=CachePolicy(threshold))
            done = run_loop(plan, known_importance, frames, detector)
            point = CurvePoint(f"cache, threshold {threshold}" if threshold else FRESH.curve, budget)
            anew[point] = np.mean([item.selected.mean() for item in done])
            for one, item, reference in zip(counts, done, references, strict=True):
                one[point] = F1.count(item.found, reference)
    for point, share in anew.items():
        score, lead = scores.value([one[point] for one in counts]), scores.lead_at(counts, point, FRESH)
        way = f"{point.budget:4.0%} {point.curve:19} {score:.3f} {share:6.1%}"
        print(f"  {way}; above a fresh 10 %: {lead.value:+.3f} ({lead.signed_interval})")
