"""What many tests need: commands run as a user runs them, small videos, small datasets."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# Several workers run at once, each with small networks: threads that wait for each other cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from regenhance_data import cli
from tests.support.files import ROOT, fill_dataset
from tests.support.forking import Forker

# A command ends its process some seconds after a signal; of those that run in this one, that is the tests' own.
cli._end_on_signals = lambda program: []

settings.register_profile("kit", deadline=None, max_examples=50)
settings.load_profile("kit")

# the tests that need a framework, in this process or in that of a command; single tests have the mark themselves
NEED = {
    "torch": (
        *("detectors", "upscalers", "street/test_networks.py", "importance", "evaluation", "predictors/accmodel"),
        *("dataset/test_importance_import.py", "regions/test_reuse.py", "parallel", "stages/test_make_importance.py"),
        *("stages/test_resume.py", "deploy/test_graph.py", "tools/test_demo.py", "tools/test_kinds.py", "test_fuzz.py"),
        *("tools/test_demo_cameras.py", "deploy/test_feedback.py"),
        *("reports/test_demo.py", "deploy/test_detectors.py", "deploy/test_run_cameras.py"),
        *("deploy/test_plan.py", "deploy/test_holding.py", "deploy/test_metrics.py"),
        *("tools/test_evaluate_online.py", "tuning", "many_clips/test_bench.py"),
    ),
    "paddle": (
        *("predictors/paddleseg", "deploy/test_predictors.py", "tools/test_demo.py", "test_fuzz.py"),
        *("many_clips/test_bench.py", "tools/test_demo_cameras.py"),
    ),
}


# the files that take longest, which begin first, so that workers end together; 100 to 400 s on two slow cores
LONGEST = (
    *("predictors/paddleseg/test_six_sizes.py", "tools/test_demo.py", "deploy/test_predictors.py"),
    *("stages/test_resume.py", "tools/test_demo_cameras.py", "test_docs.py", "parallel/test_executors.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs torch and paddle; put the longest files first, then those with the most slow tests."""
    for item in items:
        for mark, places in NEED.items():
            if any(item.path.is_relative_to(ROOT / "tests" / place) for place in places):
                item.add_marker(mark)
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    first = {ROOT / "tests" / place: -len(items) + at for at, place in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, -slow[item.path]))


@pytest.fixture(scope="session")
def forker(tmp_path_factory):
    """What a worker's commands run in."""
    forker = Forker(ROOT, tmp_path_factory.mktemp("printed"))
    yield forker
    forker.close()


@pytest.fixture(scope="session")
def run(forker) -> Callable[..., subprocess.CompletedProcess]:
    """run("tools/extract.py", "--video", …): the command in a process of its own, from the project's root. With
    options of `subprocess.run`, one that begins from nothing.
    """

    def run_command(*words: object, code: int = 0, **options: object) -> subprocess.CompletedProcess:
        script = Path(sys.executable).with_name("paddleseg") if words[0] == "paddleseg" else words[0]
        command = [str(word) for word in (script, *words[1:])]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        if options or command[0].startswith("-"):
            began = [sys.executable, *command]
            result = subprocess.run(began, cwd=ROOT, capture_output=True, text=True, env=environment, **options)
        else:
            result = forker.run(command, environment)
        assert result.returncode == code, f"exit {result.returncode}, expected {code}\n{result.stdout}\n{result.stderr}"
        return result

    return run_command


@pytest.fixture(scope="session")
def refused(run) -> Callable[..., str]:
    """refused("tools/extract.py", …): the one line with which a command refuses bad input (exit code 2)."""

    def run_refused(*words: object, **options: object) -> str:
        result = run(*words, code=2, **options)
        assert "Traceback" not in result.stderr
        lines = [line for line in result.stderr.splitlines() if ": error: " in line]
        assert len(lines) == 1, result.stderr
        return lines[0]

    return run_refused


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """24 frames with labels and lists, to train on; other test modules have a dataset of their own."""
    from regenhance_data.stages.make_seg_dataset import make_seg_dataset

    made = fill_dataset(tmp_path_factory.mktemp("data"), {"a": 24})
    make_seg_dataset(made, gap=2)
    return made


@pytest.fixture(scope="session")
def detector_file(tmp_path_factory):
    """The ONNX of a detector that finds red and blue squares, at any size."""
    from tests.support.detectors import write_detector

    return write_detector(tmp_path_factory.mktemp("squares") / "d.onnx", "yolox", (64, 96))


@pytest.fixture(scope="session")
def detector(detector_file):
    from regenhance_data.detectors.loading import load_detector
    from regenhance_data.detectors.settings import DetectorSettings

    return load_detector(DetectorSettings(f"onnx:{detector_file}"))
