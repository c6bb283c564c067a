"""Networks of one channel: they make luma, the chroma is interpolated."""

import cv2
import numpy as np
import pytest
import torch
from onnx import TensorProto
from PIL import Image
from torch import nn
from torch.nn import functional

from regenhance_data import errors
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.files import ROOT, noise
from tests.support.tensorflow import write_frozen_graph
from tests.support.upscalers import write_repeating

FRAMES = np.stack(noise(2, 45, 67))
SHARED = ROOT.parent / "shared" / "data" / "upscalers"


class SubPixel(nn.Module):
    """Takes exactly one channel, as ESPCN does; trained to nothing but repeating."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 9, 1, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, x):
        return functional.pixel_shuffle(self.conv(x), 3)


def upscaler(spec, scale=3, **more):
    return load_upscaler(UpscalerSettings(spec, scale, **more))


def planes(frame):
    return np.asarray(Image.fromarray(frame).convert("YCbCr")).astype(int)


def write_luma(kind, path):
    match kind:
        case "onnx":
            return f"onnx:{write_repeating(path / 'a.onnx', ('n', 1, 'h', 'w'), 3)}"
        case "onnx of one size":
            return f"onnx:{write_repeating(path / 'a.onnx', (1, 1, 32, 32), 3)}"
        case "onnx of one size, channels last":
            return f"onnx:{write_repeating(path / 'a.onnx', (1, 40, 32, 1), 3)}"
        case "torchscript":
            torch.jit.trace(SubPixel().eval(), torch.rand(1, 1, 24, 24)).save(path / "a.pt")
            return f"torchscript:{path / 'a.pt'}"
        case _:
            return f"opencv:{write_frozen_graph(path / 'ESPCN_x3.pb', 3)}"


@pytest.mark.parametrize(
    "kind", ["onnx", "onnx of one size", "onnx of one size, channels last", "torchscript", "opencv"]
)
def test_luma_is_the_network_s_and_chroma_is_bicubic(kind, tmp_path):
    upscale = upscaler(write_luma(kind, tmp_path))
    assert "luma" in upscale.read_as
    assert "chroma bicubic" in upscale.read_as
    for given, made in zip(FRAMES, upscale(FRAMES), strict=True):
        before, after = planes(given), planes(made)
        inside = (made > 0).all(2) & (made < 255).all(2)  # colours that exist
        assert np.abs(after[..., 0] - before[..., 0].repeat(3, 0).repeat(3, 1))[inside].max() <= 2
        bicubic = cv2.resize(before[..., 1:].astype(np.float32), (201, 135), interpolation=cv2.INTER_CUBIC)
        if "size" in kind:  # tiles: bicubic too, but for where a tile ends
            assert np.abs(after[..., 1:] - bicubic)[inside].mean() <= 2
        else:
            assert np.abs(after[..., 1:] - bicubic)[inside].max() <= 3


def test_grey_frames_stay_grey(tmp_path):
    grey = FRAMES[..., :1].repeat(3, 3)
    made = upscaler(write_luma("onnx", tmp_path))(grey)
    assert np.abs(made.astype(int) - grey.repeat(3, 1).repeat(3, 2)).max() <= 1


def test_the_channels_of_luma_have_no_order(tmp_path):
    with pytest.raises(errors.InputError, match=r"--channel_order BGR: .* takes luma; leave it out"):
        upscaler(write_luma("onnx", tmp_path), channel_order="BGR")


@pytest.mark.parametrize(
    ("shape", "about"),
    [
        *((("n", 3, "h", "w"), {"opset": opset}) for opset in (9, 10, 18, 21)),
        *((("n", 3, "h", "w"), {"kind": kind}) for kind in (TensorProto.FLOAT16, TensorProto.UINT8)),
        (("n", "h", "w", 3), {}),
        ((1, 45, 67, 3), {"kind": TensorProto.UINT8}),
        ((1, 24, 32, 3), {}),
        (("n", "c", "h", "w"), {}),
        (("n", 3, "h", "w"), {"extra": True}),
    ],
)
def test_graphs_of_any_type_layout_and_opset_upscale(tmp_path, shape, about):
    upscale = upscaler(f"onnx:{write_repeating(tmp_path / 'a.onnx', shape, **about)}", 2)
    np.testing.assert_array_equal(upscale(FRAMES), FRAMES.repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize(("channels", "transposed"), [(1, False), (1, True), (3, False)])
def test_graphs_of_opencv_s_dnn_superres_upscale(tmp_path, channels, transposed):
    path = write_frozen_graph(tmp_path / "ESPCN_x2.pb", 2, channels, transposed=transposed)
    upscale = upscaler(f"opencv:{path}", 2)
    made, expected = upscale(FRAMES), FRAMES.repeat(2, 1).repeat(2, 2).astype(int)
    assert np.abs(planes(made[0])[..., 0] - planes(expected[0].astype(np.uint8))[..., 0]).mean() < 1
    if channels == 3:
        np.testing.assert_array_equal(made, expected)


def test_the_pixels_of_a_block_come_in_tensorflow_s_order(tmp_path):
    """Each pixel of the result is the input times its number, row by row."""
    kernel = np.linspace(0.2, 1, 9).reshape(1, 1, 1, 9)
    upscale = upscaler(f"opencv:{write_frozen_graph(tmp_path / 'x.pb', 3, kernel=kernel)}")
    made = upscale(np.full((1, 8, 8, 3), 200, np.uint8))[0, 3:6, 3:6, 0]
    np.testing.assert_allclose(made, 200 * kernel.reshape(3, 3), atol=1)


def test_frozen_graphs_that_are_none_are_refused_in_one_line(tmp_path):
    (tmp_path / "junk.pb").write_bytes(b"junk" * 100)
    whole = write_frozen_graph(tmp_path / "whole.pb").read_bytes()
    (tmp_path / "cut.pb").write_bytes(whole[: len(whole) // 2])
    for name in ("junk.pb", "cut.pb"):
        with pytest.raises(errors.InputError, match=f"^{tmp_path / name}: is not .*") as refusal:
            upscaler(f"opencv:{tmp_path / name}")
        assert "\n" not in str(refusal.value)
    with pytest.raises(errors.InputError, match=f"did you mean opencv:{tmp_path / 'whole.pb'}"):
        UpscalerSettings(str(tmp_path / "whole.pb"))
    with pytest.raises(errors.InputError, match="makes frames 3 times as large, no others"):
        upscaler(f"opencv:{tmp_path / 'whole.pb'}", 2)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared upscalers are not here")
def test_public_files_are_read_or_refused_with_the_way_out():
    upscale = upscaler(f"onnx:{SHARED / 'luma_x3.onnx'}")
    assert upscale.read_as == "ONNX network, ×3, luma 0..1, chroma bicubic, input 224x224"
    bicubic = upscaler("bicubic")(FRAMES).astype(int)
    assert np.abs(upscale(FRAMES) - bicubic).mean() < 5
    for kind in ("edsr", "spandrel"):
        with pytest.raises(errors.InputError, match=r"etds_m7c48_x3.pth: .*; no kind knows this network: trace it"):
            upscaler(f"{kind}:{SHARED / 'etds_m7c48_x3.pth'}")
    with pytest.raises(errors.InputError, match=r"did you mean spandrel:.*craft_x4.pth\?$"):
        UpscalerSettings(f"{SHARED / 'craft_x4.pth'}", 4)
