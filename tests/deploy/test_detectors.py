"""Detectors at run time find what PyTorch finds: same boxes, scores and classes, in every engine."""

import json
import subprocess
import sys
from itertools import islice

import numpy as np
import onnx
import pytest
import torch
from torchvision.ops import batched_nms

from deploy.backends.detector import ExportedDetector
from deploy.backends.registry import CPU_BACKENDS, installed_backends
from deploy.export import detector as export
from deploy.online.detectors import load_online_detector
from regenhance_data.detectors.base import DenseOutput
from regenhance_data.detectors.filtering import detections_in, not_suppressed
from regenhance_data.detectors.layouts import LAYOUTS
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.onnx_export import DetectorGraph
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.io.images import write_image
from regenhance_data.io.video import read_video
from regenhance_data.street.scene import render_scene
from tests.support.detector_files import ANCHORS, HW, write_layout
from tests.support.detectors import BLUE, RED, squares, write_detector
from tests.support.files import ROOT

DATA = ROOT.parent / "shared" / "data"
MADE = ("yolov5", "yolov8", "yolov8_maps", "corners", "detr", "boxes_scores", "nanodet", "yolov5_maps")
FRAMES = np.stack([squares(*HW, (24, 40, RED), (56, 8, BLUE)), np.zeros((*HW, 3), np.uint8), squares(*HW, (8, 8, RED))])


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (np.diff(one.scores) <= 0).all()
        orders = [np.lexsort(found.boxes.round(1).T) for found in (one, other)]  # scores may be the same
        for name, tolerance in (("boxes", 0.02), ("scores", 1e-3), ("labels", 0)):
            pair = [getattr(found, name)[order] for found, order in zip((one, other), orders, strict=True)]
            assert pair[0].dtype == pair[1].dtype
            np.testing.assert_allclose(*pair, rtol=0, atol=tolerance)


def load_in(engine, settings, frame_hw, batch=1):
    graph = DetectorGraph(load_detector(settings), frame_hw)
    return ExportedDetector(export.exported(graph, batch), engine, threads=1)


def assert_online_equals_offline(settings, frames, online=None):
    online = online or load_online_detector(settings, frames.shape[1:3], threads=1)
    offline = load_detector(settings)
    assert (online.task, online.class_names) == (offline.task, offline.class_names)
    expected = offline.detect(frames)
    assert_same(online.detect(frames), expected)
    return expected


@pytest.mark.parametrize("layout", MADE)
def test_files_of_the_layouts_find_the_same_online(tmp_path, layout):
    path = write_layout(tmp_path / "d.onnx", layout)
    settings = DetectorSettings(f"onnx:{path}", anchors=ANCHORS if layout == "yolov5_maps" else None, max_box_area=1)
    expected = assert_online_equals_offline(settings, FRAMES)
    assert [len(one.scores) for one in expected] == [2, 0, 1]
    assert LAYOUTS[layout].words in load_online_detector(settings, HW).read_as


@pytest.mark.parametrize(("engine", "batch"), [(engine, batch) for engine in CPU_BACKENDS for batch in (1, 3)])
def test_each_engine_and_batch_finds_the_same_at_an_odd_frame_size(tmp_path, engine, batch):
    path = write_detector(tmp_path / "d.onnx", "yolox", (64, 96))
    frames = np.zeros((4, 359, 637, 3), np.uint8)  # more than a batch
    for number in range(3):
        frames[number, 40 : 40 + 16 * number, 100:300] = RED
        frames[number, 343:359, 621:637] = BLUE  # at the frame's edges
    settings = DetectorSettings(f"onnx:{path}", classes=("blue",))
    online = load_in(engine, settings, (359, 637), batch)
    expected = assert_online_equals_offline(settings, frames, online)
    assert [set(one.labels) for one in expected] == [{1}] * 3 + [set()]
    assert online.detect(frames[:0]) == []
    with pytest.raises(InputError, match="takes uint8 frames of 637x359"):
        online.detect(frames[:, :64])


@pytest.mark.slow
def test_the_street_detector_finds_the_same_online():
    frames = np.stack([frame for frame, _, _ in render_scene(7, 3)])
    found = assert_online_equals_offline(DetectorSettings(), frames)
    assert min(len(one.scores) for one in found) > 0


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "yolox_nano.onnx").is_file(), reason="the shared data are not here")
@pytest.mark.parametrize("engine", CPU_BACKENDS)
def test_a_real_detector_finds_the_same_on_real_frames(engine):
    frames = np.stack([*islice(read_video(DATA / "highway_540p.mp4"), 2)])
    settings = DetectorSettings(f"onnx:{DATA / 'yolox_nano.onnx'}")
    found = assert_online_equals_offline(settings, frames, load_in(engine, settings, frames.shape[1:3]))
    assert min(len(one.scores) for one in found) >= 5


def test_torchscript_and_segmentation_run_online(tmp_path):
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 3, 4, 4)
    torch.jit.save(torch.jit.trace(network.eval(), torch.rand(1, 3, 64, 96)), tmp_path / "d.pt")
    settings = DetectorSettings(f"torchscript:{tmp_path / 'd.pt'}", layout="segmentation")
    frames = np.random.default_rng(0).integers(256, size=(2, 61, 83, 3), dtype=np.uint8)
    online = load_online_detector(settings, (61, 83))
    assert (online.task, online.engine) == ("segmentation", installed_backends()[0])
    found, expected = np.stack(online.detect(frames)), np.stack(load_detector(settings).detect(frames))
    assert found.dtype == np.uint8
    assert (found != expected).mean() < 1e-3
    assert len(np.unique(expected)) > 1


