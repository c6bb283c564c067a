import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from deploy import trt_infer
from deploy.backends.onnxruntime import OnnxRuntimePredictor
from deploy.export.static_map import export_flat_map
from regenhance_data.dataset.importance_file import read_importance
from regenhance_data.errors import InputError
from tests.support.files import ROOT, encode, noise
from tests.support.predictors import HEIGHT, WIDTH, write_red_predictor
from tests.support.videos import cut_in_the_middle, encode_as

FRAMES = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_red_predictor(tmp_path_factory.mktemp("model") / "red.onnx")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Three videos of frames of the model's size, the second without a key frame's end: cut in the middle."""
    folder = tmp_path_factory.mktemp("videos")
    made = [encode(folder / f"{name}.mp4", noise(FRAMES, HEIGHT, WIDTH, seed)) for seed, name in enumerate("abc")]
    cut = cut_in_the_middle(made[1], folder / "cut.mkv")
    return [made[0], cut, made[2]]


def infer(model, videos, save_dir, *flags):
    words = ["--model", model, "--video", *videos, "--save_dir", save_dir, "--backend", "onnxruntime", *flags]
    trt_infer.main(trt_infer.make_parser().parse_args([str(word) for word in words]))


def interrupt_after(monkeypatch, batches: int) -> list[int]:
    """Let Ctrl-C come after so many batches; returns a list that gets a 1 for each batch that is predicted."""
    predicted, predict = [], OnnxRuntimePredictor.predict

    def counting(self, frames):
        predicted.extend([1] * len(frames))
        if len(predicted) > batches:
            raise KeyboardInterrupt
        return predict(self, frames)

    monkeypatch.setattr(OnnxRuntimePredictor, "predict", counting)
    return predicted


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.parametrize("flags", [[], ["--no_overlay"], ["--every", 3], ["--change", 0.02], ["--streams", 2]])
def test_an_interrupted_run_goes_on_where_it_was(model, videos, tmp_path, monkeypatch, capsys, flags):
    infer(model, videos[:1], tmp_path / "whole", *flags)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(KeyboardInterrupt, match=rf"kept \d+ of {FRAMES} frames; give the command again") as told:
            infer(model, videos[:1], tmp_path / "again", *flags)
    kept = int(str(told.value).split()[1])
    assert 0 < kept < FRAMES
    assert names(tmp_path / "again") == [".kept-importance.f32", ".kept-importance.json"]
    capsys.readouterr()
    with monkeypatch.context() as patch:
        predicted = interrupt_after(patch, FRAMES)
        infer(model, videos[:1], tmp_path / "again", *flags)
    assert len(predicted) <= FRAMES - kept
    assert f"{kept} frames are kept from an interrupted run" in capsys.readouterr().out
    assert names(tmp_path / "again") == names(tmp_path / "whole")
    for name in names(tmp_path / "whole"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("change", ["model", "video", "reuse"])
def test_what_another_model_video_or_reuse_predicted_is_not_kept(model, videos, tmp_path, monkeypatch, change, capsys):
    mine = tmp_path / "v.mp4"
    mine.write_bytes(videos[0].read_bytes())
    other = write_red_predictor(tmp_path / "red.onnx")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            infer(model, [mine], tmp_path / "out")
    if change == "video":
        mine.write_bytes(videos[2].read_bytes())
    capsys.readouterr()
    flags = ["--every", 2] if change == "reuse" else []
    infer(other if change == "model" else model, [mine], tmp_path / "out", *flags)
    assert "kept" not in capsys.readouterr().out
    assert names(tmp_path / "out") == ["importance.npz", "overlay.mp4"]


def test_a_killed_run_loses_no_frame_and_leaves_nothing_after_the_next(model, videos, tmp_path):
    words = ["deploy/trt_infer.py", "--model", model, "--video", videos[0], "--save_dir", tmp_path / "out"]
    slow = "import time; from deploy import trt_infer; from deploy.backends.openvino import OpenVinoPredictor as P\n"
    slow += "predict = P.predict\nP.predict = lambda *a: (time.sleep(0.4), predict(*a))[1]\n"
    slow += "trt_infer.main(trt_infer.make_parser().parse_args())"
    process = subprocess.Popen([sys.executable, "-c", slow, *map(str, words[1:])], cwd=ROOT)
    kept = tmp_path / "out" / ".kept-importance.f32"
    deadline = time.monotonic() + 60
    while not (kept.is_file() and kept.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert kept.stat().st_size
    with kept.open("ab") as file:
        file.write(b"xy")  # as if it was killed while writing
    (tmp_path / "out" / f".writing-{process.pid}-overlay.mp4").touch()  # a longer video has some of it by now
    told = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "kept from an interrupted run" in told
    assert names(tmp_path / "out") == ["importance.npz", "overlay.mp4"]
    infer(model, videos[:1], tmp_path / "whole")
    found, expected = (read_importance(tmp_path / name / "importance.npz")[0] for name in ("out", "whole"))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_signal_is_received_after_engines_were_loaded_and_given_up(model, backend):
    """In a process of its own: a stack for signals that is no longer there ends the process."""
    code = "import signal, sys\nfrom deploy.runtime import load_predictor\n"
    code += "first = load_predictor(*sys.argv[1:])\nsecond = load_predictor(*sys.argv[1:])\ndel first, second\n"
    code += "signal.signal(signal.SIGTERM, lambda number, frame: print('received', number))\n"
    code += "signal.raise_signal(signal.SIGTERM)"
    words = [sys.executable, "-c", code, str(model), backend]
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "received 15\n"), result.stderr


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 2], [2, 0, 1]])
def test_a_broken_video_does_not_lose_the_results_of_the_others(model, videos, tmp_path, order):
    with pytest.raises(InputError, match=r"cut\.mkv: damaged or cut short.*; the others are done") as told:
        infer(model, [videos[number] for number in order], tmp_path)
    assert "\n" not in str(told.value)
    expected = [name for clip in "ac" for name in (clip, "importance.npz", "overlay.mp4")]
    assert names(tmp_path) == sorted(expected)
    for clip in "ac":
        assert len(read_importance(tmp_path / clip / "importance.npz")[0]) == FRAMES


def test_videos_of_another_shape_are_named_and_the_others_are_done(model, videos, tmp_path):
    wrong = [encode(tmp_path / f"{name}.mp4", noise(2, 64, 64)) for name in ("square", "box")]
    with pytest.raises(InputError, match=r"square\.mp4: has 64x64 .*box\.mp4: has 64x64 .*; the others are done"):
        infer(model, [wrong[0], videos[0], wrong[1]], tmp_path / "out")
    assert names(tmp_path / "out") == ["a", "importance.npz", "overlay.mp4"]


def test_a_video_of_which_no_frame_can_be_shown_is_named_and_the_others_are_done(model, videos, tmp_path):
    odd = encode_as(tmp_path / "odd.mp4", noise(2, HEIGHT, WIDTH), matrix_of_colours=8)
    with pytest.raises(InputError, match=r"odd\.mp4: has colours .*YCgCo.*; the others are done"):
        infer(model, [odd, videos[0]], tmp_path / "out")
    assert names(tmp_path / "out") == ["a", "importance.npz", "overlay.mp4"]


def test_an_overlay_shows_the_importance_beside_it_or_is_removed(model, videos, tmp_path):
    infer(model, videos[:1], tmp_path)
    infer(model, videos[2:], tmp_path, "--no_overlay", "--max_frames", 3)
    assert names(tmp_path) == ["importance.npz"]
    assert len(read_importance(tmp_path / "importance.npz")[0]) == 3


def test_a_flat_map_outlines_nothing_and_says_so(videos, tmp_path, capsys):
    export_flat_map((HEIGHT, WIDTH), 3, tmp_path / "flat.onnx")
    for budget in (0.1, 0.9):
        infer(tmp_path / "flat.onnx", videos[:1], tmp_path / str(budget), "--budget", budget)
        assert "is a flat map: all macroblocks are alike, so none is outlined" in capsys.readouterr().err
    overlays = [(tmp_path / name / "overlay.mp4").read_bytes() for name in ("0.1", "0.9")]
    assert overlays[0] == overlays[1]


def test_a_second_run_into_a_folder_is_refused_before_the_model_is_read(videos, tmp_path):
    from regenhance_data.io.files import locked

    with locked(tmp_path / "out" / ".lock"), pytest.raises(InputError, match="another run is working there"):
        infer("absent.onnx", videos[:1], tmp_path / "out")


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_model_is_read(videos, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=f"--save_dir {tmp_path}/file: cannot be written to"):
        infer("absent.onnx", videos[:1], tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]
