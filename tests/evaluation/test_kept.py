"""An evaluation that was interrupted goes on where it was."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from regenhance_data.evaluation.evaluate import evaluate
from regenhance_data.evaluation.kept import KEPT_FILE, KeptCounts, inputs_digest
from regenhance_data.evaluation.record import EvaluatedModel, InputSettings
from regenhance_data.io.files import sha256
from regenhance_data.stages.make_importance import make_importance
from tests.support.cameras import fill_cameras
from tests.support.files import ROOT
from tests.support.predictors import write_predictor

BUDGETS = (0.1, 0.4)
KILLED = """
import os, signal, sys
from pathlib import Path
from regenhance_data.dataset.folder import Dataset
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.evaluation.evaluate import evaluate
from regenhance_data.evaluation.kept import KeptCounts
import numpy as np

calls = []

def predict(lr):
    calls.append(1)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return np.eye(3, 4)

dataset = Dataset.open(sys.argv[1])
detector = load_detector(DetectorSettings("onnx:" + sys.argv[2]))
kept = KeptCounts(Path(sys.argv[3]), "same")
evaluate(dataset, dataset.split_frames("test"), detector, "hr_images", (0.1, 0.4), {"predictor": predict}, None, kept)
"""


@pytest.fixture(scope="module")
def camera(tmp_path_factory, detector):
    dataset = fill_cameras(tmp_path_factory.mktemp("camera"), {"gate": 7}, empty=(5,))
    make_importance(dataset, detector.settings, "product", "hr_images")
    return dataset


class Predictor:
    """Counts its calls, and is interrupted at one of them."""

    def __init__(self, interrupted_at=None):
        self.calls, self.interrupted_at = 0, interrupted_at

    def __call__(self, lr):
        self.calls += 1
        if self.calls == self.interrupted_at:
            raise KeyboardInterrupt
        return np.eye(3, 4)


def run(camera, detector, predict, kept=None):
    return evaluate(
        camera, camera.split_frames("test"), detector, "hr_images", BUDGETS, {"predictor": predict}, None, kept
    ).to_dict()


def test_an_interrupted_evaluation_keeps_its_frames_and_ends_with_the_same_result(camera, detector, tmp_path, capsys):
    whole = run(camera, detector, Predictor())
    path = tmp_path / "out" / KEPT_FILE
    with pytest.raises(KeyboardInterrupt, match="kept 3 of 7 frames; give the command again to go on"):
        run(camera, detector, Predictor(interrupted_at=4), KeptCounts(path, "same"))
    path.write_bytes(path.read_bytes()[:-40])  # the last line is torn
    rest = Predictor()
    assert run(camera, detector, rest, KeptCounts(path, "same")) == whole
    assert rest.calls == 5
    assert "kept 2 of 7 frames of an interrupted run" in capsys.readouterr().out
    nothing = Predictor()
    assert run(camera, detector, nothing, KeptCounts(path, "same")) == whole
    assert nothing.calls == 0
    other = Predictor()
    assert run(camera, detector, other, KeptCounts(path, "other")) == whole
    assert other.calls == 7


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff\xfe", b'{"inputs": "same"}\n[[[', b'{"inputs": "same"}\n[1, 2]\n']
)
def test_a_broken_file_of_kept_frames_is_dropped(camera, detector, tmp_path, content):
    path = tmp_path / KEPT_FILE
    path.write_bytes(content)
    predict = Predictor()
    run(camera, detector, predict, KeptCounts(path, "same"))
    assert predict.calls == 7


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_too(camera, detector, detector_file, tmp_path):
    path = tmp_path / "kept.jsonl"
    words = [sys.executable, "-c", KILLED, camera.root, detector_file, path]
    assert subprocess.run(list(map(str, words)), cwd=ROOT, check=False).returncode == -9
    rest = Predictor()
    assert run(camera, detector, rest, KeptCounts(path, "same")) == run(camera, detector, Predictor())
    assert rest.calls == 4


def test_whatever_changes_the_counts_changes_the_digest(camera, tmp_path):
    model = write_predictor(tmp_path / "m.onnx", (48, 64))
    settings = InputSettings("d", "test", 1, "hr_images", 2, 16, {"spec": "onnx:d.onnx"})

    def of(settings=settings, budgets=BUDGETS, sha="", backend="onnxruntime"):
        models = {"predictor": EvaluatedModel(str(model), sha or sha256(model), backend)}
        return inputs_digest(camera, camera.frames("gate"), settings, budgets, models, None)

    same = of()
    assert of(InputSettings("elsewhere", "all", 5, "hr_images", 2, 16, {"spec": "onnx:d.onnx"})) == same
    others = [
        of(InputSettings("d", "test", 1, "hr_images", 2, 16, {"spec": "onnx:e.onnx"})),
        of(InputSettings("d", "test", 1, "hr_images", 2, 8, {"spec": "onnx:d.onnx"})),
        of(budgets=(0.1,)),
        of(sha="another"),
        of(backend="openvino"),
    ]
    importance: Path = camera.importance_path("gate")
    before = importance.read_bytes()
    importance.write_bytes(before + b" ")
    others.append(of())
    importance.write_bytes(before)
    assert len({same, *others}) == 1 + len(others)
