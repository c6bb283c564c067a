"""Segmentation from files, from a frame to evaluation.json."""

import json

import numpy as np
import pytest
import torch

from regenhance_data.dataset.folder import Dataset
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.evaluation.evaluate import evaluate
from regenhance_data.io.files import read_yaml
from regenhance_data.io.images import write_image
from regenhance_data.stages.make_importance import make_importance
from tests.support.detectors import BLUE, RED, slope_and_gradient, squares, write_segmenter

FORMS = ("logits", "probabilities")
DIM = tuple(np.array(RED) * 5 // 8)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmenters")
    return {form: write_segmenter(folder / f"{form}.onnx", form) for form in (*FORMS, "one")}


def settings_of(path, **values):
    return DetectorSettings(f"onnx:{path}", pixel_mean=(0.0,) * 3, pixel_std=(1.0,) * 3, **values)


def load(path, **values):
    return load_detector(settings_of(path, **values))


@pytest.mark.parametrize("form", FORMS)
def test_each_pixel_gets_its_class_at_the_frames_size(files, form):
    detector = load(files[form])
    assert (detector.task, detector.class_names) == ("segmentation", ("nothing", "red", "blue"))
    for hw in ((64, 96), (61, 83)):
        frame = squares(*hw, (24, 40, RED), (56, 8, BLUE))
        (found,) = detector.detect(frame[None])
        assert (found.dtype, found.shape) == (np.uint8, hw)
        assert (found[41:47, 25:31] == 1).all()
        assert (found[9:15, 57:63] == 2).all()
        assert (found != 0).sum() < 2 * 12 * 12


def test_a_map_of_one_class_is_that_class_against_the_rest(files):
    (found,) = load(files["one"]).detect(squares(64, 96, (24, 40, RED), (56, 8, BLUE))[None])
    assert found[44, 28] == 1
    assert 40 <= (found == 1).sum() <= 100


@pytest.mark.parametrize("form", [*FORMS, "one"])
def test_the_gradient_of_accuracy_is_its_slope(files, form):
    detector = load(files[form])
    slope, gradient = slope_and_gradient(detector, squares(64, 96, (24, 40, DIM), (56, 8, BLUE)), step=2)
    assert gradient > 0
    assert slope == pytest.approx(gradient, rel=0.02)


def test_a_scripted_network_that_gives_a_dict_is_segmentation_too(tmp_path):
    class Brightness(torch.nn.Module):
        def forward(self, frames: torch.Tensor) -> dict[str, torch.Tensor]:
            grey = frames.mean(1, keepdim=True)
            return {"aux": grey, "out": torch.cat([torch.zeros_like(grey), grey - 0.2, grey * 0 - 9], 1)}

    torch.jit.script(Brightness()).save(tmp_path / "b.pt")
    detector = load_detector(
        DetectorSettings(f"torchscript:{tmp_path / 'b.pt'}", pixel_mean=(0,) * 3, pixel_std=(1,) * 3)
    )
    frame = np.zeros((50, 70, 3), np.uint8)
    frame[10:20, 30:40] = 200
    np.testing.assert_array_equal(detector.detect(frame[None])[0], (frame[..., 0] > 0).astype(np.uint8))


def test_probabilities_and_logits_have_the_same_accuracy(files):
    frame = squares(64, 96, (24, 40, DIM), (56, 8, BLUE))
    logits, probabilities = (load(files[form]) for form in FORMS)
    one, other = (d.accuracy(d.tensor(frame[None]).requires_grad_()) for d in (logits, probabilities))
    np.testing.assert_allclose(one.value.detach(), other.value.detach(), rtol=1e-5)
    assert one.detections == other.detections == 16 * 24


def test_with_classes_only_the_pixels_they_win_count(files):
    frame = squares(64, 96, (24, 40, RED), (56, 8, BLUE))
    red, both = (load(files["logits"], classes=names) for names in (("red",), ("red", "2")))
    assert [d.accuracy(d.tensor(frame[None])).detections for d in (red, both)] == [4, 8]
    empty = red.accuracy(red.tensor(squares(64, 96)[None]).requires_grad_())
    assert (empty.detections, float(empty.value.detach())) == (0, 0)
    with pytest.raises(InputError, match="--classes green: the detector has no such class"):
        load(files["logits"], classes=("green",))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, files):
    """Six frames of dim squares that only the HR frames show."""
    root = tmp_path_factory.mktemp("dataset")
    rng = np.random.default_rng(0)
    for number in range(6):
        places = zip(rng.permutation(17)[:2] * 8, rng.permutation(11)[:2] * 8, (DIM, BLUE), strict=True)
        write_image(root / "hr_images" / f"{number:06d}.png", squares(100, 140, *places))
        write_image(root / "origin_images" / f"{number:06d}.png", np.zeros((50, 70, 3), np.uint8))
    dataset = Dataset.open(root)
    dataset.save(scale=2)
    dataset.write_split("test", dataset.frames("")[:4])
    return dataset


def test_the_oracle_recovers_miou_where_the_classes_change(dataset, files):
    detector = load(files["logits"])
    make_importance(dataset, detector.settings, "product", "hr_images")
    opened = Dataset.open(dataset.root)
    result = evaluate(opened, opened.frames(""), detector, "hr_images", (0.1, 0.4)).to_dict()
    assert (result["metric"], result["frames"], result["all"]) == ("miou", 6, 1)
    assert 0 < result["none"] < 0.4  # nothing is found as nothing; red and blue are not found
    assert result["curves"]["oracle"]["0.4"] > 0.9
    assert result["curves"]["oracle"]["0.1"] > result["curves"]["random"]["0.1"] + 0.1
    low, high = result["intervals_95"]["random"]["0.4"]
    assert low <= result["curves"]["random"]["0.4"] <= high


@pytest.mark.slow
def test_the_commands_take_a_segmenter_all_the_way(run, refused, dataset, files, tmp_path):
    size = ("--pixel_mean", 0, 0, 0, "--pixel_std", 1, 1, 1)
    run("tools/make_importance.py", "--data", dataset.root, "--detector", f"onnx:{files['logits']}", *size)
    record = read_yaml(dataset.root / "dataset.yaml")["detector"]
    assert (record["task"], record["pixel_std"]) == ("segmentation", [1, 1, 1])
    flags = ("--data", dataset.root, "--save_dir", tmp_path / "e")
    result = run("tools/evaluate.py", *flags)
    written = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    assert (written["metric"], written["frames"], written["settings"]["detector"]) == ("miou", 4, record)
    told, *lines = result.stdout.splitlines()
    assert "read as segmentation: 3 classes (nothing, red, blue), RGB 0..1, any size" in told
    assert record["read_as"] in told
    assert lines[0].split() == ["mIoU", "0%", "2%", "5%", "10%", "20%", "40%", "100%"]
    assert lines[2].split()[:2] == ["95", "%"]
    assert "warning: 4 frames are few" in result.stderr
    assert "<svg" in (tmp_path / "e" / "evaluation.svg").read_text()
    (tmp_path / "truth.json").write_text('{"classes": ["red"], "frames": {}}')
    assert "is for segmentation" in refused("tools/evaluate.py", *flags, "--truth", tmp_path / "truth.json")
