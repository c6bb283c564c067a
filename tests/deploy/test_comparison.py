"""The table, the verdict and the figure of strategies whose counts and times are given."""

import numpy as np
import pytest

from deploy.online.comparison import (
    ORIGINALS,
    UPSCALED,
    MeasuredFrame,
    compare,
    comparison_figure,
    comparison_table,
    front,
)
from deploy.online.strategies import Outcome
from regenhance_data.evaluation.bootstrap import ALL_ENHANCED, NOTHING_ENHANCED, CurvePoint
from regenhance_data.metrics.metric import F1

OURS, EVERY = CurvePoint("predictor", 0.025), CurvePoint("every n-th frame whole", 0.3)
LAST = CurvePoint("boxes of the last frame", 0.025)


def compared(frames=20, reference=ORIGINALS, objects=10, **found_and_ms):
    """The comparison where each strategy finds so many of the objects in each frame, in so many milliseconds."""
    points = {"none": NOTHING_ENHANCED, "whole": ALL_ENHANCED, "ours": OURS, "every": EVERY, "last": LAST}
    points["oracle"] = CurvePoint("oracle", 0.025)
    counts = {points[name]: np.array([found, 0, objects - found]) for name, (found, _) in found_and_ms.items()}
    outcomes = {
        points[name]: Outcome(None, {"enhance": ms / 2, "detect": ms / 2}, 0.5, 0, 0.5)
        for name, (_, ms) in found_and_ms.items()
    }
    return compare([MeasuredFrame(counts, "gate", outcomes)] * frames, F1, reference)


@pytest.mark.parametrize(
    ("found_and_ms", "answer", "words"),
    [
        (
            {"none": (2, 1), "whole": (9, 8), "ours": (9, 2)},
            "worth it",
            "predictor, 2.5% has 100% of the F1 of whole-frame super-resolution (0.947 of 0.947 against the original "
            "HR frames; 0.333 with nothing enhanced) at 4.0 times its frames a second",
        ),
        ({"none": (2, 1), "whole": (9, 4), "ours": (9, 8)}, "not worth it", "at 0.5 times its frames a second"),
        ({"none": (2, 1), "whole": (9, 8), "ours": (4, 2)}, "worth it", "a second; a larger budget may bring the rest"),
        ({"none": (2, 1), "whole": (9, 8), "ours": (2, 2)}, "cannot tell", "a larger budget may bring the rest"),
        (
            {"none": (9, 1), "whole": (2, 8), "ours": (9, 2)},
            "not worth it",
            "whole-frame super-resolution gains -0.614 (-0.614 to -0.614), less than the 0.05 that count; "
            "predictor, 2.5% gains +0.000 (+0.000 to +0.000), less than the 0.05 that count: F1 0.947 with nothing "
            "enhanced, 0.333 with whole-frame super-resolution, ",
        ),
        (
            {"none": (2, 1), "whole": (2, 8), "ours": (9, 2)},
            "worth it",
            "whole-frame super-resolution gains +0.000 (+0.000 to +0.000), less than the 0.05 that count; predictor, "
            "2.5% gains +0.614 (+0.614 to +0.614): F1 0.333 with nothing enhanced, 0.333 with whole-frame "
            "super-resolution, 0.947 with predictor, 2.5% against the original HR frames; predictor, 2.5% has 4.0 "
            "times the frames a second",
        ),
        (
            {"none": (2, 1), "whole": (9, 8), "ours": (6, 2), "last": (8, 2)},
            "worth it",
            "; the boxes of the last frame, which need no predictor, score +0.139 (+0.139 to +0.139) above the ",
        ),
        ({"none": (2, 1), "whole": (9, 8)}, "worth it", "whole-frame super-resolution gains +0.614 ("),
        ({"none": (2, 1), "whole": (9, 8), "frames": 19}, "cannot tell", "19 frames, fewer than 20; use more frames"),
        ({"none": (0, 1), "whole": (0, 8), "objects": 0}, "cannot tell", "F1 says nothing; give frames with objects"),
    ],
)
def test_the_verdict_weighs_score_against_speed(found_and_ms, answer, words):
    verdict = compared(**found_and_ms).verdict
    assert verdict.answer == answer
    assert words in verdict.text


def test_what_remains_without_super_resolution_is_a_mean_as_the_whole_is():
    found = {point: np.array([1, 0, 0]) for point in (NOTHING_ENHANCED, ALL_ENHANCED)}
    outcomes = [Outcome(None, {"enhance": ms, "detect": 1}, 1, 0, 1) for ms in (1, 1, 10)]
    frames = [MeasuredFrame(found, "gate", dict.fromkeys(found, outcome)) for outcome in outcomes]
    row = compare(frames, F1, UPSCALED).rows[0]
    assert (row.fps, row.fps_if_free) == pytest.approx((200, 1000))


def test_the_front_has_what_no_faster_strategy_equals():
    result = compared(none=(2, 1), whole=(9, 8), ours=(9, 2), every=(1, 1.5), oracle=(10, 1))
    assert [row.point for row in front(result.rows)] == [OURS, NOTHING_ENHANCED]


def test_the_table_and_the_figure_say_what_the_score_is_against():
    result = compared(reference=UPSCALED, none=(2, 1), whole=(9, 8), ours=(9, 2), every=(5, 4))
    table = comparison_table(result)
    assert "\nevery n-th frame whole, 30%" in table
    assert "F1 against whole-frame super-resolution" in table
    (axes,) = comparison_figure(result).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("frames a second", "F1 against whole-frame super-resolution")
    result = compared(none=(0, 1), whole=(0, 8), objects=0)
    assert "nan" not in comparison_table(result)
    assert [text.get_text() for text in comparison_figure(result).axes[0].texts] == ["no frame has a reference object"]
    assert result.to_dict()["rows"][0]["f1"] is None
