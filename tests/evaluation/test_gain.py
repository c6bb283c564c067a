"""The estimate of what enhancement could gain, before anything is made."""

import json
import re
import shutil

import numpy as np
import pytest

from regenhance_data.errors import InputError
from regenhance_data.evaluation.gain import (
    GainFrame,
    estimate_gain,
    gain_frames_of_dataset,
    gain_frames_of_video,
    gain_table,
)
from tests.support.cameras import fill_cameras, square_frames
from tests.support.files import encode, noise
from tests.support.upscalers import write_changed
from tools import estimate_gain as command


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Originals of 192×288: dim squares that do not survive shrinking."""
    frames = square_frames(40, 192, 288)
    return encode(tmp_path_factory.mktemp("video") / "camera.mp4", frames, pixel_format="yuv444p")


def estimated(path, detector, upscale=None, is_lr=False):
    return estimate_gain(gain_frames_of_video(path, 24, 3, is_lr), detector, 3, upscale)


def test_originals_whose_objects_shrinking_hides_are_worth_enhancing(video, detector):
    estimate = estimated(video, detector)
    assert (estimate.reference, estimate.is_upscaled, estimate.lr_height) == ("originals", False, 64)
    assert estimate.frames == estimate.frames_with_objects >= 20
    content = estimate.to_dict()
    assert content["none"] < 0.5
    assert content["all"] == 1
    assert content["verdict"]["text"].startswith("cannot tell: there is room for a gain, and no upscaler was tried: ")
    assert f"{content['none']:.3f}" in gain_table(estimate)


def test_an_upscaler_that_adds_nothing_is_not_worth_it_and_the_originals_are_named(video, detector):
    white = estimated(video, detector, lambda lr: np.full((1, lr.shape[1] * 3, lr.shape[2] * 3, 3), 255, np.uint8))
    assert white.verdict.answer == "not worth it"
    assert "the originals would gain" in white.verdict.text


def test_of_lr_frames_the_upscaler_is_the_reference_and_the_verdict_says_so(video, detector):
    estimate = estimated(video, detector, lambda lr: lr.repeat(3, 1).repeat(3, 2), is_lr=True)
    assert (estimate.reference, estimate.scores.all.value, estimate.lr_height) == ("upscaled", 1, 192)
    assert estimate.gain.value > 0
    assert estimate.verdict.answer != "worth it"
    assert re.search("fewer than|against the upscaler's own frames", estimate.verdict.text)
    with pytest.raises(InputError, match="no HR frames; give --upscaler"):
        estimated(video, detector, is_lr=True)


def test_an_empty_camera_gives_no_figure_but_the_reason(detector, tmp_path):
    empty = encode(tmp_path / "empty.mp4", square_frames(30, 192, 288, range(30)), pixel_format="yuv444p")
    estimate = estimated(empty, detector)
    content = json.loads(json.dumps(estimate.to_dict(), allow_nan=False))
    assert (content["none"], content["all"], content["gain"]) == (None, None, None)
    assert content["verdict"]["answer"] == "cannot tell"
    assert estimate.ignored == 0


def test_boxes_that_are_only_too_large_are_counted(detector):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:32, :32] = (255, 0, 0)  # a box of half the frame's height
    before = detector.settings
    try:
        detector.settings = type(before)(**{**vars(before), "max_box_area": 0.01})
        estimate = estimate_gain([GainFrame(np.zeros((24, 32, 3), np.uint8), image, None)], detector, 2)
    finally:
        detector.settings = before
    assert estimate.frames_with_objects == 0
    assert estimate.ignored > 0
    assert "--max_box_area 1" in command.where_to_look(estimate)


def test_a_dataset_is_sampled_over_all_its_clips(detector, tmp_path):
    dataset = fill_cameras(tmp_path, {"gate": 5, "yard": 15})
    frames = list(gain_frames_of_dataset(dataset, 4))
    assert len(frames) == 4
    assert estimate_gain(frames, detector, 2).reference == "originals"
    assert len(list(gain_frames_of_dataset(dataset, 99))) == 20


def test_where_some_clips_have_originals_these_alone_are_the_reference(detector, tmp_path, capsys):
    dataset = fill_cameras(tmp_path, {"gate": 4, "yard": 12})
    for clip in dataset.clips():  # all are super-resolved, as docs/dataset.md says
        shutil.copytree(tmp_path / "hr_images" / clip, tmp_path / "sr_images" / clip)
    shutil.rmtree(tmp_path / "hr_images" / "gate")
    frames = list(gain_frames_of_dataset(dataset, 99))
    assert [frame.clip for frame in frames] == ["yard"] * 12
    assert "4 of 16 frames have no original and are left out" in capsys.readouterr().out
    estimate = estimate_gain(frames, detector, 2)
    assert (estimate.reference, estimate.is_upscaled, len(estimate.rows)) == ("originals", True, 4)
    (tmp_path / "sr_images" / "yard" / "000003.png").unlink()
    assert not estimate_gain(gain_frames_of_dataset(dataset, 99), detector, 2).is_upscaled


def test_a_video_too_small_to_be_shrunk_is_refused(tmp_path):
    small = encode(tmp_path / "small.mp4", square_frames(3, 64, 96))
    with pytest.raises(InputError, match=r"small.mp4: has frames of 96x64, too small to be .*--video_is lr"):
        list(gain_frames_of_video(small, 3, 3, False))


@pytest.mark.slow
def test_the_command_writes_json_and_plot_and_says_what_comes_next(video, detector_file, tmp_path, capsys):
    words = ["--video", video, "--detector", f"onnx:{detector_file}", "--video_is", "original", "--save_dir", tmp_path]
    words += ["--jpeg_quality", 75]
    command.main(command.make_parser().parse_args([str(word) for word in words]))
    out = capsys.readouterr().out
    written = json.loads((tmp_path / "estimate.json").read_text())
    assert written["verdict"]["text"] in out
    assert "taken as originals" in out
    assert "give the same command --upscaler general, or one of yours" in out
    assert "--height 64 --keep_hr --jpeg_quality 75" in out
    assert (tmp_path / "estimate.png").stat().st_size > 5000


def test_the_command_says_what_it_read_and_refuses_an_upscaler_of_another_range(detector_file, tmp_path, capsys):
    upscaler = write_changed(tmp_path / "255.ts", "of its range", scale=3, white=255.0)
    video = encode(tmp_path / "camera.mp4", noise(3, 480, 640))
    words = ["--video", video, "--detector", f"onnx:{detector_file}", "--video_is", "original", "--frames", 3]
    words += ["--upscaler", f"torchscript:{upscaler}"]
    with pytest.raises(InputError, match=r"unlike the LR frame .* give --upscaler_pixel_range 255$"):
        command.main(command.make_parser().parse_args([str(word) for word in words]))
    out = capsys.readouterr().out
    for read in (video, detector_file, upscaler):
        assert f"{read}: read as " in out
    command.main(command.make_parser().parse_args([*map(str, words), "--upscaler_pixel_range", "255"]))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--detector", "builtin", "--frames", "0"], "--frames 0: expected at least 1"),
        (["--detector", "builtin", "--scale", "9"], "--scale 9: expected a whole number from 2 to 8"),
        (["--detector", "builtin", "--upscaler", "magic"], "--upscaler magic: no such upscaler"),
        (["--detector", "builtin"], "no such video"),
        ([], "--detector is missing"),
    ],
)
def test_bad_flags_are_refused(tmp_path, flags, words):
    args = command.make_parser().parse_args(["--video", str(tmp_path / "no.mp4"), *flags])
    with pytest.raises(InputError) as refused:
        command.main(args)
    assert words in str(refused.value)
