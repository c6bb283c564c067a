"""How unlike a detector's results are on other frames: 0 on the HR frame, and less the more of it is there."""

import pytest
import torch

from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.detectors.unlikeness import unlikeness
from tests.detectors.test_segmentation import settings_of, write_segmenter
from tests.support.detector_files import HW, write_layout
from tests.support.detectors import BLUE, RED, squares

HR = squares(*HW, (24, 40, RED), (56, 8, BLUE))


def boxes_of(layout):
    return lambda folder: DetectorSettings(f"onnx:{write_layout(folder / 'd.onnx', layout)}")


def segmentation(folder):
    return settings_of(write_segmenter(folder / "d.onnx"))


KINDS = {"cells": boxes_of("yolov8"), "rows in any order": boxes_of("end_to_end"), "segmentation": segmentation}


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_it_falls_as_the_frame_becomes_the_hr_frame_and_its_gradient_says_so(settings, tmp_path):
    detector = load_detector(settings(tmp_path))
    hr = detector.tensor(HR[None])
    lost = [float(unlikeness(detector, hr * share, hr)) for share in (0.5, 0.6, 0.7, 1.0)]
    assert lost == sorted(lost, reverse=True)
    assert lost[-1] == pytest.approx(0, abs=1e-5)
    frame = (hr * 0.6).requires_grad_()
    (gradient,) = torch.autograd.grad(unlikeness(detector, frame, hr), frame)
    assert (gradient * hr).sum() < 0


def test_only_the_classes_that_count_do(tmp_path):
    path = write_layout(tmp_path / "d.onnx", "yolov8")
    detector = load_detector(DetectorSettings(f"onnx:{path}", classes=("blue",)))
    hr = detector.tensor(HR[None])
    frame = detector.tensor(squares(*HW, (56, 8, BLUE))[None])
    assert float(unlikeness(detector, frame, hr)) == pytest.approx(0, abs=1e-3)
    assert float(unlikeness(detector, detector.tensor(squares(*HW, (24, 40, RED))[None]), hr)) > 1


def test_what_is_found_on_the_frame_alone_is_unlike_too(tmp_path):
    detector = load_detector(boxes_of("yolov8")(tmp_path))
    nothing = torch.zeros(1, 3, *HW)
    assert float(unlikeness(detector, detector.tensor(HR[None]), nothing)) > 1
