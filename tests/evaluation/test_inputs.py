"""What evaluations refuse before the detector is loaded, and which frames they take."""

import shutil

import numpy as np
import pytest

from regenhance_data.dataset.importance_file import write_importance
from regenhance_data.dataset.learnt_frames import warn_of_learnt_frames
from regenhance_data.dataset.records import ImportanceRecord
from regenhance_data.dataset.staleness import start_importance
from regenhance_data.detectors import loading
from regenhance_data.errors import InputError
from regenhance_data.io.images import write_image
from tests.support.cameras import fill_cameras
from tests.support.predictors import write_predictor
from tools import evaluate, evaluate_reuse


@pytest.fixture
def cameras(tmp_path, monkeypatch):
    """Two cameras of different sizes with importance; loading a detector fails the test."""
    dataset = fill_cameras(tmp_path / "d", {"gate": 2, "yard": 2}, {"yard": (48, 48)})
    for clip, cols in (("gate", 4), ("yard", 3)):
        write_importance(dataset.importance_path(clip), np.ones((2, 3, cols)), np.arange(2))
    monkeypatch.setattr(loading, "load_detector", lambda settings: pytest.fail("the detector was loaded"))
    return dataset


def refusal(command, dataset, tmp_path, *flags):
    words = ["--data", dataset.root, "--save_dir", tmp_path / "out", *flags]
    if "--detector" not in flags:
        words += ["--detector", "builtin"]
    with pytest.raises(InputError) as refused:
        command.main(command.make_parser().parse_args([str(word) for word in words]))
    assert not (tmp_path / "out").exists()
    return str(refused.value)


@pytest.mark.parametrize("command", [evaluate, evaluate_reuse])
def test_a_predictor_of_another_size_is_refused_with_the_clips_that_fit(cameras, tmp_path, command):
    fits, none = (
        write_predictor(tmp_path / f"{name}.onnx", hw) for name, hw in (("fits", (48, 64)), ("none", (32, 32)))
    )
    message = refusal(command, cameras, tmp_path, "--model", fits)
    assert "takes frames of 64x48, those of yard are 48x48; give --clips gate" in message
    assert "deploy/export_onnx.py --input_size 48 48" in message
    message = refusal(command, cameras, tmp_path, "--model", none, "--clips", "yard")
    assert "takes frames of 32x32, those of yard are 48x48; use deploy/export_onnx.py --input_size 48 48" in message


def test_clips_that_do_not_exist_or_have_no_frame_are_refused(cameras, tmp_path):
    message = refusal(evaluate, cameras, tmp_path, "--clips", "gate", "door")
    assert message.startswith("--clips door: ")
    assert message.endswith("there are: gate, yard")
    cameras.write_split("test", cameras.frames("gate"))
    assert "use --split all" in refusal(evaluate, cameras, tmp_path, "--clips", "yard")


def test_every_nth_frame_is_taken_of_each_clip(tmp_path):
    dataset = fill_cameras(tmp_path / "d", {"gate": 5, "yard": 4})
    chosen = dataset.chosen_frames("all", None, 2)
    assert {clip: [frame.number for frame in some] for clip, some in chosen.items()} == {
        "gate": [0, 2, 4],
        "yard": [0, 2],
    }


def test_true_boxes_are_of_one_clip(cameras, tmp_path):
    truth = tmp_path / "truth.json"
    truth.write_text('{"classes": [], "frames": {}}')
    message = refusal(evaluate, cameras, tmp_path, "--truth", truth)
    assert message == "--truth: is of one clip, these frames are of several; give --clips one"


@pytest.mark.parametrize("makes_new_ones", [True, False])
def test_earlier_counts_do_not_stay_beside_other_results(tmp_path, capsys, makes_new_ones):
    path = tmp_path / "counts.json"
    evaluate.remove_earlier_counts(path, makes_new_ones)
    assert not capsys.readouterr().out
    path.touch()
    evaluate.remove_earlier_counts(path, makes_new_ones)
    assert not path.exists()
    assert ("is removed; --counts writes a new one" in capsys.readouterr().out) != makes_new_ones


def test_what_is_missing_is_refused(cameras, tmp_path):
    path = cameras.path("hr_images", cameras.frames("yard")[1])
    path.rename(path.with_suffix(".bak"))
    assert "no such HR frame (1 of 4 are missing, of " in refusal(evaluate, cameras, tmp_path)
    path.with_suffix(".bak").rename(path)
    cameras.importance_path("yard").unlink()
    assert "yard.npz" in refusal(evaluate, cameras, tmp_path)
    shutil.rmtree(cameras.root / "importance")
    model = write_predictor(tmp_path / "m.onnx", (48, 64))
    for command in (evaluate, evaluate_reuse):
        args = command.make_parser().parse_args(
            ["--data", str(cameras.root), "--save_dir", str(tmp_path / "out"), "--model", str(model)]
        )
        with pytest.raises(InputError, match="--detector is missing; give one of"):
            command.main(args)


def test_importance_of_other_frames_is_refused(cameras, tmp_path):
    made = ImportanceRecord("path", "hr_images", cameras.scale, cameras.mb_size)
    files = [cameras.importance_path(clip) for clip in cameras.clips()]
    contents = [file.read_bytes() for file in files]
    for file in files:  # what is recorded is that of files yet to be made
        file.unlink()
    start_importance(cameras, {"spec": "builtin"}, made)
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    write_image(cameras.path("hr_images", cameras.frames("yard")[0]), np.zeros((96, 96, 3), np.uint8))
    assert "yard.npz: was made from other frames; run" in refusal(evaluate, cameras, tmp_path)


def test_frames_that_a_predictor_has_learnt_from_are_counted(cameras, capsys):
    frames = cameras.frames("gate") + cameras.frames("yard")
    warn_of_learnt_frames(cameras, frames)
    assert capsys.readouterr().err == ""
    cameras.write_split("train", frames[:1])
    cameras.write_split("val", frames[3:])
    warn_of_learnt_frames(cameras, frames)
    assert "2 of 4 frames are of train.txt and val.txt: predictors" in capsys.readouterr().err
    warn_of_learnt_frames(cameras, frames[3:])
    assert "1 of 1 frames are of val.txt: predictors that were trained with them score" in capsys.readouterr().err
