import pickle

import cv2
import numpy as np
import pytest
import torch
from onnx import TensorProto
from torch import nn

from regenhance_data import errors
from regenhance_data.dataset.folder import Dataset
from regenhance_data.io.files import sha256
from regenhance_data.io.images import read_image, write_image
from regenhance_data.stages.super_resolve import super_resolve
from regenhance_data.upscalers.edsr import Edsr
from regenhance_data.upscalers.loading import load_upscaler, upscaler_record
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.files import noise
from tests.support.upscalers import RedInverted, red_inverted, write_graph, write_script

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 21, 35, 3), np.uint8)


def upscaler(spec, scale, **more):
    return load_upscaler(UpscalerSettings(spec, scale, **more))


@pytest.fixture
def dataset(tmp_path):
    for clip, count in (("a", 3), ("b", 2)):
        for number, image in enumerate(noise(count, 20, 31)):
            write_image(tmp_path / "origin_images" / clip / f"{number:06d}.png", image)
    return Dataset.open(tmp_path)


def clear_files(dataset):
    return sorted(path.relative_to(dataset.root).as_posix() for path in dataset.root.glob("sr_images/**/*.png"))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_opencv_s(scale):
    frames = np.stack(noise(2, 20, 31))
    clear = upscaler("bicubic", scale)(frames)
    expected = [cv2.resize(frame, (31 * scale, 20 * scale), interpolation=cv2.INTER_CUBIC) for frame in frames]
    np.testing.assert_array_equal(clear, expected)


def test_the_builtin_upscaler_makes_frames_three_times_as_large():
    frames = np.stack(noise(2, 20, 31))
    clear = upscaler("builtin", 3)(frames)
    assert (clear.shape, clear.dtype) == ((2, 60, 93, 3), np.uint8)
    bilinear = cv2.resize(frames[0], (93, 60), interpolation=cv2.INTER_LINEAR)
    assert np.abs(clear[0].astype(int) - bilinear).mean() < 20


@pytest.mark.slow
def test_every_frame_of_every_clip_gets_a_clear_frame(run, dataset):
    flags = ("--model", "bicubic", "--scale", 2, "--batch_size", 2)
    result = run("tools/super_resolve.py", "--data", dataset.root, *flags)
    assert "5 frames at 2 times" in result.stdout
    assert clear_files(dataset) == [f"sr_images/a/00000{n}.png" for n in range(3)] + [
        f"sr_images/b/00000{n}.png" for n in range(2)
    ]
    origin = dataset.read("origin_images", dataset.frames("a")[2])
    expected = upscaler("bicubic", 2)(origin[None])[0]
    np.testing.assert_array_equal(read_image(dataset.root / "sr_images/a/000002.png"), expected)
    info = Dataset.open(dataset.root).record.content
    read_as = "bicubic interpolation, ×2, RGB"
    assert (info["scale"], info["upscaler"]) == (2, {"spec": "bicubic", "sha256": None, "read_as": read_as})
    assert f"bicubic: read as {read_as}" in result.stdout


def test_frames_of_the_same_upscaler_are_kept_and_those_of_another_scale_are_not(dataset):
    super_resolve(dataset, UpscalerSettings("bicubic", 2))
    kept, lost = (dataset.root / "sr_images" / "a" / f"00000{n}.png" for n in (0, 1))
    before = kept.stat().st_mtime_ns
    lost.unlink()
    super_resolve(Dataset.open(dataset.root), UpscalerSettings("bicubic", 2))
    assert kept.stat().st_mtime_ns == before
    assert lost.exists()
    super_resolve(Dataset.open(dataset.root), UpscalerSettings("bicubic", 3))
    assert {read_image(dataset.root / name).shape for name in clear_files(dataset)} == {(60, 93, 3)}


def test_clear_frames_from_elsewhere_are_replaced_only_when_asked(dataset):
    own = dataset.root / "sr_images" / "a" / "000000.png"
    write_image(own, noise(1, 60, 93)[0])
    before = own.read_bytes()
    with pytest.raises(errors.InputError, match="was not made by this tool; move it away or give --overwrite"):
        super_resolve(dataset, UpscalerSettings("bicubic", 3))
    assert own.read_bytes() == before
    super_resolve(dataset, UpscalerSettings("bicubic", 3), overwrite=True)
    assert own.read_bytes() != before


