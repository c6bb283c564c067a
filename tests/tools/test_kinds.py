"""A detector and an upscaler of a new kind need one row of the table and one module."""

import numpy as np
import pytest

from regenhance_data import cli, errors
from regenhance_data.dataset.folder import Dataset
from regenhance_data.detectors import kinds as detector_kinds
from regenhance_data.detectors.kinds import DetectorKind
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.io.images import read_image, write_image
from regenhance_data.upscalers import kinds as upscaler_kinds
from regenhance_data.upscalers.kinds import UpscalerKind
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.files import noise
from tools import make_importance, super_resolve

DETECTOR = """
from regenhance_data.detectors.segmentation import Segmenter


class Brightness(Segmenter):
    class_names = ("dark", "bright")

    def logits(self, frames):
        grey = frames.mean(1, keepdim=True) / 255
        return (grey - 0.5) * grey.new_tensor([-1.0, 1.0])[:, None, None]


def load(argument, settings):
    return Brightness(settings)


def identity(argument, settings):
    return {"brightness_of": argument}
"""
UPSCALER = """
from regenhance_data.upscalers.base import UpscalingNetwork


class Repeat(UpscalingNetwork):
    def run(self, frames):
        return frames.repeat(self.scale, 1).repeat(self.scale, 2)


def load(argument, settings):
    return Repeat("repeat", settings.scale, overlap=0)


def identity(argument):
    return None
"""


def call(command, *words):
    """Run the command of a module of tools/ in this process, where the tables have the new kinds."""
    with pytest.raises(SystemExit) as left:
        cli.run(command.main, command.make_parser(), [str(word) for word in words])
    assert left.value.code == 0


@pytest.fixture
def new_kinds(tmp_path, monkeypatch):
    (tmp_path / "brightness_detector.py").write_text(DETECTOR)
    (tmp_path / "repeat_upscaler.py").write_text(UPSCALER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(
        detector_kinds.KINDS,
        "brightness",
        DetectorKind("brightness", "brightness_detector", "NAME", suffixes=(".lux",)),
    )
    monkeypatch.setitem(upscaler_kinds.KINDS, "repeat", UpscalerKind("repeat", "repeat_upscaler", precisions=()))


def test_a_row_is_all_that_a_new_kind_needs_besides_its_module(new_kinds, tmp_path):
    root = tmp_path / "data"
    for number, image in enumerate(noise(2, 40, 64)):
        write_image(root / "origin_images" / "a" / f"{number:06d}.png", image)
    call(super_resolve, "--data", root, "--model", "repeat", "--scale", 2, "--workers", 1)
    call(make_importance, "--data", root, "--detector", "brightness:sun", "--classes", "bright", "--workers", 1)
    dataset = Dataset.open(root)
    frame = dataset.frames("a")[1]
    expected = dataset.read("origin_images", frame).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(read_image(dataset.path("sr_images", frame)), expected)
    assert dataset.record.upscaler == {"spec": "repeat", "sha256": None, "read_as": "network, ×2, RGB"}
    assert dataset.record.detector is not None
    assert dataset.record.detector["spec"] == "brightness:sun"
    assert dataset.record.detector["brightness_of"] == "sun"
    assert dataset.record.detector["task"] == "segmentation"
    assert dataset.importance_path("a").is_file()


def test_help_and_refusals_know_the_new_kinds(new_kinds, tmp_path):
    for command, spec in ((super_resolve, "repeat"), (make_importance, "brightness:NAME")):
        assert spec in command.make_parser().format_help()
    with pytest.raises(errors.InputError, match=r"there are: builtin, .*, brightness:NAME"):
        load_detector(DetectorSettings("brightness"))
    with pytest.raises(errors.InputError, match="has its own weights"):
        load_detector(DetectorSettings("brightness:sun", weights="sun.pth"))
    (tmp_path / "sun.lux").touch()
    with pytest.raises(errors.InputError, match="did you mean brightness:"):
        load_detector(DetectorSettings(str(tmp_path / "sun.lux")))
    with pytest.raises(errors.InputError, match="--precision fp16: repeat has one precision only"):
        UpscalerSettings("repeat", precision="fp16")
    with pytest.raises(errors.InputError, match=r"--pixel_range 255: .*, for torchscript: and onnx: only"):
        UpscalerSettings("repeat", pixel_range=255.0)
