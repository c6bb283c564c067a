"""A result that is unlike its input is refused, with the flag that mends it; sound upscalers are not."""

import cv2
import numpy as np
import pytest

from regenhance_data import errors
from regenhance_data.dataset.folder import Dataset
from regenhance_data.io.images import write_image
from regenhance_data.upscalers.likeness import refuse_unlike_result
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.files import ROOT, content, noise
from tests.support.upscalers import write_biased, write_changed

SHARED = ROOT.parent / "shared" / "data" / "upscalers"


def street():
    """Frames like those of a camera, 180 pixels high."""
    frames, rng = noise(3, 180, 320), np.random.default_rng(0)
    for frame in frames:
        for _ in range(40):
            top, left = rng.integers(0, 160), rng.integers(0, 290)
            frame[top : top + rng.integers(4, 30), left : left + rng.integers(4, 40)] = rng.integers(0, 256, 3)
    return [cv2.GaussianBlur(frame, (5, 5), 0) for frame in frames]


DAY = street()
NIGHT = [(frame * 0.12).astype(np.uint8) for frame in DAY]
GREY = [frame[..., :1].repeat(3, 2) for frame in DAY]
SENSOR = [np.random.default_rng(n).normal(12, 6, (180, 320, 3)).clip(0, 255).astype(np.uint8) for n in range(3)]
UNIFORM = [np.full((180, 320, 3), value, np.uint8) for value in (0, 90, 255)]
SOUND = ("sound", "sharper", "smoother", "half a pixel off")


def check(spec, frames, scale=2, **more):
    settings = UpscalerSettings(spec, scale, **more)
    refuse_unlike_result(settings, load_upscaler(settings), frames)


@pytest.mark.parametrize("change", SOUND)
def test_sharpening_and_denoising_are_sound_by_day_and_by_night(change, tmp_path):
    spec = f"torchscript:{write_changed(tmp_path / 'a.pt', change)}"
    for frames in (DAY, NIGHT, GREY, SENSOR, UNIFORM, noise(3, 20, 31)):
        check(spec, frames)


def test_a_network_that_brightens_the_dark_is_sound(tmp_path):
    spec = f"torchscript:{write_changed(tmp_path / 'a.pt', 'brighter in the dark')}"
    for frames in (DAY, NIGHT, GREY):
        check(spec, frames)


@pytest.mark.parametrize("spec", ["builtin", "bicubic"])
def test_the_kit_s_upscalers_are_sound(spec):
    for frames in (DAY, NIGHT, GREY, SENSOR, UNIFORM):
        check(spec, frames, 3)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("inverted", "it is inverted"),
        ("black", "it is nearly black, mean 0 of 255"),
        ("white", "it is nearly white, mean 255 of 255"),
        ("shifted", "it is shifted by 4 pixels to the right and 0 down|mean"),
        ("to -1..1", "mean"),
    ],
)
def test_what_no_flag_mends_is_refused_with_how_it_looks(change, what, tmp_path):
    path = write_changed(tmp_path / "a.pt", change)
    for frames in (DAY, GREY, UNIFORM[:1] * 5 + DAY):  # the first frames may say nothing
        with pytest.raises(
            errors.InputError, match=rf"a.pt: its result is unlike the LR frame \((?:{what}).*\); no flag"
        ):
            check(f"torchscript:{path}", frames)


def test_swapped_channels_are_refused_with_their_order_and_mended_by_it(tmp_path):
    spec = f"torchscript:{write_changed(tmp_path / 'a.pt', 'swapped')}"
    with pytest.raises(errors.InputError, match=r"\(its colours are swapped\); give --channel_order RGB-BGR$"):
        check(spec, DAY)
    check(spec, DAY, channel_order="RGB-BGR")
    check(spec, DAY, channel_order="BGR-RGB")
    check(spec, GREY)  # grey frames show no order
    made = load_upscaler(UpscalerSettings(spec, 2, channel_order="RGB-BGR"))(DAY[0][None])[0]
    np.testing.assert_array_equal(made, DAY[0].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_the_other_range_is_named_where_it_mends(white, tmp_path):
    """Both ways: the given range is the wrong one."""
    spec = f"torchscript:{write_changed(tmp_path / 'a.pt', 'of its range', white=white)}"
    check(spec, DAY, pixel_range=white)
    with pytest.raises(errors.InputError, match=rf"; give --pixel_range {white:g}$"):
        check(spec, DAY, pixel_range=256 - white)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("white", [1, 255])
@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_a_network_whose_biases_belong_to_one_range_is_refused_the_other(kind, channels, white, tmp_path):
    """In 0..255 a bias of 0.03 is lost, in 0..1 one of 0.1 shows; the result is like the frame in both."""
    factor, bias = (0.94, 0.03) if white == 1 else (1.0, 0.1)
    spec = f"{kind}:{write_biased(tmp_path / 'a.net', kind, channels, factor, bias)}"
    for frames in (DAY, NIGHT, GREY):
        check(spec, frames, pixel_range=white)
    for frames in (DAY, GREY):
        with pytest.raises(errors.InputError, match=rf"a.net: .*; give --pixel_range {white}$"):
            check(spec, frames, pixel_range=256 - white)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared upscalers are not here")
def test_a_public_network_of_luma_is_held_to_its_range():
    spec = f"onnx:{SHARED / 'luma_x3.onnx'}"
    check(spec, DAY[:1], 3)
    with pytest.raises(errors.InputError, match=r"luma_x3.onnx: white is 1 in this network, .*; give --pixel_range 1$"):
        check(spec, DAY[:1], 3, pixel_range=255)


def test_bgr_weights_are_given_their_order_where_it_is_needed(tmp_path):
    spec = f"torchscript:{write_changed(tmp_path / 'a.pt', 'sound')}"
    for order in ("RGB", "BGR"):
        made = load_upscaler(UpscalerSettings(spec, 2, channel_order=order))(DAY[0][None])[0]
        np.testing.assert_array_equal(made, DAY[0].repeat(2, 0).repeat(2, 1))


@pytest.mark.slow
def test_the_command_refuses_before_it_writes_anything(run, refused, tmp_path):
    root = tmp_path / "data"
    for number, frame in enumerate(DAY):
        write_image(root / "origin_images" / "a" / f"{number:06d}.png", frame)
    before = content(root)
    flags = ("--scale", 2, "--model", f"torchscript:{write_changed(tmp_path / 'a.pt', 'of its range', white=255.0)}")
    line = refused("tools/super_resolve.py", "--data", root, *flags)
    assert "a.pt: its result is unlike the LR frame" in line
    assert line.endswith("give --pixel_range 255")
    assert content(root) == before
    run("tools/super_resolve.py", "--data", root, *flags, "--pixel_range", 255)
    record = Dataset.open(root).record.upscaler
    assert record["pixel_range"] == 255.0
    assert record["read_as"] == "TorchScript network, ×2, RGB 0..255"
