"""Upscalers exported to ONNX: the pixels of PyTorch, whole and in regions, in each engine."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from deploy import export_upscaler
from deploy.backends.registry import CPU_BACKENDS
from deploy.backends.upscaling import load_onnx_upscaler
from deploy.online.upscalers import load_online_upscaler
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import write_bytes
from regenhance_data.regions.composite import paste_regions
from regenhance_data.regions.rectangles import cover
from regenhance_data.upscalers.edsr import Edsr
from regenhance_data.upscalers.enhancement import RegionEnhancer
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.receptive_field import Halo, exact_halo
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.files import noise
from tests.support.upscalers import write_changed, write_script

pytestmark = pytest.mark.torch
FRAMES = np.stack(noise(2, 45, 70))


def write_edsr(path):
    torch.manual_seed(0)
    torch.save(Edsr(4, 1, 2).state_dict(), path)
    return path


def write_compact(path, channels):
    from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact

    torch.manual_seed(0)
    network = SRVGGNetCompact(num_in_ch=channels, num_out_ch=channels, num_feat=8, num_conv=2, upscale=2)
    torch.save(network.state_dict(), path)
    return path


class Bessel(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x).repeat_interleave(2, 2).repeat_interleave(2, 3)


def write_bessel(path):
    torch.jit.script(Bessel()).save(path)
    return path


# what makes the spec and the flags, and what the file is read as
SPECS = {
    "builtin": (lambda _: ("builtin", 3, {}), "RGB 0..255"),
    "general": (lambda _: ("general", 4, {}), "RGB 0..255"),
    "edsr": (lambda folder: (f"edsr:{write_edsr(folder / 'up.pt')}", 2, {}), "RGB 0..255"),
    "spandrel": (lambda folder: (f"spandrel:{write_compact(folder / 'up.pth', 3)}", 2, {}), "RGB 0..255"),
    "spandrel of luma": (lambda folder: (f"spandrel:{write_compact(folder / 'up.pth', 1)}", 2, {}), "luma 0..1"),
    "torchscript on blocks, other order": (
        lambda folder: (
            f"torchscript:{write_script(folder / 'up.ts', multiple=4)}",
            2,
            {"channel_order": "RGB-BGR"},
        ),
        "multiples of 4",
    ),
    "torchscript of another range": (
        lambda folder: (
            f"torchscript:{write_changed(folder / 'up.ts', 'smoother', white=255.0)}",
            2,
            {"pixel_range": 255},
        ),
        "RGB 0..255",
    ),
}


def export(spec, scale, folder, **more):
    """The exported file's settings."""
    flags = [word for name, value in more.items() for word in (f"--{name}", value)]
    words = ["--model", spec, "--scale", scale, "--save_dir", folder, *flags]
    export_upscaler.main(export_upscaler.make_parser().parse_args([str(word) for word in words]))
    [path] = folder.glob("*.onnx")
    return UpscalerSettings(f"onnx:{path}", scale)


@pytest.mark.parametrize("name", SPECS)
def test_an_exported_upscaler_makes_the_pixels_of_pytorch_in_each_engine(name, tmp_path, capsys):
    make, read_as = SPECS[name]
    spec, scale, more = make(tmp_path)
    exported = export(spec, scale, tmp_path / "made", **more)
    original = load_upscaler(UpscalerSettings(spec, scale, **more))
    assert f"halo: {exact_halo(original.network).px} LR pixels" in capsys.readouterr().out
    [report_path] = (tmp_path / "made").glob("*.parity.json")
    report = json.loads(report_path.read_text())
    assert set(report["engines"]) == set(CPU_BACKENDS)
    for upscaler in (load_upscaler(exported), *(load_onnx_upscaler(exported, engine) for engine in CPU_BACKENDS)):
        assert read_as in upscaler.read_as
        assert exact_halo(upscaler.network) == Halo(report["halo_px"], "known")
        assert np.abs(upscaler(FRAMES).astype(int) - original(FRAMES)).max() <= 1


@pytest.fixture(scope="module")
def builtin(tmp_path_factory):
    return export("builtin", 3, tmp_path_factory.mktemp("builtin"))


