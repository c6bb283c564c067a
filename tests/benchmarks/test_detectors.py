"""Detectors at run time, in PyTorch and in the engines that run ONNX; prints ratios, asserts no time.

make bench
"""

import time
from itertools import islice

import numpy as np
import pytest

from deploy.backends.detector import ExportedDetector
from deploy.backends.registry import CPU_BACKENDS
from deploy.export.detector import exported
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.onnx_export import DetectorGraph
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.io.video import read_video
from regenhance_data.street.scene import render_scene
from tests.support.files import ROOT

DATA = ROOT.parent / "shared" / "data"
ROUNDS = 5


def street():
    return DetectorSettings(), next(frame for frame, _, _ in render_scene(7, 1))


def highway():
    path = DATA / "yolox_nano.onnx"
    if not path.is_file():
        pytest.skip("the shared data are not here")
    return DetectorSettings(f"onnx:{path}"), next(iter(islice(read_video(DATA / "highway_540p.mp4"), 1)))


@pytest.mark.parametrize("make", [street, highway])
def test_detectors_in_each_engine(make):
    settings, frame = make()
    offline = load_detector(settings)
    file = exported(DetectorGraph(offline, frame.shape[:2]))
    detectors = {"torch": offline, **{name: ExportedDetector(file, name) for name in CPU_BACKENDS}}
    times: dict[str, list[float]] = {name: [] for name in detectors}
    for _ in range(ROUNDS + 1):  # in turn; the first is the warm-up
        for name, detector in detectors.items():
            began = time.perf_counter()
            detector.detect(frame[None])
            times[name].append(time.perf_counter() - began)
    medians = {name: float(np.median(took[1:])) for name, took in times.items()}
    print(f"\n  {settings.spec}, a frame of {frame.shape[1]}x{frame.shape[0]} to its detections")
    for name, median in medians.items():
        print(f"  {name:12s} {1000 * median:8.1f} ms, PyTorch / this = {medians['torch'] / median:5.1f}")