def test_a_dataset_s_other_clear_frames_set_the_scale(dataset):
    with pytest.raises(errors.InputError, match="--batch_size 0"):
        super_resolve(dataset, UpscalerSettings("bicubic", 3), 0)
    (dataset.root / "hr_images").mkdir()
    dataset.save(scale=3)
    with pytest.raises(errors.InputError, match="hr_images/ have 3 times"):
        super_resolve(dataset, UpscalerSettings("bicubic", 2))


def test_frames_of_different_sizes_are_refused(dataset):
    write_image(dataset.root / "origin_images" / "a" / "000001.png", noise(1, 21, 31)[0])
    with pytest.raises(errors.InputError, match="differ in size"):
        super_resolve(dataset, UpscalerSettings("bicubic", 2), batch_size=3)


@pytest.mark.parametrize("tile_px", [None, 16])
@pytest.mark.parametrize("about", [{}, {"scale": 3}, {"multiple": 8}, {"white": 255.0}])
def test_torchscript_and_onnx_files_upscale_as_they_are(tmp_path, about, tile_px):
    scale = about.get("scale", 2)
    more = {"tile_px": tile_px, "pixel_range": about.get("white")}
    for spec in (
        f"torchscript:{write_script(tmp_path / 'a.pt', **about)}",
        f"onnx:{write_graph(tmp_path / 'a.onnx', **about)}",
    ):
        np.testing.assert_array_equal(upscaler(spec, scale, **more)(FRAMES), red_inverted(FRAMES, scale))


def test_a_graph_of_one_size_serves_smaller_and_larger_frames(tmp_path):
    for hw in ((16, 24), (64, 64), (21, 35)):
        path = write_graph(tmp_path / "fixed.onnx", (1, 3, *hw))
        np.testing.assert_array_equal(upscaler(f"onnx:{path}", 2)(FRAMES), red_inverted(FRAMES))


def test_a_graph_in_half_precision_works(tmp_path):
    path = write_graph(tmp_path / "half.onnx", kind=TensorProto.FLOAT16)
    made = upscaler(f"onnx:{path}", 2)(FRAMES)
    assert np.abs(made.astype(int) - red_inverted(FRAMES)).max() <= 1


@pytest.fixture(scope="module")
def compact(tmp_path_factory):
    """A small network of an architecture that spandrel knows, and its checkpoint."""
    from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact

    torch.manual_seed(0)
    network = SRVGGNetCompact(num_feat=8, num_conv=2, upscale=2).eval().requires_grad_(False)
    path = tmp_path_factory.mktemp("spandrel") / "compact.pth"
    torch.save({"params": network.state_dict()}, path)
    return network, path


def test_spandrel_s_networks_upscale_as_they_are_whole_and_in_tiles(compact):
    network, path = compact
    made = network(torch.from_numpy(FRAMES).permute(0, 3, 1, 2) / 255).permute(0, 2, 3, 1).numpy() * 255
    for tile_px in (None, 16):
        clear = upscaler(f"spandrel:{path}", 2, tile_px=tile_px)(FRAMES)
        assert np.abs(clear - made.clip(0, 255)).max() <= 1


def test_frames_of_any_size_are_padded_for_networks_that_work_in_windows(tmp_path):
    from spandrel.architectures.SwinIR.__arch.SwinIR import SwinIR

    torch.manual_seed(0)
    about = {"depths": [1], "embed_dim": 4, "num_heads": [1], "upscale": 2, "upsampler": "pixelshuffle"}
    torch.save(SwinIR(img_size=16, window_size=8, **about).state_dict(), tmp_path / "swinir.pth")
    whole, tiled = (upscaler(f"spandrel:{tmp_path / 'swinir.pth'}", 2, tile_px=px)(FRAMES) for px in (None, 16))
    assert whole.shape == (2, 42, 70, 3)
    assert np.abs(whole.astype(int) - tiled).max() <= 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="batches go through a GPU together")
def test_a_frame_s_pixels_do_not_depend_on_its_batch(compact, tmp_path):
    torch.save(Edsr(64, 2, 3).state_dict(), tmp_path / "edsr.pt")
    script = write_script(tmp_path / "a.pt")
    for spec, scale in (
        *(("builtin", 3), (f"edsr:{tmp_path / 'edsr.pt'}", 3), (f"spandrel:{compact[1]}", 2)),
        *((f"torchscript:{script}", 2), (f"onnx:{write_graph(tmp_path / 'a.onnx')}", 2)),
    ):
        upscale = upscaler(spec, scale)
        together = upscale(FRAMES)
        for index in range(2):
            np.testing.assert_array_equal(upscale(FRAMES[index : index + 1])[0], together[index])
            np.testing.assert_array_equal(upscaler(spec, scale)(FRAMES[index : index + 1])[0], together[index])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_half_precision_on_a_gpu_is_close_to_full(compact):
    full, half = (upscaler(f"spandrel:{compact[1]}", 2, precision=p)(FRAMES).astype(int) for p in ("fp32", "fp16"))
    assert np.abs(full - half).max() <= 2


