import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.importance_file import read_importance
from regenhance_data.errors import InputError
from regenhance_data.io.images import write_image
from regenhance_data.regions.reuse import ReusePolicy, shots_of
from regenhance_data.stages.make_importance import make_importance
from tests.support.detectors import squares
from tests.support.files import encode, noise
from tests.support.predictors import write_predictor

FLAT = np.zeros((20, 30, 3), np.uint8)


@given(st.integers(1, 9), st.integers(1, 30))
def test_every_nth_frame_is_due(every, count):
    reuse = ReusePolicy(every).start()
    assert [reuse.is_due(FLAT) for _ in range(count)] == [number % every == 0 for number in range(count)]
    assert (reuse.seen, reuse.predicted) == (count, -(-count // every))


@given(st.lists(st.integers(0, 255), min_size=1, max_size=20), st.floats(0, 1))
def test_a_frame_is_predicted_when_it_has_changed_enough_since_the_last_predicted_one(brightness, change):
    reuse, last = ReusePolicy(None, change).start(), None
    for value in brightness:
        is_due = reuse.is_due(FLAT + np.uint8(value))
        assert is_due == (last is None or abs(value - last) > 255 * change)
        last = value if is_due else last


def test_a_clip_starts_without_the_frames_of_another():
    policy = ReusePolicy(3)
    first, second = policy.start(), policy.start()
    assert [first.is_due(FLAT) for _ in range(2)] == [True, False]
    assert second.is_due(FLAT)
    assert (first.seen, second.seen) == (2, 1)


@given(st.lists(st.integers(2, 9), min_size=1, max_size=5), st.integers(1, 4))
def test_a_gap_ends_a_shot_also_where_only_every_nth_frame_is_there(lengths, every):
    numbers = [every * (100 * shot + at) for shot, length in enumerate(lengths) for at in range(length)]
    assert shots_of(numbers) == [shot for shot, length in enumerate(lengths) for _ in range(length)]


def test_gaps_end_shots_also_where_they_are_the_most_frequent_step():
    clip = [2 * at for at in range(60)]
    assert shots_of([0, 10, 108, 206], clip, every=5) == [0, 0, 1, 2]


def test_one_frame_more_is_no_gap():
    assert shots_of([0, 5, 10, 15, 16, 21, 40]) == [0, 0, 0, 0, 0, 0, 1]


def test_with_both_whichever_comes_first():
    reuse = ReusePolicy(3, 0.1).start()
    values = [0, 0, 200, 200, 200, 200]
    assert [reuse.is_due(FLAT + np.uint8(value)) for value in values] == [True, False, True, False, False, True]


@pytest.mark.parametrize(("every", "change"), [(0, None), (None, None), (None, -0.1), (None, 1.5), (1, float("nan"))])
def test_what_is_no_policy_is_refused(every, change):
    with pytest.raises(InputError):
        ReusePolicy(every, change)


@pytest.mark.slow
def test_the_curve_has_every_policy_and_each_clip_begins_with_a_prediction(run, refused, detector, tmp_path):
    for clip in ("a", "b"):
        for number in range(6) if clip == "a" else (0, 1, 2, 9, 10, 11):  # a gap begins anew
            clear = squares(100, 140, (number * 8, 40, (160, 0, 0)))
            write_image(tmp_path / "hr_images" / clip / f"{number:06d}.png", clear)
            write_image(tmp_path / "origin_images" / clip / f"{number:06d}.png", clear[::2, ::2])
    dataset = Dataset.open(tmp_path)
    dataset.save(scale=2, clips={clip: {"frame_rate": 10.0} for clip in ("a", "b")})
    make_importance(dataset, detector.settings, "product", "hr_images")
    model = write_predictor(tmp_path / "model.onnx", (50, 70))
    flags = ("--data", tmp_path, "--model", model, "--split", "all", "--save_dir", tmp_path / "r")
    said = run("tools/evaluate_reuse.py", *flags, "--every", 1, 4, "--change", 0.9).stdout
    result = json.loads((tmp_path / "r" / "reuse.json").read_text())
    rows = result["policies"]
    assert {name: row["predictions"] for name, row in rows.items()} == {"every 1": 12, "every 4": 4, "change 0.9": 3}
    assert rows["every 1"]["predictions_per_s"] == pytest.approx(10)
    assert all(low <= row["score"] <= high for row in rows.values() for low, high in [row["interval_95"]])
    assert "every 4" in said
    assert (tmp_path / "r" / "reuse.png").stat().st_size > 10_000
    assert "--every 0" in refused("tools/evaluate_reuse.py", *flags, "--every", 0)
    assert "--budget 2.0" in refused("tools/evaluate_reuse.py", *flags, "--budget", 2)


def test_a_video_is_predicted_now_and_then(run, refused, tmp_path):
    model = write_predictor(tmp_path / "model.onnx", (64, 96))
    video = encode(tmp_path / "camera.mp4", noise(7, 64, 96))
    flags = ("--model", model, "--video", video, "--save_dir")
    said = run("deploy/trt_infer.py", *flags, tmp_path / "some", "--every", 3).stdout
    run("deploy/trt_infer.py", *flags, tmp_path / "all")
    assert "7 frames" in said
    assert "(3 predicted, the rest reused)" in said
    assert "--every 0" in refused("deploy/trt_infer.py", *flags, tmp_path / "none", "--every", 0)
    some, whole = (read_importance(tmp_path / name / "importance.npz")[0] for name in ("some", "all"))
    np.testing.assert_array_equal(some, whole[[0, 0, 0, 3, 3, 3, 6]])
