"""The general upscalers, on frames that they were not trained on, and their training."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from regenhance_data import cli
from regenhance_data.dataset.folder import Dataset
from regenhance_data.errors import InputError
from regenhance_data.io.files import sha256
from regenhance_data.io.images import write_image
from regenhance_data.street.scene import render_scene
from regenhance_data.tuning.general import train_general_upscaler as train_general
from regenhance_data.upscalers.enhancement import RegionEnhancer
from regenhance_data.upscalers.general import load_general_upscaler
from regenhance_data.upscalers.general_weights import GENERAL_SCALES, general_weights
from regenhance_data.upscalers.loading import load_upscaler, upscaler_record
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.cameras import square_frames
from tests.support.files import noise
from tools import train_general_upscaler


def general(scale):
    return load_upscaler(UpscalerSettings("general", scale))


@pytest.mark.parametrize("scale", GENERAL_SCALES)
def test_it_is_nearer_to_originals_than_interpolation(scale):
    originals = [frame[: 540 // scale * scale, : 960 // scale * scale] for frame, _, _ in render_scene(5, 3)]
    upscaler = general(scale)
    for original in originals:
        height, width = (side // scale for side in original.shape[:2])
        lr = cv2.resize(original, (width, height), interpolation=cv2.INTER_AREA)
        bicubic = cv2.resize(lr, original.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        assert cv2.PSNR(upscaler(lr[None])[0], original) > cv2.PSNR(bicubic, original)


@pytest.mark.parametrize("scale", GENERAL_SCALES)
def test_it_makes_frames_of_any_size_and_knows_its_halo(scale):
    upscaler = general(scale)
    assert upscaler.read_as == f"general network, ×{scale}, RGB 0..255"
    assert upscaler(np.stack(noise(2, 61, 83))).shape == (2, 61 * scale, 83 * scale, 3)
    assert RegionEnhancer(upscaler).halo_px == 6


def test_a_scale_without_weights_is_refused():
    with pytest.raises(InputError, match=re.escape("--scale 5: the general upscalers have 2, 3, 4; take another")):
        general(5)


def test_the_record_knows_the_weights():
    record = upscaler_record(UpscalerSettings("general", 2))
    assert record["spec"] == "general"
    assert re.fullmatch("[0-9a-f]{64}", record["sha256"])
    assert all(general_weights(scale).stat().st_size < 1e6 for scale in GENERAL_SCALES)


@pytest.fixture(scope="module")
def cameras(tmp_path_factory):
    """Two clips of frames of other sizes, with originals of three times these, and squares in them."""
    root = tmp_path_factory.mktemp("cameras")
    for clip, (height, width) in {"gate": (48, 64), "yard": (60, 50)}.items():
        for number, hr in enumerate(square_frames(3, 3 * height, 3 * width)):
            lr = cv2.resize(hr, (width, height), interpolation=cv2.INTER_AREA)
            for folder, image in (("hr_images", hr), ("origin_images", lr)):
                write_image(root / folder / clip / f"{number:06d}.png", image)
    Dataset.open(root).save(scale=3)
    return root


def trained(folder, *words):
    command, words = train_general_upscaler, list(map(str, ("--save_dir", folder, *words)))
    with pytest.raises(SystemExit) as left:
        cli.run(command.main, command.make_parser(), words)
    return left.value.code


def test_a_training_makes_the_same_weights_again(cameras, detector_file, tmp_path):
    given = ("--data", cameras, "--detector", f"onnx:{detector_file}", "--iterations", 3, 2)
    for folder in ("one", "again"):
        assert trained(tmp_path / folder, *given) == 0
        assert [path.name for path in (tmp_path / folder).iterdir()] == ["general_x3.pt"]
    one, again = (tmp_path / folder / "general_x3.pt" for folder in ("one", "again"))
    assert sha256(one) == sha256(again)
    assert trained(tmp_path / "next", *given, "--start", one) == 0
    assert sha256(tmp_path / "next/general_x3.pt") != sha256(one)
    further = (*given[:-3], "--iterations", 0, 2, "--start", one, "--also_for", f"onnx:{detector_file}")
    assert trained(tmp_path / "both", *further) == 0  # no step on pixels, two detectors
    assert sha256(tmp_path / "both/general_x3.pt") != sha256(one)
    first = load_general_upscaler(3, one)(torch.zeros(1, 3, 20, 30))
    assert first.shape == (1, 3, 60, 90)


def test_earlier_weights_are_kept_and_compressed_frames_are_told(cameras, detector_file, tmp_path, capsys):
    root = Path(shutil.copytree(cameras, tmp_path / "data"))
    data = Dataset.open(root)
    data.save(clips={"gate": {"jpeg_quality": 75}, "yard": {"jpeg_quality": None}})
    given = ("--data", root, "--detector", f"onnx:{detector_file}", "--iterations", 1, 1)
    earlier = tmp_path / "out" / "general_x3.pt"
    earlier.parent.mkdir()
    earlier.write_text("of an earlier training")
    assert trained(earlier.parent, *given) == 2
    assert "general_x3.pt: is of an earlier training; replace it with --overwrite" in capsys.readouterr().err
    assert earlier.read_text() == "of an earlier training"
    assert trained(earlier.parent, *given, "--overwrite") == 0
    assert "dataset.yaml: gate were compressed already when" in capsys.readouterr().err
    assert load_general_upscaler(3, earlier)


@pytest.mark.parametrize("scale", [2, 4])
def test_another_scale_begins_with_all_layers_but_the_last(scale, detector):
    pairs = [(lr, cv2.resize(lr, None, fx=scale, fy=scale)) for lr in square_frames(2, 48, 64)]
    start = load_general_upscaler(3)
    made = train_general(pairs, [detector], (1, 1), 0, start)
    assert made.scale == scale
    *others, _, _ = start.state_dict().items()  # but for the weights and the biases of the last layer
    assert all((made.state_dict()[name] - value).abs().max() < 0.01 for name, value in others)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--iterations", 0, 5), "--iterations 0: expected at least 1"),
        (("--also_for", "onnx:missing.onnx"), "missing.onnx: no such"),
        (("--start", "missing.pt"), "missing.pt: no such"),
        (("--start", __file__), "test_general.py: expected one of general_x2.pt, general_x3.pt, general_x4.pt"),
    ],
)
def test_a_training_refuses_what_it_cannot_use(words, said, cameras, detector_file, tmp_path, capsys):
    assert trained(tmp_path / "out", "--data", cameras, "--detector", f"onnx:{detector_file}", *words) == 2
    assert said in capsys.readouterr().err