def test_settings_travel_to_workers_and_into_the_record(tmp_path):
    path = write_graph(tmp_path / "a.onnx")
    settings = UpscalerSettings(f"onnx:{path}", 2, tile_px=32, pixel_range=1.0)
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert upscaler_record(settings) == {"spec": f"onnx:{path}", "sha256": sha256(path), "pixel_range": 1.0}
    assert upscaler_record(UpscalerSettings("builtin", precision="fp32"))["precision"] == "fp32"
    assert upscaler_record(UpscalerSettings("bicubic")) == {"spec": "bicubic", "sha256": None}


def test_what_cannot_be_asked_for_is_refused(refused, dataset, tmp_path, monkeypatch):
    line = refused("tools/super_resolve.py", "--data", dataset.root, "--model", "edsr:x.pt")
    assert "x.pt: no such file; give --model edsr:PATH the upscaler's file" in line
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    graph, weights = write_graph(tmp_path / "a.onnx"), tmp_path / "a.pth"
    torch.save(Edsr(1, 1, 2).state_dict(), weights)
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "fc.pth")
    (tmp_path / "empty.pt").touch()
    for spec, more, message in (
        ("nothing", {}, "--model nothing: no such upscaler; there are: builtin, general, bicubic, edsr:PATH"),
        ("onnx", {}, "no such upscaler"),
        (f"{graph}", {}, f"did you mean onnx:{graph}?"),
        (f"{weights}", {}, f"did you mean edsr:{weights}?"),
        (f"{tmp_path}/fc.pth", {}, "no kind knows this network: trace it with its own code, torch.jit.trace(network"),
        (f"{write_script(tmp_path / 's.pt')}", {}, "did you mean torchscript:"),
        (f"edsr:{tmp_path}", {}, "no such file"),
        (f"edsr:{tmp_path}/empty.pt", {}, "empty.pt: is empty"),
        ("bicubic", {"scale": 1}, "--scale 1: expected a whole number from 2 to 8"),
        ("bicubic", {"scale": 9}, "--scale 9"),
        ("bicubic", {"tile_px": 3}, "--tile_size 3: expected at least 16 pixels"),
        ("bicubic", {"precision": "int8"}, "--precision int8: expected one of auto, fp32, fp16"),
        ("bicubic", {"precision": "fp16"}, "--precision fp16: bicubic has one precision only"),
        (f"onnx:{graph}", {"precision": "fp16"}, "one precision only; export its graph in fp16"),
        (f"edsr:{weights}", {"precision": "fp16"}, "--precision fp16: needs a CUDA GPU, and there is none"),
        (f"onnx:{graph}", {"pixel_range": 2.0}, "--pixel_range 2: expected 1 or 255"),
        ("bicubic", {"pixel_range": 255.0}, "--pixel_range 255: expected 1 or 255, for torchscript: and onnx: only"),
        (f"onnx:{graph}", {"channel_order": "GBR"}, "--channel_order GBR: expected one of RGB, BGR, RGB-BGR, BGR-RGB"),
        ("bicubic", {"channel_order": "BGR"}, "for files only"),
    ):
        with pytest.raises(errors.InputError) as refusal:
            UpscalerSettings(spec, **more)
        assert message in str(refusal.value)


