"""An evaluation, of predictors, formulas or reuse, that was interrupted goes on where it was."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regenhance_data.dataset.folder import Frame
from regenhance_data.evaluation.bootstrap import CurvePoint
from regenhance_data.evaluation.evaluate import evaluate
from regenhance_data.evaluation.formula_comparison import ComparedFrame, compare_formulas
from regenhance_data.evaluation.kept import FrameCounts, frame_key, inputs_digest
from regenhance_data.evaluation.record import EvaluatedModel, InputSettings
from regenhance_data.evaluation.reuse import evaluate_reuse
from regenhance_data.io.files import sha256
from regenhance_data.io.journal import Journal
from regenhance_data.regions.reuse import ReusePolicy
from regenhance_data.stages.make_importance import make_importance
from tests.support.cameras import fill_cameras
from tests.support.files import ROOT
from tests.support.predictors import write_predictor

BUDGETS = (0.1, 0.4)
numbers = st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=3)
json_values = st.recursive(
    numbers, lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=2), some)
)
KILLED = """
import os, signal, sys
from pathlib import Path
from regenhance_data.dataset.folder import Dataset
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.evaluation.evaluate import evaluate
from regenhance_data.evaluation.kept import FrameCounts
from regenhance_data.io.journal import Journal
import numpy as np

calls = []

def predict(lr):
    calls.append(1)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return np.eye(3, 4)

dataset = Dataset.open(sys.argv[1])
detector = load_detector(DetectorSettings("onnx:" + sys.argv[2]))
kept = Journal(Path(sys.argv[3]), "same", FrameCounts.to_json, FrameCounts.from_json)
evaluate(dataset, dataset.split_frames("test"), detector, "hr_images", (0.1, 0.4), {"predictor": predict}, None, kept)
"""


@pytest.fixture(scope="module")
def camera(tmp_path_factory, detector):
    dataset = fill_cameras(tmp_path_factory.mktemp("camera"), {"gate": 7}, empty=(5,))
    make_importance(dataset, detector.settings, "product", "hr_images")
    return dataset


def journal(path, inputs="same", value=FrameCounts):
    return Journal(path, inputs, value.to_json, value.from_json)


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
    path = tmp_path / "out" / "kept.jsonl"
    with pytest.raises(KeyboardInterrupt, match="kept 3 of 7 frames; give the command again to go on"):
        run(camera, detector, Predictor(interrupted_at=4), journal(path))
    path.write_bytes(path.read_bytes()[:-40])  # the last line is torn
    rest = Predictor()
    assert run(camera, detector, rest, journal(path)) == whole
    assert rest.calls == 5
    assert "kept 2 of 7 frames of an interrupted run" in capsys.readouterr().out
    nothing = Predictor()
    assert run(camera, detector, nothing, journal(path)) == whole
    assert nothing.calls == 0
    other = Predictor()
    assert run(camera, detector, other, journal(path, "other")) == whole
    assert other.calls == 7


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff\xfe", b'{"inputs": "same"}\n[[[', b'{"inputs": "same"}\n[1, 2]\n']
)
def test_a_broken_file_of_kept_frames_is_dropped(camera, detector, tmp_path, content):
    path = tmp_path / "kept.jsonl"
    path.write_bytes(content)
    predict = Predictor()
    run(camera, detector, predict, journal(path))
    assert predict.calls == 7


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(line=json_values, is_key=st.booleans())
def test_lines_that_were_changed_are_ignored(tmp_path, line, is_key):
    path = tmp_path / "kept.jsonl"
    path.unlink(missing_ok=True)
    kept, frame = journal(path), Frame("gate", 0, "000000.png")
    kept.add(frame_key(frame), FrameCounts({CurvePoint("oracle", 0.1): np.array([1.0, 2.0, 0.5])}, None))
    head, row = path.read_text().splitlines()
    assert frame_key(frame) in journal(path).known
    content = json.loads(row)
    content[1] = line
    path.write_text(f"{head}\n{json.dumps(content if is_key else line)}\n{row}\n")
    assert journal(path).known[frame_key(frame)].against_hr[CurvePoint("oracle", 0.1)].tolist() == [1.0, 2.0, 0.5]
    path.write_text(f"{head}\n{json.dumps(content if is_key else line)}\n")
    assert frame_key(frame) not in journal(path).known


class Interrupted:
    """A detector that is interrupted at one of its calls."""

    def __init__(self, detector, at):
        self.detector, self.left = detector, at

    def __getattr__(self, name):
        return getattr(self.detector, name)

    def detect(self, images):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.detector.detect(images)


@pytest.mark.parametrize("work", ["formulas", "reuse"])
def test_formulas_and_reuse_go_on_too(camera, detector, tmp_path, capsys, work):
    frames = camera.frames("gate")
    policies = {"every 1": ReusePolicy(1), "every 3": ReusePolicy(3)}

    def changing(lr):
        return np.arange(12.0).reshape(3, 4) * lr[:8, :12].mean()

    def done(detector, path):
        if work == "reuse":
            kept = journal(path)
            return evaluate_reuse(camera, frames, detector, "hr_images", 0.1, changing, policies, kept)
        kept = journal(path, value=ComparedFrame)
        result = compare_formulas(camera, frames, detector, "hr_images", ["product", "gain"], BUDGETS, 2, kept)
        assert all(ms > 0 for ms in result.pop("ms").values())
        return result

    whole = done(detector, tmp_path / "whole")
    capsys.readouterr()
    with pytest.raises(KeyboardInterrupt, match=r"kept [1-6] of 7 frames; give the command again to go on"):
        done(Interrupted(detector, 12), tmp_path / "kept")
    assert done(detector, tmp_path / "kept") == whole
    assert "of 7 frames of an interrupted run" in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_too(camera, detector, detector_file, tmp_path):
    path = tmp_path / "kept.jsonl"
    words = [sys.executable, "-c", KILLED, camera.root, detector_file, path]
    assert subprocess.run(list(map(str, words)), cwd=ROOT, check=False).returncode == -9
    rest = Predictor()
    assert run(camera, detector, rest, journal(path)) == run(camera, detector, Predictor())
    assert rest.calls == 4


def test_whatever_changes_the_counts_changes_the_digest(camera, tmp_path):
    model = write_predictor(tmp_path / "m.onnx", (48, 64))
    inputs = InputSettings("d", "test", 1, "hr_images", 2, 16, {"spec": "onnx:d.onnx"})

    def of(settings=inputs, budgets=BUDGETS, sha="", backend="onnxruntime"):
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
