import re

import numpy as np
import pytest

from regenhance_data.predictors.paddleseg.verdict import StaticMapAgreement, lead_over, verdict


@pytest.mark.parametrize(
    ("lead", "frames", "says"),
    [
        (0.1, 30, r"ranking 0\.600: better than the static map \(0\.500, .*frames\); the difference is \+0\.\d+ \("),
        (-0.1, 30, "worse than the static map .* costs nothing: this predictor is not worth its time; "),
        (0.003, 30, "not shown to be better than the static map .* is not shown to be worth its time; "),
        (
            0.1,
            19,
            "cannot tell from 19 frames, fewer than 20, whether it is better than the static map",
        ),
        (0.1, 1, "cannot tell from 1 frames"),
    ],
)
def test_a_predictor_is_better_than_the_static_map_where_the_whole_interval_says_so(lead, frames, says):
    noise = np.random.default_rng(0).normal(0, 0.05, frames)
    rankings = np.append(np.full(frames, 0.5), np.nan)  # the last frame has no object
    static = StaticMapAgreement({"ranking": 0.5, "frames": frames}, rankings, ["a"] * (frames + 1))
    per_frame = rankings + lead + np.append(noise - noise.mean(), 0)
    said = verdict({"ranking": 0.6, "frames": frames}, static, lead_over(static, per_frame))
    assert re.search(says, said)


def test_frames_that_only_one_of_them_ranks_give_no_lead():
    static = StaticMapAgreement({"ranking": 0.5, "frames": 1}, np.array([np.nan, 0.5]), ["a", "a"])
    assert lead_over(static, np.array([0.5, np.nan])) is None
    lead = lead_over(static, np.array([np.nan, 0.75]))
    assert lead.to_dict() == {"value": 0.25, "interval_95": None, "frames": 1}


def test_frames_without_objects_say_nothing():
    assert verdict({"ranking": 0.0, "frames": 0}, None, None).startswith("cannot tell")
