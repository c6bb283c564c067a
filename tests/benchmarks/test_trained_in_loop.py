"""A trained predictor in the loop, with feedback and cache, beside the static map in the same loop.

On real clips whose enhancement is perfect: the original's pixels. For each of the two, feedback and the threshold of
the cache are those that are best on the validation frames. Prints F1 on the test frames, against the detector's results
on the originals.

TRAINED=RUN python -m pytest tests/benchmarks/test_trained_in_loop.py -s

RUN is the --save_dir of tools/benchmark_clips.py --trained_on own with the manifest clips.yaml.
"""

import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from deploy.backends.registry import load_predictor
from deploy.online.cameras import importance_by
from deploy.online.detectors import load_online_detector
from deploy.online.loop import Importance
from deploy.online.plan import Plan
from deploy.online.strategies import KnownFrame
from regenhance_data.dataset.folder import Dataset
from regenhance_data.evaluation.bootstrap import FrameScores
from regenhance_data.importance.static_map import static_maps
from regenhance_data.metrics.metric import F1
from regenhance_data.regions.cache import CachePolicy
from tests.benchmarks.real_clips import CLIPS, DATA, SETTINGS, frames_of, known_importance, run_loop

RUN = os.environ.get("TRAINED")
BUDGETS, FEEDBACK, THRESHOLDS = (0.05, 0.1), (0.0, 0.3, 1.0, 3.0), (0.0, 3.0, 6.0, 10.0)
SettingsOfLoop = tuple[float, float]  # feedback and the threshold of the cache


class Block:
    """The frames of the video from the first to the last frame of a split of one block, scored by the loop."""

    def __init__(self, dataset: Dataset, name: str, split: str) -> None:
        every = dataset.record.clips[name].every or 1
        listed = [frame.number for frame in dataset.split_frames(split)]
        assert listed == [*range(listed[0], listed[-1] + 1)], f"{name}: {split}.txt has several blocks"
        numbers = range(every * listed[0], every * listed[-1] + 1)
        self.frames: list[KnownFrame] = frames_of(name, with_importance=split == "test", numbers=numbers)
        self._detector = load_online_detector(SETTINGS, self.frames[0].original.shape[:2])
        self._references = [self._detector.detect(frame.original[None])[0] for frame in self.frames]
        self.scores = FrameScores(F1, [name] * len(self.frames))

    def counts(self, importance: Importance, budget: float, settings: SettingsOfLoop) -> list[np.ndarray]:
        feedback, threshold = settings
        plan = Plan(budget, cache=CachePolicy(threshold), feedback=feedback)
        done = run_loop(plan, importance, self.frames, self._detector)
        return [F1.count(item.found, reference) for item, reference in zip(done, self._references, strict=True)]

    def best(self, importance: Importance, budget: float) -> SettingsOfLoop:
        """The settings with the highest F1."""
        every = product(FEEDBACK, THRESHOLDS)
        return max(every, key=lambda some: self.scores.value(self.counts(importance, budget, some)))


@pytest.mark.skipif(not DATA.is_dir(), reason="the real clips are not here")
@pytest.mark.skipif(not RUN, reason="TRAINED, the folder of a run of tools/benchmark_clips.py, is not set")
@pytest.mark.parametrize("name", CLIPS)
def test_a_trained_predictor_and_the_static_map_in_the_loop(name):
    run = Path(RUN)
    dataset = Dataset.open(run / "data" / name)
    validation, test = (Block(dataset, name, split) for split in ("val", "test"))
    static = static_maps(dataset, [name])[name].astype(np.float32)
    ways = {
        "static map": lambda some: np.stack([static] * len(some)),
        "predictor": importance_by(load_predictor(run / name / "own_seed0" / "mb_nano.onnx")),
    }
    print(f"\n{name}: {len(validation.frames)} validation and {len(test.frames)} test frames")
    for budget in BUDGETS:
        oracle = test.scores.value(test.counts(known_importance, budget, (0, 0)))
        alone = test.counts(ways["static map"], budget, (0, 0))
        print(f"  {budget:.0%}: static map alone {test.scores.value(alone):.3f}, oracle alone {oracle:.3f}")
        others = {"the static map alone": alone}
        for way, importance in ways.items():
            feedback, threshold = settings = validation.best(importance, budget)
            counts = test.counts(importance, budget, settings)
            value = test.scores.value(counts)
            how = f"{way}, feedback {feedback:g}, cache {threshold:g}"
            print(f"    {how}: {value:.3f}, {value / oracle:.2f} of the oracle's")
            for other, of_other in others.items():
                lead = test.scores.lead(counts, of_other)
                print(f"      above {other}: {lead.value:+.3f} ({lead.signed_interval})")
            others[f"the {way} in this loop"] = counts