@pytest.mark.parametrize("mode", ["regions", "atlas"])
@pytest.mark.parametrize("engine", CPU_BACKENDS)
def test_regions_in_each_engine_have_the_whole_frames_pixels(builtin, engine, mode):
    upscaler = load_onnx_upscaler(builtin, engine, threads=1)
    enhancer = RegionEnhancer(upscaler, mode)
    assert (enhancer.mode, enhancer.halo_px) == (mode, 7)
    [lr], grid = noise(1, 61, 93), MacroblockGrid(61, 93)
    hr = upscaler(lr[None])[0]
    for at in range(grid.areas.size):
        selected = np.arange(grid.areas.size).reshape(grid.shape) == at
        upsampled = np.zeros_like(hr)
        regions = cover(selected, grid, enhancer.halo_px)
        paste_regions(upsampled, regions, enhancer.enhance(lr, regions), selected, 48)
        pasted = grid.scaled(3).spread(selected)
        assert np.abs(upsampled[pasted].astype(int) - hr[pasted]).max() <= 1


@pytest.mark.parametrize("engine", CPU_BACKENDS)
def test_threads_share_an_enhancer(builtin, engine):
    enhancer = RegionEnhancer(load_onnx_upscaler(builtin, engine, threads=1))
    frames, selected = noise(12, 61, 93), np.indices((4, 6)).sum(0) % 4 == 0
    regions = cover(selected, MacroblockGrid(61, 93), enhancer.halo_px)
    expected = [enhancer.enhance(lr, regions) for lr in frames]
    with ThreadPoolExecutor(4) as threads:
        found = [*threads.map(lambda lr: enhancer.enhance(lr, regions), frames)]
    for made, one in zip(found, expected, strict=True):
        for hr, wanted in zip(made, one, strict=True):
            np.testing.assert_array_equal(hr, wanted)


def test_the_file_has_the_form_that_is_promised(builtin):
    model = onnx.load(builtin.argument)
    assert [entry.version for entry in model.opset_import] == [17]
    shapes = [[dim.dim_param or dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in model.graph.input]
    assert shapes == [["n", "h", "w", 3]]
    assert {entry.key: entry.value for entry in model.metadata_props}["halo_px"] == "7"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda folder: "bicubic",
            "--model bicubic: cannot be exported; there are: builtin, general, edsr:PATH, spandrel:PATH, ",
        ),
        (lambda folder: f"torchscript:{write_bessel(folder / 'up.ts')}", "up.ts: PyTorch cannot export it to ONNX"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_leaves_no_file(make, says, tmp_path):
    with pytest.raises(InputError, match=says) as refusal:
        export(make(tmp_path), 2, tmp_path / "made")
    assert "\n" not in str(refusal.value)
    assert not [*(tmp_path / "made").glob("*.onnx")]


@pytest.mark.parametrize(
    ("spec", "scale", "name"),
    [
        ("general", 3, "general_x3"),
        ("torchscript:x3/net.ts", 3, "net"),
        ("torchscript:x2/net.ts", 2, "net_x2"),
        ("edsr:edsr_baseline_x2.pt", 2, "edsr_baseline_x2"),
    ],
)
def test_names_tell_exports_of_other_scales_apart(tmp_path, monkeypatch, spec, scale, name):
    monkeypatch.chdir(tmp_path)
    if ":" in spec:
        write_bytes(Path(spec.partition(":")[2]), b"weights")
    assert export_upscaler.name_of(UpscalerSettings(spec, scale)) == name


def test_a_file_of_other_software_is_not_overwritten(tmp_path):
    (tmp_path / "builtin_x3.onnx").write_bytes(b"of a vendor")
    with pytest.raises(InputError, match=r"builtin_x3\.onnx: is no export of this kit, and would be overwritten"):
        export("builtin", 3, tmp_path)
    assert (tmp_path / "builtin_x3.onnx").read_bytes() == b"of a vendor"


def test_online_an_onnx_file_runs_in_an_engine_and_other_kinds_as_they_are(builtin):
    assert load_online_upscaler("builtin").network.scale == load_online_upscaler(builtin).network.scale
