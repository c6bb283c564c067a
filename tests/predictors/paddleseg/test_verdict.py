import re

import numpy as np
import pytest

from regenhance_data.predictors.paddleseg.verdict import StaticMapAgreement, verdict


@pytest.mark.parametrize(
    ("lead", "frames", "says"),
    [
        (0.1, 30, r"ranking 0\.600: better than the static map \(0\.500, .*frames\); the difference is \+0\.\d+ \("),
        (-0.1, 30, "worse than the static map .* costs nothing: this predictor is not worth its time; "),
        (0.01, 8, "not shown to be better than the static map .* is not shown to be worth its time; "),
    ],
)
def test_a_predictor_is_better_than_the_static_map_where_the_whole_interval_says_so(lead, frames, says):
    noise = np.random.default_rng(0).normal(0, 0.05, frames)
    rankings = np.append(np.full(frames, 0.5), np.nan)  # the last frame has no object
    static = StaticMapAgreement({"ranking": 0.5, "frames": frames}, rankings, ["a"] * (frames + 1))
    per_frame = rankings + lead + np.append(noise - noise.mean(), 0)
    said = verdict({"ranking": 0.6, "frames": frames}, per_frame, static)
    assert re.search(says, said)


def test_frames_without_objects_say_nothing():
    assert verdict({"ranking": 0.0, "frames": 0}, np.full(3, np.nan), None).startswith("cannot tell")
