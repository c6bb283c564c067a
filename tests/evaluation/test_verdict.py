"""Verdicts, and scores where there is nothing to score."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenhance_data.evaluation.bootstrap import (
    ALL_ENHANCED,
    NOTHING_ENHANCED,
    CurvePoint,
    FrameScores,
    bootstrap_scores,
)
from regenhance_data.evaluation.curves import clips_table, curves_figure
from regenhance_data.evaluation.evaluate import evaluate
from regenhance_data.evaluation.formula_comparison import compare_formulas, formulas_table
from regenhance_data.evaluation.record import EvaluationResult
from regenhance_data.evaluation.reuse import evaluate_reuse, reuse_figure, reuse_table
from regenhance_data.evaluation.verdict import FEWEST_FRAMES, FEWEST_FRAMES_WITH_OBJECTS, against_static, helping, judge
from regenhance_data.metrics.metric import F1
from regenhance_data.metrics.resampling import blocks_of
from regenhance_data.regions.reuse import ReusePolicy
from regenhance_data.stages.make_importance import make_importance
from tests.support.cameras import fill_cameras

POINT = CurvePoint("predictor", 0.1)


def frame(objects, none, some, wrong=0):
    """The counts of a frame with `objects`, of which `none` are found with nothing enhanced, `some` at a budget."""
    found = {NOTHING_ENHANCED: none, POINT: some, ALL_ENHANCED: objects}
    return {point: np.array([true, wrong, objects - true]) for point, true in found.items()}


def verdict(frames, clips=None):
    return judge(frames, FrameScores(F1, clips or ["a"] * len(frames)), "predictor")


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        ([frame(10, 4, 9)] * 30, r"worth it: 10 % of the macroblocks bring 88 % of the gain \(0\.88–0\.88\)"),
        ([frame(10, 4, 5)] * 30, r"not worth it: 10 % of the macroblocks bring only 22 % of the gain .*"),
        ([frame(10, 10, 10)] * 30, "not worth it: 1.000 with nothing enhanced"),
        ([frame(50, 49, 50)] * 30, "not worth it: 0.990 with nothing enhanced"),
        ([frame(10, 4, 9)] * 15, "cannot tell: 15 frames, fewer than 20; .*more video"),
        ([frame(0, 0, 0)] * 30, "cannot tell: none of the 30 frames has a reference object, so F1 says nothing.*"),
        ([frame(3, 0, 3)] * 4 + [frame(0, 0, 0)] * 30, "cannot tell: only 4 of 34 frames have an object, .*"),
        ([frame(10, 4, 9), frame(10, 4, 4)] * 15, r"cannot tell: 10 % .* bring 51 % of the gain .*more frames"),
        ([frame(9, 9, 9)] * 27 + [frame(9, 1, 9)] * 3, r"cannot tell: 0\.9\d\d with nothing enhanced, .*"),
    ],
)
def test_the_verdict_is_one_line_with_its_reason(frames, text):
    found = verdict(frames)
    assert found.text.startswith(found.answer)
    assert re.fullmatch(text, found.text), found.text


@given(
    st.lists(st.integers(0, 5).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n)))),
    st.integers(0, 40),
)
def test_few_frames_and_few_objects_never_get_an_answer(rows, empty):
    frames = [frame(*row) for row in rows] + [frame(0, 0, 0)] * empty
    with_objects = sum(row[0] > 0 for row in rows)
    if frames and (len(frames) < FEWEST_FRAMES or with_objects < FEWEST_FRAMES_WITH_OBJECTS):
        assert verdict(frames).answer == "cannot tell"


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60))
def test_a_block_has_frames_of_one_clip_only(clips):
    clips = sorted(clips)
    blocks = blocks_of(clips)
    assert blocks == sorted(blocks)
    assert set(blocks) == set(range(max(blocks) + 1))
    for block in set(blocks):
        of_block = [clip for clip, number in zip(clips, blocks, strict=True) if number == block]
        assert len(set(of_block)) == 1
        assert len(of_block) <= round(clips.count(of_block[0]) ** (1 / 3)) or len(of_block) == 1


def test_blocks_of_frames_that_look_alike_widen_the_interval():
    frames = [frame(10, 4, 9)] * 15 + [frame(10, 4, 5)] * 15
    one_each, one = [str(number) for number in range(30)], ["a"] * 30  # clips: blocks of 1 and of 3 frames
    alone, blocks = (FrameScores(F1, clips).gain_and_share(frames, POINT)[1] for clips in (one_each, one))
    assert alone.value == blocks.value
    assert np.ptp(blocks.interval_95) > 1.5 * np.ptp(alone.interval_95)


def test_frames_in_which_nothing_is_found_make_no_interval():
    scores = FrameScores(F1, ["a"] * 30)
    told, nothing = frame(10, 4, 9), frame(0, 0, 0)
    for with_objects in (5, 12, 13):  # of blocks of three frames: 2, 4, 5
        lead = scores.lead_at([told] * with_objects + [nothing] * (30 - with_objects), POINT)
        assert lead.has_interval == (with_objects > 12)
    assert not bootstrap_scores([told] * 4 + [nothing] * 6).all.has_interval
    assert bootstrap_scores([told] * 5).all.has_interval


def test_no_text_has_bounds_that_are_not_known():
    scores = FrameScores(F1, ["a"] * 4)
    counts = [{**frame(10, 4, 9), CurvePoint("static", 0.1): np.array([5, 0, 5])}] * 4
    texts = [against_static(counts, scores, "predictor", 0.1), helping({"it": scores.lead_at(counts, POINT)})[1]]
    for text in texts:
        assert "nan" not in text
        assert "too few frames for an interval" in text


def test_the_lead_of_counts_and_that_of_points_are_one():
    frames = [frame(10, 4, 9)] * 15 + [frame(10, 4, 5)] * 15
    scores = FrameScores(F1, ["a"] * 30)
    some, none = ([counts[point] for counts in frames] for point in (POINT, NOTHING_ENHANCED))
    lead = scores.lead(some, none)
    assert lead == scores.lead_at(frames, POINT)
    assert lead.value == pytest.approx(scores.value(some) - scores.value(none))
    assert scores.estimate(some).value == pytest.approx(scores.value(some))


@given(st.integers(1, 5), st.integers(0, 30))
def test_frames_where_nothing_is_and_nothing_is_found_change_no_score(objects, empty):
    frames = [frame(objects, 0, objects), frame(5, 3, 4, wrong=1)] * 3
    scores, more = bootstrap_scores(frames), bootstrap_scores(frames + [frame(0, 0, 0)] * empty)
    assert (scores.none.value, scores.all.value) == (more.none.value, more.all.value)
    assert more.none.interval_95[1] < 1


def test_without_objects_scores_are_null_and_the_file_is_read_again():
    scores = bootstrap_scores([frame(0, 0, 0)] * 3)
    result = EvaluationResult("f1", 3, scores, None, 0, 0, {"predictor": verdict([frame(0, 0, 0)] * 3)})
    written = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert (written["none"], written["all"], written["curves"]["predictor"]["0.1"]) == (None, None, None)
    assert written["recovered"]["predictor"]["0.1"] is None
    assert "says nothing" in written["reason"]
    assert EvaluationResult.from_dict(written).to_dict() == written
    assert EvaluationResult.from_dict(written).verdict == verdict([frame(0, 0, 0)] * 3)


@pytest.mark.parametrize(
    ("static", "says"),
    [
        (5, r"; its score is \+0\.400 \(\+0\.400 to \+0\.400\) above that of the static map$"),
        (9, r"; but this predictor is not shown to be worth its time: its score is \+0\.000 .* costs nothing"),
        (10, r"; but this predictor is not worth its time: its score is -0\.\d+ .* costs nothing"),
    ],
)
def test_a_predictor_is_worth_its_time_only_above_the_static_map(static, says):
    found = {NOTHING_ENHANCED: 4, POINT: 9, CurvePoint("static", 0.1): static, ALL_ENHANCED: 10}
    counts = {point: np.array([true, 10 - true, 10 - true]) for point, true in found.items()}
    assert re.search(says, verdict([counts] * 30).text)
    assert "static map" not in judge([counts] * 30, FrameScores(F1, ["a"] * 30), "static").text


@pytest.fixture(scope="module")
def cameras(tmp_path_factory, detector):
    """Two cameras; the second frame of each has no object."""
    dataset = fill_cameras(tmp_path_factory.mktemp("cameras"), {"gate": 3, "yard": 4}, empty=(1,))
    make_importance(dataset, detector.settings, "product", "hr_images")
    return dataset


def test_every_clip_has_its_result_and_empty_frames_are_counted(cameras, detector):
    result = evaluate(cameras, cameras.split_frames("test"), detector, "hr_images", (0.1, 0.4))
    assert (result.frames, result.frames_with_objects, result.objects) == (7, 5, 10)
    assert {clip: (of.frames, of.frames_with_objects) for clip, of in result.clips.items()} == {
        "gate": (3, 2),
        "yard": (4, 3),
    }
    alone = evaluate(cameras, cameras.frames("yard"), detector, "hr_images", (0.1, 0.4))
    assert alone.clips["yard"] == result.clips["yard"]
    assert EvaluationResult.from_dict(json.loads(json.dumps(result.to_dict()))).to_dict() == result.to_dict()


def test_without_objects_formulas_and_reuse_have_no_figure_either(detector, tmp_path):
    dataset = fill_cameras(tmp_path, {"gate": 3}, empty=range(3))
    frames = dataset.frames("gate")
    make_importance(dataset, detector.settings, "product", "hr_images")
    compared = compare_formulas(dataset, frames, detector, "hr_images", ["product", "gradient"], [0.1], greedy=1)
    assert (compared["none"], compared["difference"]["gradient"]["mean"]) == (None, None)
    assert formulas_table(compared).startswith("cannot tell: none of the 3 frames has a reference object")
    policies = {"every 1": ReusePolicy(1)}
    reused = evaluate_reuse(dataset, frames, detector, "hr_images", 0.1, lambda lr: np.zeros((3, 4)), policies)
    assert (reused["none"], reused["policies"]["every 1"]["score"], reused["frames_with_objects"]) == (None, None, 0)
    assert reuse_table(reused).startswith("cannot tell: none of the 3 frames has a reference object")
    json.dumps([compared, reused], allow_nan=False)
    evaluated = evaluate(dataset, frames, detector, "hr_images", (0.1,))
    for figure in (reuse_figure(reused), curves_figure(evaluated)):
        assert "no frame has a reference object" in [text.get_text() for text in figure.axes[0].texts]


def test_plots_name_the_clip_and_the_model_and_have_one_scale(cameras, detector):
    predict = {"predictor": lambda lr: np.zeros((3, 4))}
    both = evaluate(cameras, cameras.split_frames("test"), detector, "hr_images", (0.1, 0.4), predict)
    both = replace(both, names={"predictor": "mb_nano"})
    axes = curves_figure(both).axes[0]
    assert axes.get_title("left") == "gate, yard"
    assert "mb_nano" in axes.get_legend_handles_labels()[1]
    assert axes.get_ylim()[0] == 0
    alone = evaluate(cameras, cameras.frames("gate"), detector, "hr_images", (0.1, 0.4), predict)
    assert curves_figure(alone).axes[0].get_ylim() == axes.get_ylim()
    rows = clips_table(both).splitlines()
    assert "mb_nano, 10 %" in rows[0]
    assert [row.split()[0] for row in rows[1:]] == ["gate", "yard"]