@pytest.mark.parametrize("count", [0, 1, 900, 1500])  # torchvision's NMS has two ways
def test_numpy_finds_what_the_filter_of_importance_finds(count):
    rng = np.random.default_rng(count)
    corners = rng.uniform(-20, 300, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 60, (count, 2))], 1).astype(np.float32)
    scores = rng.permutation(count * 3).reshape(count, 3).astype(np.float32) / max(count * 3, 1)
    settings = DetectorSettings(classes=("car", "person"), max_box_area=0.03, iou_threshold=0.45)
    detector = load_detector(settings)
    dense = DenseOutput(
        torch.from_numpy(scores)[None],
        lambda index, rows, columns: (torch.from_numpy(boxes)[rows], columns),
        one_class_per_row=True,
    )
    (expected,) = detector.filtered(dense, (240, 320))
    found = detections_in(boxes, scores, 0, (240, 320), settings, detector.counted_classes(), True)
    for name in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name).numpy())
    labels = rng.integers(0, 4, count)
    kept = batched_nms(*(torch.from_numpy(one) for one in (boxes, scores[:, 0].copy(), labels)), 0.45)
    np.testing.assert_array_equal(not_suppressed(boxes, scores[:, 0], labels, 0.45), kept.numpy())


@pytest.mark.slow
def test_what_is_no_graph_runs_in_pytorch_and_says_so(tmp_path, capsys):
    from tests.detectors.test_torchscript import write_ssd

    write_ssd(tmp_path / "d.pt", FRAMES[0])
    spec = f"torchscript:{tmp_path / 'd.pt'}"
    online = load_online_detector(spec, HW)
    assert online.engine == "torch"
    assert "the number of its boxes changes from frame to frame; it runs in PyTorch" in capsys.readouterr().err
    assert len(online.detect(FRAMES)) == 3


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """A detector's file, its source and what the command said."""
    folder = tmp_path_factory.mktemp("exported")
    source = write_layout(folder / "source.onnx", "yolov8")
    words = ["--detector", f"onnx:{source}", "--frame_size", *HW, "--score_threshold", 0.4, "--save_dir", folder]
    result = run("deploy/export_detector.py", *words, "--batch_size", 2, "--max_box_area", 1)
    return folder / f"source_{HW[1]}x{HW[0]}_batch2.onnx", source, result.stdout


@pytest.mark.slow
def test_an_exported_detector_runs_without_torch(exported, tmp_path):
    path, source, said = exported
    assert f"wrote {path}" in said
    with pytest.raises(InputError, match="is an exported detector, which the loop runs; give --detector the detector"):
        load_detector(DetectorSettings(f"onnx:{path}"))
    report = json.loads(path.with_suffix(".parity.json").read_text())
    assert set(report["engines"]) == set(CPU_BACKENDS)
    write_image(tmp_path / "frame.png", FRAMES[0])
    code = f"""
import sys
from pathlib import Path
from deploy.online.detectors import load_online_detector
from regenhance_data.io.images import read_image
online = load_online_detector({str(path)!r}, {HW})
(found,) = online.detect(read_image(Path({str(tmp_path / "frame.png")!r}))[None])
print(online.file.batch, online.read_as, [online.class_names[label] for label in found.labels], "torch" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("2 YOLOv8")
    assert sorted(json.loads(result.stdout[result.stdout.rindex("[") : -7].replace("'", '"'))) == ["blue", "red"]
    assert result.stdout.endswith("False\n")
    expected = load_detector(DetectorSettings(f"onnx:{source}", 0.4, max_box_area=1)).detect(FRAMES)
    assert_same(load_online_detector(f"onnx:{path}", HW).detect(FRAMES), expected)


@pytest.mark.slow
def test_settings_after_the_graph_can_be_changed_and_others_not(exported):
    path, _, _ = exported
    blue = load_online_detector(DetectorSettings(str(path), classes=("blue",), score_threshold=0.5), HW)
    assert [[blue.class_names[label] for label in one.labels] for one in blue.detect(FRAMES)] == [["blue"], [], []]
    with pytest.raises(InputError, match="exported with another channel_order"):
        load_online_detector(DetectorSettings(str(path), channel_order="BGR"), HW)
    with pytest.raises(InputError, match=r"is for frames of 96x64, these have 83x61; .* --frame_size 61 83"):
        load_online_detector(path, (61, 83))
    with pytest.raises(InputError, match="--classes green"):
        load_online_detector(DetectorSettings(str(path), classes=("green",)), HW)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["detector", "class_names", "first_label", "port", "weights"])
def test_damaged_files_are_refused(exported, tmp_path, key):
    model = onnx.load(exported[0])
    if key == "port":
        model.graph.output[0].name = "other"
    elif key == "weights":
        tensor = next(node.attribute[0].t for node in model.graph.node if node.op_type == "Constant")
        tensor.raw_data += b"1234"
    for entry in model.metadata_props:
        entry.value = "[]" if entry.key == key else entry.value
    path = tmp_path / "d.onnx"
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"d\.onnx: is .*export"):
        load_online_detector(path, HW)


@pytest.mark.slow
def test_bad_flags_are_refused(refused, tmp_path):
    words = ["deploy/export_detector.py", "--save_dir", tmp_path / "out"]
    assert "--detector is missing" in refused(*words, "--frame_size", 64, 96)
    assert "--frame_size or --video is missing" in refused(*words, "--detector", "builtin")
    assert "expected at least 1" in refused(*words, "--detector", "builtin", "--frame_size", 0, 96)
    assert not (tmp_path / "out").exists()
