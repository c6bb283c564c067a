"""The watch on the predictor: right ones find what is important, wrong ones are called stale."""

import json
import re
import subprocess
import sys
import threading
import urllib.request

import numpy as np
import pytest

from deploy import run_cameras
from deploy.online.cameras import CameraFrame
from deploy.online.loop import Round
from deploy.online.watch import Expected, Watch, Watched, truth_by, validation_recall
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.brokers import until
from tests.support.cameras import square_frames
from tests.support.detectors import write_detector
from tests.support.files import ROOT, encode
from tests.support.predictors import write_predictor
from tests.support.upscalers import write_repeating

HEIGHT, WIDTH, FRAMES = 64, 96, 8
GRID = MacroblockGrid(HEIGHT, WIDTH)


def frames(camera, count=FRAMES):
    lrs = [frame[::2, ::2].copy() for frame in square_frames(count, 2 * HEIGHT, 2 * WIDTH)]
    return [CameraFrame(camera, number, 0.0, lr, lr) for number, lr in enumerate(lrs)]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A predictor of brightness, an upscaler that repeats pixels and a detector of squares."""
    folder = tmp_path_factory.mktemp("parts")
    predictor = write_predictor(folder / "predictor.onnx", (HEIGHT, WIDTH))
    detector = write_detector(folder / "detector.onnx", "yolox", (2 * HEIGHT, 2 * WIDTH))
    return predictor, f"onnx:{write_repeating(folder / 'upscaler.onnx')}", f"onnx:{detector}"


@pytest.fixture(scope="module")
def truth(parts):
    detector = DetectorSettings(parts[2], max_box_area=1.0, score_threshold=0.05)
    return truth_by(UpscalerSettings(parts[1], 2), detector, parts[2], GRID, "gain")


def test_a_program_that_an_exported_file_names_is_not_opened(parts, tmp_path):
    with pytest.raises(InputError, match=r"d\.onnx: was made of torchscript:d\.ts, a program; give --detector"):
        truth_by(UpscalerSettings(parts[1], 2), DetectorSettings("torchscript:d.ts"), "onnx:d.onnx", GRID, "gain")


def watched(truth, predict, expected):
    """The recalls after a watch on every frame of one camera, each of which is awaited."""
    measured = threading.Semaphore(0)

    def counted(frame):
        measured.release()
        return truth(frame)

    watch = Watch(lambda: counted, predict, GRID, 1, expected)
    watch.start()
    for frame in frames("north"):
        watch.add(Round([frame]))
        assert measured.acquire(timeout=60)
    watch.close()
    return watch.recalls()


def test_the_true_importance_is_where_objects_are(truth):
    for frame in frames("north"):
        importance = truth(frame)
        assert importance.shape == GRID.shape
        is_empty = GRID.mean(frame.lr.astype(np.float32).sum(-1)) == 0
        assert importance.max() > 0
        assert importance.argmax() not in np.flatnonzero(is_empty)


def test_a_right_predictor_is_well_and_a_wrong_one_is_told_once(truth, capsys):
    right = watched(truth, lambda some: np.stack([truth(frame) for frame in some]), Expected(0.1, validated=0.83))
    assert right["north"].mean == 1
    assert right["north"].frames > 0
    assert "stale" not in capsys.readouterr().err
    wrong = watched(truth, lambda some: -np.stack([truth(frame) for frame in some]), Expected(0.1, validated=0.83))
    assert wrong["north"].mean < 0.2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "stale" in line]
    assert f"camera north is stale: recall {wrong['north'].mean:.2f}, was 0.83 in validation; retrain" in line


def test_nothing_is_known_of_a_camera_that_was_removed(truth):
    measured = threading.Semaphore(0)

    def counted(frame):
        measured.release()
        return truth(frame)

    watch = Watch(lambda: counted, lambda some: np.zeros((len(some), *GRID.shape)), GRID, 1, Expected(0.1))
    watch.start()
    first, *_, last = frames("north")
    watch.add(Round([first]))
    assert measured.acquire(timeout=60)
    until(watch.recalls)
    watch.add(Round([], removed=("north",)))
    assert watch.recalls() == {}
    watch.add(Round([last]))
    assert measured.acquire(timeout=60)
    until(watch.recalls)
    assert watch.recalls()["north"].frames == 1
    watch.close()


def test_stale_is_said_once_for_each_change():
    camera = Watched("north", Expected(0.1, validated=0.8))
    told = [camera.add(recall) for recall in [0.8] * 20 + [0.1] * 20 + [0.62] * 20 + [0.8] * 20]
    assert [(number, line.split(":")[0]) for number, line in enumerate(told) if line] == [
        (25, "the predictor of camera north is stale"),
        (66, "the predictor of camera north is good again"),
    ]
    camera = Watched("north", Expected(0.1))
    (line,) = [line for _ in range(9) if (line := camera.add(0.1))]
    assert "stale: recall 0.10, a random choice has 0.10; retrain" in line


def test_what_fails_turns_the_watch_off_in_one_line(parts, capsys):
    def load():
        raise InputError("D.onnx: has no gradient")

    watch = Watch(load, None, GRID, 1, Expected(0.1))
    watch.start()
    watch.add(Round(frames("north", 1)))
    watch.close()
    assert watch.recalls() == {}
    (line,) = capsys.readouterr().err.splitlines()
    assert "--watch: the watch on the predictor is off: D.onnx: has no gradient" in line


def test_the_recall_in_validation_is_that_of_the_frames_with_importance(truth):
    found = frames("north")

    def predict(some):
        return np.stack([truth(frame) for frame in some])

    def nothing(frame):
        return np.zeros(GRID.shape, np.float32)

    assert validation_recall(predict, truth, found, [0.2, 0.1]) == ((0.1, 1), (0.2, 1))
    assert validation_recall(predict, nothing, found, [0.1]) == ()


@pytest.mark.slow
def test_a_run_is_watched_and_finds_the_same(parts, tmp_path, monkeypatch):
    predictor, upscaler, detector = parts
    video = encode(
        tmp_path / "gate.mp4",
        [np.minimum(frame * 1.6, 255).astype(np.uint8) for frame in square_frames(FRAMES, HEIGHT, WIDTH)],
    )
    words = ["--video", video, "--predictor", predictor, "--upscaler", upscaler, "--detector", detector]
    words += ["--max_box_area", 1, "--files", "jsonl", "--save_dir"]
    told = []
    monkeypatch.setattr(run_cameras.console, "tell", told.append)
    for folder, flags in (("alone", ()), ("out", ("--watch", 1, "--metrics_port", 0))):
        run_cameras.main(
            run_cameras.make_parser().parse_args([*map(str, words), str(tmp_path / folder), *map(str, flags)])
        )
    words = (
        "watching the predictor on one frame in 1 of each camera: it is stale below a recall of 0.19 (a random choice"
    )
    assert any(line.startswith(words) for line in told)
    assert (tmp_path / "alone/detections.jsonl").read_bytes() == (tmp_path / "out/detections.jsonl").read_bytes()
    assert "predictor_recall" not in (tmp_path / "alone/run.json").read_text()
    run = json.loads((tmp_path / "out/run.json").read_text())
    camera = run["cameras"]["gate"]
    recall = camera["predictor_recall"]
    assert list(run["sinks"]) == ["jsonl"]
    assert 0 <= recall <= 1
    assert camera["predictor_recall_frames"] > 0
    assert "H.264 96×64" in camera["read_as"]
    address = next(
        found[1] for line in told if (found := re.match(r"metrics: (http://127\.0\.0\.1:\d+/metrics)", line))
    )
    with urllib.request.urlopen(address, timeout=5) as answer:
        found = re.search(r'^regenhance_predictor_recall\{camera="gate"\} (\S+)$', answer.read().decode(), re.MULTILINE)
    assert float(found[1]) == pytest.approx(recall, abs=1e-3)


def test_a_watch_of_less_than_every_frame_is_refused(parts, tmp_path):
    words = [
        "--video",
        "gate.mp4",
        "--predictor",
        parts[0],
        "--detector",
        "builtin",
        "--watch",
        0,
        "--save_dir",
        tmp_path,
    ]
    with pytest.raises(InputError, match="--watch 0: expected 1 to"):
        run_cameras.main(run_cameras.make_parser().parse_args(list(map(str, words))))


def test_the_watch_brings_no_torch_before_it_starts():
    code = "import sys, deploy.run_cameras, deploy.online.watch, deploy.online.outputs; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
