"""torchvision's models: the same results as their own evaluation mode gives, and gradients that are slopes."""

import pickle

import numpy as np
import pytest
import torch
import torchvision

from regenhance_data.detectors.loading import detector_record, load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.io.torch_weights import read_state_dict
from tests.support.detectors import LRASPP, SSD, doubles, own_model, slope_and_gradient, state_of

FASTER = "fasterrcnn_mobilenet_v3_large_320_fpn"
# Every detection there is, for each family, as torchvision's constructors say it.
ALL_OF_ONE = {"score_thresh": 1e-6, "nms_thresh": 0.5, "detections_per_img": 10_000, "topk_candidates": 100_000}
ALL_OF_TWO = {"box_score_thresh": 1e-6, "box_nms_thresh": 0.5, "box_detections_per_img": 10_000}
SMALL = {"min_size": 128, "max_size": 192}  # which is --detector_input_size 128 192
BOXES = {
    SSD: ALL_OF_ONE,
    "retinanet_resnet50_fpn": {**ALL_OF_ONE, **SMALL},
    "fcos_resnet50_fpn": {**ALL_OF_ONE, **SMALL},
    FASTER: {**ALL_OF_TWO, **SMALL},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A .pth for each model, made when it is asked for."""
    folder = tmp_path_factory.mktemp("torchvision")

    def file(name):
        path = folder / f"{name}.pth"
        if not path.exists():
            torch.save(state_of(name), path)
        return path

    return file


def load(name, files, **settings):
    size = None if name == SSD else (128, 192)
    settings = {"weights": str(files(name)), "max_box_area": 1.0, "input_size": size, **settings}
    return load_detector(DetectorSettings(f"torchvision:{name}", **settings))


def picture(height=101, width=135):
    """Coloured squares with noise on them: where all is flat, max pooling has no one slope."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 225, (16, 20, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return coarse[:height, :width] + rng.integers(0, 30, (height, width, 3), dtype=np.uint8)


def own_detections(name, files, frame):
    """Boxes, scores and labels of torchvision's own evaluation mode, the best 20, and a threshold below the last."""
    network = own_model(name, **BOXES[name])
    network.load_state_dict(torch.load(files(name), weights_only=True))
    with torch.no_grad():
        (found,) = network([torch.from_numpy(frame).permute(2, 0, 1) / 255])
    has_area = (found["boxes"][:, 2:] > found["boxes"][:, :2]).all(1)  # not so outside of the frame
    found = {key: value[has_area] for key, value in found.items()}
    assert len(found["scores"]) > 20
    threshold = float(found["scores"][19:21].mean())
    return {key: value[:20].numpy() for key, value in found.items()}, threshold


@pytest.mark.parametrize("name", BOXES)
def test_what_is_found_is_what_torchvision_finds(files, name):
    frame = picture()
    own, threshold = own_detections(name, files, frame)
    detector = load(name, files, score_threshold=threshold)
    found, mirrored = detector.detect(np.stack([frame, frame[:, ::-1]]))
    np.testing.assert_allclose(found.scores, own["scores"], rtol=1e-4)
    np.testing.assert_allclose(found.boxes, own["boxes"], atol=0.02)
    np.testing.assert_array_equal(found.labels, own["labels"])
    assert detector.class_names == ("class_0", "class_1", "class_2")
    assert not np.array_equal(mirrored.scores, found.scores)


@pytest.mark.parametrize("name", [*BOXES, LRASPP, "deeplabv3_mobilenet_v3_large"])
def test_the_gradient_of_accuracy_is_its_slope(files, name):
    with doubles():
        slope, gradient = slope_and_gradient(load(name, files, score_threshold=0.05), picture(), 1e-5, "float64")
    assert gradient > 0
    assert slope == pytest.approx(gradient, rel=0.02)


@pytest.mark.parametrize("name", BOXES)
def test_a_frame_that_shows_nothing_has_no_detection(files, name):
    detector = load(name, files, score_threshold=1.0)
    (found,) = detector.detect(picture()[None])
    assert found.boxes.shape == (0, 4)
    objective = detector.accuracy(detector.tensor(picture()[None]).requires_grad_())
    assert (objective.detections, float(objective.value.detach())) == (0, 0)


def test_segmentation_is_what_torchvision_makes_of_the_resized_frame(files):
    frame = picture(104, 136)
    network = own_model(LRASPP)
    network.load_state_dict(torch.load(files(LRASPP), weights_only=True), strict=False)
    transform = torchvision.models.segmentation.LRASPP_MobileNet_V3_Large_Weights.DEFAULT.transforms(resize_size=128)
    with torch.no_grad():
        logits = network(transform(torch.from_numpy(frame).permute(2, 0, 1) / 255)[None])["out"]
    own = torch.nn.functional.interpolate(logits, frame.shape[:2], mode="bilinear")[0].argmax(0).numpy()
    detector = load(LRASPP, files, input_size=(128, 192))
    (found,) = detector.detect(frame[None])
    assert detector.settings.task == "segmentation"
    assert (found.dtype, found.shape) == (np.uint8, (104, 136))
    assert (found == own).mean() > 0.99
    assert len(np.unique(own)) > 1


def test_random_weights_are_the_same_in_every_process_and_a_warning_says_so(capsys):
    frames = picture(64, 64)[None]
    settings = DetectorSettings(f"torchvision:{SSD}", 0.001, weights="none", max_box_area=1.0)
    first, second = (load_detector(settings).detect(frames)[0] for _ in range(2))
    np.testing.assert_array_equal(first.scores, second.scores)
    assert "random weights" in capsys.readouterr().err
    assert load_detector(settings).class_names[:3] == ("__background__", "person", "bicycle")


def test_weights_as_training_scripts_wrap_them_load_and_are_told_by_their_hash(files, tmp_path):
    state = {f"module.{key}": value for key, value in torch.load(files(LRASPP), weights_only=True).items()}
    torch.save({"model": state, "epoch": 3}, tmp_path / "checkpoint.pth")
    detector = load(LRASPP, files, weights=str(tmp_path / "checkpoint.pth"))
    frames = picture()[None]
    np.testing.assert_array_equal(detector.detect(frames)[0], load(LRASPP, files).detect(frames)[0])
    assert len(detector_record(detector.settings)["sha256"]) == 64


@pytest.mark.parametrize(
    ("spec", "weights", "message"),
    [
        ("torchvision:yolo", "none", r"no such model; known are: .*fcos_resnet50_fpn"),
        (f"torchvision:{SSD}", "COCO_V9", f"{SSD} has COCO_V1, DEFAULT; or give a .pth file or none"),
        (f"torchvision:{SSD}", "missing.pth", "missing.pth: no such file"),
        ("onnx:a.onnx", "none", "has its own weights"),
    ],
)
def test_models_and_weights_that_do_not_exist_are_refused(spec, weights, message):
    with pytest.raises(InputError, match=message):
        load_detector(DetectorSettings(spec, weights=weights))


def test_a_download_that_fails_is_one_line_with_the_address(monkeypatch):
    def fail(*args, **options):
        raise OSError("no\nnetwork")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    monkeypatch.setattr(torch.hub.os.path, "exists", lambda path: False)
    with pytest.raises(
        InputError, match=r"^--detector_weights DEFAULT: cannot be downloaded \(no network\); fetch http"
    ):
        load_detector(DetectorSettings(f"torchvision:{SSD}"))


class Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_files_that_are_no_weights_of_the_model_are_refused_and_run_no_code(files, tmp_path):
    path = tmp_path / "w.pth"
    for content in (b"", b"no weights", pickle.dumps(Harm(tmp_path / "harm"))):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is not a checkpoint that can be read without running code"):
            read_state_dict(path)
    torch.save({"a": Harm(tmp_path / "harm")}, path)
    with pytest.raises(InputError, match="is not a checkpoint that can be read without running code"):
        read_state_dict(path)
    assert not (tmp_path / "harm").exists()
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="holds a list, expected weights by name"):
        read_state_dict(path)
    state = torch.load(files(LRASPP), weights_only=True)
    torch.save({**state, "more": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="has an unexpected more"):
        load(LRASPP, files, weights=str(path))
    with pytest.raises(InputError, match=r"its weights are not of torchvision:ssdlite"):
        load(SSD, files, weights=str(path))