def test_files_that_make_no_upscaler_are_refused_in_one_line(tmp_path, detector_file, compact):
    network, compact_path = compact
    damaged = {name: value * float("nan") for name, value in network.state_dict().items()}
    torch.save(damaged, tmp_path / "nan.pth")
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "fc.pth")
    torch.save(RedInverted(), tmp_path / "module.pth")
    torch.save(Edsr(3, 0, 3).state_dict(), tmp_path / "edsr.pth")
    (tmp_path / "compact.pth").write_bytes(compact_path.read_bytes())
    torch.save([1], tmp_path / "list.pth")
    torch.save({None: torch.zeros(1)}, tmp_path / "nameless.pth")
    torch.save({"params": {}}, tmp_path / "nested.pth")
    for name in ("junk.pth", "junk.onnx", "junk.pt"):
        (tmp_path / name).write_bytes(b"junk" * 100)
    cut = (compact_path.read_bytes(), write_script(tmp_path / "s.pt").read_bytes())
    (tmp_path / "cut.pth").write_bytes(cut[0][:-200])
    (tmp_path / "cut.pt").write_bytes(cut[1][:-200])
    torch.jit.script(nn.Conv2d(3, 8, 3, padding=1)).save(tmp_path / "conv.pt")
    made = tmp_path / "made"
    reaching = """
def forward(self, x):
    torch.save(x, "PATH")
    return x
"""
    module = torch.jit.ScriptModule()
    module.define(reaching.replace("PATH", str(made)))
    module.save(tmp_path / "reaching.pt")
    write_graph(tmp_path / "dynamic.onnx")
    write_graph(tmp_path / "half_fixed.onnx", (1, 3, "h", 32))
    write_graph(tmp_path / "batch.onnx", (4, 3, 32, 32))
    write_graph(tmp_path / "nan.onnx", white=float("nan"))
    graph = (tmp_path / "dynamic.onnx").read_bytes()
    (tmp_path / "names.onnx").write_bytes(graph.replace(b"\x12\x01h", b"\x12\x01\xa5"))
    (tmp_path / "directory.pth").write_bytes(cut[0].replace(b"PK\x01\x02", b"PK\x01\x03"))
    for spec, message in (
        ("edsr:fc.pth", "fc.pth: is no EDSR: it has fc.weight"),
        ("edsr:module.pth", "is not a checkpoint that can be read without running code"),
        ("edsr:list.pth", "holds a list, expected weights by name"),
        ("edsr:nameless.pth", "holds a dict, expected weights by name"),
        ("edsr:nested.pth", "is no EDSR: it has no weights"),
        ("edsr:junk.pth", "is not a checkpoint"),
        ("edsr:dynamic.onnx", "did you mean onnx:"),
        ("spandrel:cut.pth", "is not a checkpoint"),
        ("spandrel:fc.pth", "spandrel knows no network with such weights (fc.weight"),
        ("spandrel:nan.pth", "outputs NaN or infinite pixels"),
        ("spandrel:s.pt", "did you mean torchscript:"),
        (f"spandrel:{compact_path}", "--scale 3: "),
        ("torchscript:cut.pt", "is not a TorchScript file"),
        ("torchscript:fc.pth", "no kind knows this network: trace it"),
        ("torchscript:edsr.pth", "did you mean edsr:"),
        ("spandrel:edsr.pth", "did you mean edsr:"),
        ("edsr:compact.pth", "did you mean spandrel:"),
        ("torchscript:conv.pt", "is not an upscaler of RGB frames"),
        ("torchscript:reaching.pt", "its code calls torch.save"),
        ("onnx:junk.onnx", "is not an ONNX file"),
        ("onnx:junk.pt", "is not an ONNX file"),
        ("onnx:names.onnx", "names are not valid UTF-8"),
        ("spandrel:directory.pth", "is not a checkpoint"),
        ("onnx:half_fixed.onnx", "fixes only one side of its input"),
        ("onnx:batch.onnx", "takes 4 frames at once"),
        ("onnx:nan.onnx", "outputs NaN or infinite pixels"),
        (f"onnx:{detector_file}", "is not an upscaler"),
        ("onnx:dynamic.onnx", "makes frames 2 times as large, no others"),
    ):
        kind, name = spec.split(":")
        path = tmp_path / name
        with pytest.raises(errors.InputError) as refusal:
            upscaler(f"{kind}:{path}", 2 if "nan" in name else 3)
        assert message in str(refusal.value)
        assert "\n" not in str(refusal.value)
        assert str(path) in str(refusal.value)
    assert not made.exists()
    with pytest.raises(errors.InputError, match="--scale 4: builtin makes frames 3 times as large"):
        upscaler("builtin", 4)


@pytest.mark.slow
def test_the_command_takes_an_upscaler_s_flags(run, dataset, tmp_path):
    path = write_graph(tmp_path / "up.onnx", white=255.0, inverted=False)
    flags = ("--model", f"onnx:{path}", "--scale", 2, "--tile_size", 16, "--pixel_range", 255)
    run("tools/super_resolve.py", "--data", dataset.root, *flags)
    origin = dataset.read("origin_images", dataset.frames("a")[0])
    clear = read_image(dataset.root / "sr_images/a/000000.png")
    np.testing.assert_array_equal(clear, origin.repeat(2, 0).repeat(2, 1))
