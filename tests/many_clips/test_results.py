import numpy as np
import pytest

from regenhance_data.errors import InputError
from regenhance_data.evaluation.bootstrap import ALL_ENHANCED, NOTHING_ENHANCED, CurvePoint
from regenhance_data.evaluation.kept import EvaluatedCounts, read_counts, write_counts
from regenhance_data.many_clips.results import MeasuredClip, comparison_rows, headline, score_rows, summarise

MODELS = {"own": ["own0.onnx", "own1.onnx"]}


def measured(clip, found, frames=27, objects=10):
    """A clip in whose frames `found` objects are found at each curve, of 10; one less in three frames of six."""
    found = {"static": 5, "oracle": 8, **found}
    counts = {}
    for number in range(frames):
        less = number % 6 < 3
        true = {CurvePoint(curve, 0.1): max(some - less, 0) for curve, some in found.items()}
        true |= {NOTHING_ENHANCED: 2 - less, ALL_ENHANCED: 10}
        counts[f"{clip}/{number}"] = {p: np.array([some, 0, 10 - some]) * (objects > 0) for p, some in true.items()}
    return MeasuredClip(clip, EvaluatedCounts("f1", {"predictor": "own0.onnx", "own1": "own1.onnx"}, counts), MODELS)


def test_a_way_is_the_mean_of_its_seeds_paired_with_the_static_map_and_the_oracle():
    result = summarise([measured("a", {"predictor": 6, "own1": 8})], ["a"], {})
    (clip,) = result.clips
    own, scores = clip.ways["own"][0.1], clip.scores
    assert own.score.value == pytest.approx(np.mean(own.seeds))
    assert own.seeds[1] == pytest.approx(scores["oracle"][0.1].value)
    assert own.above_static.value == pytest.approx(own.score.value - scores["static"][0.1].value)
    low, high = own.above_static.interval_95
    assert 0 < low <= own.above_static.value <= high
    assert high - low < 0.5 * np.subtract(*own.score.interval_95[::-1]), "both vary together"
    assert own.of_oracle.value == pytest.approx(own.score.value / scores["oracle"][0.1].value)
    assert (clip.frames, clip.blocks) == (27, 9)


def test_the_mean_leaves_out_clips_that_failed_or_have_no_object():
    some = [measured("a", {"predictor": 6, "own1": 6}), measured("b", {"predictor": 8, "own1": 8})]
    empty = measured("empty", {"predictor": 0, "own1": 0}, objects=0)
    result = summarise([*some, empty], ["b", "a", "empty", "torn"], {"torn": "is torn"})
    assert [clip.clip for clip in result.clips] == ["b", "a", "empty", "torn"]
    each = {clip.clip: clip.ways["own"][0.1].score.value for clip in result.clips if clip.ways}
    assert result.mean.ways["own"][0.1].score.value == pytest.approx((each["a"] + each["b"]) / 2)
    assert result.mean.frames == 54
    assert [row[0] for row in score_rows(result)] == ["clip", "b", "a", "empty", "mean"]
    assert [row[0] for row in comparison_rows(result)] == ["clip", "b", "a", "mean"]
    assert headline(result).startswith("2 clips, 10% of the macroblocks enhanced. own: F1 0.")
    assert result.to_dict()["clips"][2]["ways"]["own"]["0.1"]["value"] is None


def test_the_mean_has_no_interval_where_one_of_its_clips_has_none():
    some = {"predictor": 6, "own1": 7}
    result = summarise([measured("a", some), measured("b", some, frames=6)], ["a", "b"], {})
    assert result.clips[0].ways["own"][0.1].above_static.has_interval
    assert not result.mean.ways["own"][0.1].above_static.has_interval
    assert "nan" not in headline(result)
    assert "too few frames for an interval" in headline(result)
    assert result.to_dict()["mean"]["ways"]["own"]["0.1"]["interval_95"] is None


def test_two_clips_draw_other_blocks():
    result = summarise([measured(name, {"predictor": 6, "own1": 6}) for name in "ab"], ["a", "b"], {})
    widths = [np.subtract(*clip.ways["own"][0.1].score.interval_95) for clip in (result.clips[0], result.mean)]
    assert widths[1] / widths[0] == pytest.approx(1 / np.sqrt(2), rel=0.15)


def floats(frames):
    return {name: {point: some.astype(float) for point, some in counts.items()} for name, counts in frames.items()}


def test_counts_are_read_as_they_were_written_and_nothing_else_is(tmp_path):
    counts = measured("a", {"predictor": 6, "own1": 8}, frames=2).counts
    write_counts(tmp_path / "counts.json", counts)
    read = read_counts(tmp_path / "counts.json")
    assert (read.metric, read.models, str(read.frames)) == (counts.metric, counts.models, str(floats(counts.frames)))
    (tmp_path / "counts.json").write_text('{"metric": "f1", "models": {}, "frames": {}}')
    with pytest.raises(InputError, match="is not a counts"):
        read_counts(tmp_path / "counts.json")
