import argparse

import numpy as np
import pytest
import torch
from onnx import helper

from regenhance_data import errors
from regenhance_data.detectors.arguments import add_detector_arguments, detector_settings_from
from regenhance_data.detectors.class_names import class_number
from regenhance_data.detectors.loading import detector_record, load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.io.video import read_video
from tests.support.detectors import (
    BLUE,
    NAMES,
    RED,
    save_graph,
    slope_and_gradient,
    squares,
    write_detector,
)
from tests.support.files import ROOT
from tests.support.predictors import write_predictor

LAYOUTS = ("yolox", "yolov5", "yolov8")
SHARED = ROOT.parent / "shared" / "data"
needs_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared YOLOX-nano and clips are not here")


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detectors")
    return {layout: write_detector(folder / f"{layout}.onnx", layout, (64, 96)) for layout in LAYOUTS}


def load(path, **settings):
    return load_detector(DetectorSettings(f"onnx:{path}", **settings))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_recognised_and_its_boxes_and_classes_are_right(files, layout):
    detector = load(files[layout])
    frames = np.stack([squares(64, 96, (24, 40, RED), (56, 8, BLUE)), squares(64, 96)])
    first, second = detector.detect(frames)
    order = np.argsort(first.boxes[:, 0])
    np.testing.assert_allclose(first.boxes[order], [[20, 36, 36, 52], [52, 4, 68, 20]], atol=1e-3)
    assert [detector.class_names[label] for label in first.labels[order]] == list(NAMES)
    assert (first.scores > 0.99).all()
    assert len(second.scores) == 0


@pytest.mark.parametrize("any_batch", [False, True])
def test_frames_together_give_what_frames_alone_give(tmp_path, any_batch):
    detector = load(write_detector(tmp_path / "d.onnx", "yolox", (64, 96), any_batch))
    frames = np.stack([squares(64, 96, (8 * n, 16, RED)) for n in range(6)])
    together = detector.detect(frames)
    for frame, found in zip(frames, together, strict=True):
        (alone,) = detector.detect(frame[None])
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=1e-3)
        assert len(found.boxes) == 1


def test_a_graph_that_runs_at_any_size_sees_every_pixel_of_a_larger_frame(files):
    (found,) = load(files["yolox"]).detect(squares(101, 203, (192, 80, BLUE))[None])
    np.testing.assert_allclose(found.boxes, [[188, 76, 203, 92]], atol=1e-3)  # cut at the frame's edge


@pytest.mark.parametrize("layout", ["yolov5", "yolov8"])
def test_a_graph_of_one_size_gets_letterboxed_frames_and_boxes_are_mapped_back(files, layout):
    frame = np.repeat(np.repeat(squares(64, 80, (24, 40, RED)), 2, axis=0), 2, axis=1)  # 128×160 into 64×96
    (found,) = load(files[layout]).detect(frame[None])
    np.testing.assert_allclose(found.boxes, [[40, 72, 72, 104]], atol=1e-3)


def test_an_input_size_that_is_asked_for_is_used(files):
    frame = np.repeat(np.repeat(squares(32, 32, (8, 16, RED)), 2, axis=0), 2, axis=1)
    (found,) = load(files["yolox"], input_size=(32, 32), max_box_area=1.0).detect(frame[None])
    np.testing.assert_allclose(found.boxes, [[8, 24, 40, 56]], atol=1e-3)
    with pytest.raises(errors.InputError, match=r"does not run with an input of 1x3x32x64 \(.*\)"):
        load(files["yolov8"], input_size=(32, 64))


def test_channel_order_and_pixel_range_can_be_overridden(files):
    frame = squares(64, 96, (24, 40, RED))[None]
    assert load(files["yolov8"], channel_order="BGR").detect(frame)[0].labels.tolist() == [NAMES.index("blue")]
    assert len(load(files["yolox"], pixel_range=1).detect(frame)[0].labels) == 0


