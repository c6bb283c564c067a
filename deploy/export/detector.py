"""A detector as ONNX, compared with PyTorch before it is written or run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from deploy.artifacts.detector import OnnxDetector, detector_metadata, detector_of
from deploy.artifacts.onnx import refuse_overwriting_others
from deploy.backends.detector import ExportedDetector
from regenhance_data.detectors.filtering import BOXES, CLASSES, LABELS, SCORES
from regenhance_data.detectors.loading import detector_record
from regenhance_data.errors import InputError
from regenhance_data.io.files import atomic_write, write_json

if TYPE_CHECKING:
    from regenhance_data.detectors.onnx_export import DetectorGraph

MOST_SCORE = 1e-3  # that a score in any row may differ by; engines differed by less than 1e-5
# That a corner may move, as a share of the box's longer side (and at least 0.01 px): an IoU of 0.998 and more.
MOST_SHIFT, LEAST_PX = 1e-3, 10.0
BEST_ROWS = 100  # of a frame, whose boxes are compared: those of rows without a score can be anything
MOST_OTHER_PIXELS = 1e-3  # share of a class map: two classes may be nearly as likely
NOISE_FRAMES = 2


def noise_frames(frame_hw: Sequence[int]) -> np.ndarray:
    """Frames to compare on where there are none, uint8 [n, H, W, 3]."""
    return np.random.default_rng(0).integers(256, size=(NOISE_FRAMES, *frame_hw, 3), dtype=np.uint8)


def exported(graph: "DetectorGraph", batch: int = 1) -> OnnxDetector:
    """The detector as it is written. InputError where it cannot be traced."""
    model, detector = graph.onnx(batch), graph.detector
    first_label, one_class = (graph.rows.first_label, graph.rows.one_class_per_row) if graph.rows else (None, False)
    about = detector_metadata(detector_record(detector.settings), detector.class_names, first_label, one_class)
    helper.set_model_props(model, about)
    return detector_of(model, model.SerializeToString(), detector.settings.spec)


def compare(
    file: OnnxDetector, graph: "DetectorGraph", frames: np.ndarray, engines: Sequence[str], threads: int | None = None
) -> dict[str, Any]:
    """How much the file differs from PyTorch in each engine, on frames uint8 [N, H, W, 3] RGB. InputError where it
    differs by more than rounding.
    """
    expected = graph.outputs(frames)
    report: dict[str, Any] = {"frames": len(frames), "engines": {}}
    for engine in engines:
        found = ExportedDetector(file, engine, threads).outputs(frames)
        measured = _differences(expected, found)
        report["engines"][engine] = measured
        limits = {"score": MOST_SCORE, "box_shift": MOST_SHIFT, "other_labels": 0.0, "other_pixels": MOST_OTHER_PIXELS}
        for name, value in measured.items():
            if not value <= limits[name]:
                raise InputError(
                    f"{file.source}: cannot be exported: the graph in {engine} differs from PyTorch ({name} "
                    f"{value:.2g}, at most {limits[name]:g} is expected)"
                )
    return report


def _differences(expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> dict[str, float]:
    if CLASSES in expected:
        return {"other_pixels": float((expected[CLASSES] != found[CLASSES]).mean())}
    scores, boxes = expected[SCORES], expected[BOXES]
    if scores.shape != found[SCORES].shape:
        return {"score": float("inf")}
    best = np.argsort(-scores.max(-1), axis=1)[:, :BEST_ROWS]
    at = np.arange(len(scores))[:, None], best
    sides = np.maximum((boxes[..., 2:] - boxes[..., :2]).max(-1), LEAST_PX)[at]
    shifts = np.abs(boxes - found[BOXES]).max(-1)[at] / sides
    measured = {"score": float(np.abs(scores - found[SCORES]).max()), "box_shift": float(shifts.max())}
    if LABELS in expected:
        measured["other_labels"] = float((expected[LABELS][at] != found[LABELS][at]).mean())
    return measured


def write_detector(path: Path, graph: "DetectorGraph", batch: int, frames: np.ndarray, engines: Sequence[str]) -> None:
    """Write a detector and its parity report, and print both; InputError, and no file, where `compare` fails, and
    where another file would be overwritten.
    """
    refuse_overwriting_others(path)
    file = exported(graph, batch)
    report = compare(file, graph, frames, engines)
    with atomic_write(path) as temporary:
        temporary.write_bytes(file.content)
    report_path = path.with_suffix(".parity.json")
    write_json(report_path, {"detector": detector_record(file.settings), **report})
    for engine, measured in report["engines"].items():
        words = ", ".join(f"{name} {value:.1e}" for name, value in measured.items())
        print(f"{engine:12s} differs from PyTorch by {words} at most, on {len(frames)} frames")
    height, width = file.frame_hw
    print(f"wrote {path} (frames of {width}x{height}, {file.batch} at once), {report_path}")