def test_only_the_classes_boxes_and_scores_that_count_are_kept(files):
    frame = squares(64, 96, (24, 40, RED), (56, 8, BLUE), (80, 48, (160, 0, 0)))[None]
    assert len(load(files["yolox"]).detect(frame)[0].labels) == 3
    assert len(load(files["yolox"], score_threshold=0.9).detect(frame)[0].labels) == 2
    assert load(files["yolox"], classes=("blue",)).detect(frame)[0].labels.tolist() == [1]
    assert load(files["yolox"], classes=("1",)).detect(frame)[0].labels.tolist() == [1]
    assert len(load(files["yolox"], max_box_area=16 * 16 / (64 * 96) - 1e-4).detect(frame)[0].labels) == 0


def test_of_overlapping_boxes_of_a_class_the_best_is_kept(files):
    frame = squares(64, 96, (24, 40, RED), (32, 40, (200, 0, 0)), (24, 48, (0, 0, 250)))[None]
    assert sorted(load(files["yolox"], iou_threshold=0.2).detect(frame)[0].labels.tolist()) == [0, 1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_gradient_of_accuracy_is_its_slope(files, layout):
    detector = load(files[layout])
    dim = [(x, y, tuple(np.array(colour) * 5 // 8)) for x, y, colour in ((24, 40, RED), (56, 8, BLUE))]
    image = squares(64, 96, *dim)
    slope, gradient = slope_and_gradient(detector, image)
    assert slope == pytest.approx(gradient, rel=0.02)
    objective = detector.accuracy(detector.tensor(image[None]).requires_grad_())
    (found,) = detector.detect(image[None])
    np.testing.assert_allclose(objective.value.detach().cpu(), found.scores.sum(), rtol=1e-5)
    assert objective.detections == len(found.scores)


def test_class_names_come_from_the_file_or_are_numbered(tmp_path, files):
    assert load(files["yolov8"]).class_names == NAMES
    nameless = load(write_detector(tmp_path / "d.onnx", "yolov8", (64, 64), names=False))
    assert nameless.class_names == ("class_0", "class_1")


def test_settings_come_back_from_their_record(files):
    settings = DetectorSettings(f"onnx:{files['yolox']}", 0.4, ("red",), 0.5, 0.6, "yolox", "RGB", 1, (64, 96))
    record = detector_record(settings)
    assert len(record["sha256"]) == 64
    assert DetectorSettings.from_dict(record) == settings


def test_flags_change_recorded_settings_and_a_new_detector_replaces_them():
    parser = argparse.ArgumentParser()
    add_detector_arguments(parser)
    recorded = DetectorSettings("onnx:a.onnx", classes=("car",)).to_dict()
    changed = detector_settings_from(parser.parse_args(["--score_threshold", "0.5"]), recorded)
    assert (changed.spec, changed.classes, changed.score_threshold) == ("onnx:a.onnx", ("car",), 0.5)
    assert detector_settings_from(parser.parse_args(["--detector", "builtin"]), recorded) == DetectorSettings()
    assert detector_settings_from(parser.parse_args([])) == DetectorSettings()
    assert detector_settings_from(parser.parse_args(["--classes", "car,bus", "traffic light,", "3"])).classes == (
        "car",
        "bus",
        "traffic light",
        "3",
    )


def test_a_program_that_a_dataset_names_runs_only_where_a_user_names_it_too():
    parser = argparse.ArgumentParser()
    add_detector_arguments(parser)
    recorded = DetectorSettings("torchscript:data/d.ts").to_dict()
    with pytest.raises(errors.InputError, match=r"give --detector torchscript:data/d\.ts and its other flags again"):
        detector_settings_from(parser.parse_args(["--score_threshold", "0.5"]), recorded)
    given = ["--detector", "torchscript:data/d.ts"]
    assert detector_settings_from(parser.parse_args(given), recorded) == DetectorSettings("torchscript:data/d.ts")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"spec": "magic"},
            "no such detector; there are: builtin, torchvision:NAME, detectron2:YAML, onnx:PATH, torchscript",
        ),
        ({"spec": "onnx:"}, "no such detector"),
        ({"spec": "onnx:missing.onnx"}, "missing.onnx: no such file"),
        ({"score_threshold": 0}, "--score_threshold 0"),
        ({"score_threshold": float("nan")}, "--score_threshold nan"),
        ({"max_box_area": 2}, "--max_box_area 2"),
        ({"pixel_range": 100}, "pixel_range 100"),
        ({"layout": "ssd"}, "layout 'ssd'"),
        ({"input_size": (64, 0)}, "--detector_input_size .* 32 to 4096 pixels"),
        ({"input_size": (300, 5000)}, "--detector_input_size .* 32 to 4096 pixels"),
        ({"pixel_std": (1.0, 0.0, 1.0)}, "--pixel_std"),
        ({"task": "segmentation"}, "is for detection, dataset.yaml says segmentation"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(errors.InputError, match=message):
        load_detector(DetectorSettings(**settings))


def test_unknown_classes_are_refused_with_the_names_there_are(files):
    for name in ("cat", "2", "-1"):
        with pytest.raises(
            errors.InputError, match=f"--classes {name}: the detector has no such class; it has red, blue"
        ):
            load(files["yolox"], classes=(name,))
    with pytest.raises(errors.InputError, match=r"it has class_0, .*, class_9 and 81 more"):
        class_number("cat", [f"class_{number}" for number in range(91)])


def test_files_that_are_no_detector_are_refused(tmp_path, files):
    (tmp_path / "text.onnx").write_text("not a graph " * 20)
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "cut.onnx").write_bytes(files["yolox"].read_bytes()[:-300])
    larger = [helper.make_node("Concat", ["images", "images"], ["output"], axis=2)]  # a map, and larger than the frame
    save_graph(tmp_path / "larger.onnx", larger, {}, (1, 3, 64, 64), {})
    twos = [
        helper.make_node("ReduceMin", ["images"], ["least"]),
        helper.make_node("Add", ["least", "twos"], ["output"]),
    ]
    save_graph(tmp_path / "logits.onnx", twos, {"twos": np.full((1, 6, 84), 2, np.float32)}, (1, 3, 64, 64), {})
    flat = [helper.make_node("Reshape", ["images", "shape"], ["output"])]
    save_graph(tmp_path / "flat.onnx", flat, {"shape": np.array([1, 3, -1])}, (1, 3, 64, 64), {})
    unknown = [helper.make_node("NonZero", ["images"], ["nonzero"]), helper.make_node("Det", ["nonzero"], ["output"])]
    save_graph(tmp_path / "unknown.onnx", unknown, {}, (1, 3, 64, 64), {})
    for name in ("text", "empty", "cut", "larger", "logits", "flat", "unknown"):
        with pytest.raises(errors.InputError, match=f"{name}.onnx: "):
            load(tmp_path / f"{name}.onnx")
    with pytest.raises(errors.InputError, match="is a predictor of this kit"):
        load(write_predictor(tmp_path / "predictor.onnx", (50, 70)))
    with pytest.raises(errors.InputError, match="did you mean onnx:"):
        load_detector(DetectorSettings(str(files["yolox"])))
    with pytest.raises(errors.InputError, match=r"is not a detector of layout yolov5 .*: its output is"):
        load(files["yolov8"], layout="yolov5")


def test_the_builtin_detector_finds_things_of_its_classes():
    detector = load_detector(DetectorSettings())
    dense = detector.dense(detector.tensor(squares(70, 90, (8, 8, RED))[None]))
    rows, columns = torch.ones_like(dense.scores[0]).nonzero(as_tuple=True)
    boxes, labels = dense.decode(0, rows, columns)
    assert boxes.shape == (dense.scores[0].numel(), 4)
    assert labels.max() < len(detector.class_names) == dense.scores[0].shape[1]
    assert dense.one_class_per_row


@needs_shared_data
def test_yolox_nano_finds_the_cars_of_the_highway_and_says_where_they_matter():
    detector = load(SHARED / "yolox_nano.onnx", classes=("car", "truck", "bus"))
    frame = next(iter(read_video(SHARED / "highway_540p.mp4")))
    pair = np.stack([frame, frame[:, ::-1]])
    found, mirrored = detector.detect(pair)
    assert len(found.boxes) >= 4
    assert len(mirrored.boxes) >= 3
    assert {detector.class_names[label] for label in found.labels} <= {"car", "truck", "bus"}
    clear = detector.tensor(frame[None]).requires_grad_()
    (gradient,) = torch.autograd.grad(detector.accuracy(clear).value, clear)
    weight = gradient.abs().sum((0, 1)).cpu().numpy()
    for x1, y1, x2, y2 in found.boxes.astype(int):
        assert weight[y1:y2, x1:x2].mean() > 3 * weight.mean()
