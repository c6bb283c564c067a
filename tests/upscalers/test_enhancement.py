"""Enhanced regions: the whole frame's pixels at every macroblock, in every mode."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.regions.composite import paste_regions
from regenhance_data.regions.rectangles import cover
from regenhance_data.upscalers.base import UpscalingNetwork
from regenhance_data.upscalers.edsr import Edsr
from regenhance_data.upscalers.enhancement import RegionEnhancer
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.pytorch import TorchLumaNetwork, TorchNetwork
from regenhance_data.upscalers.receptive_field import exact_halo
from regenhance_data.upscalers.settings import UpscalerSettings
from regenhance_data.upscalers.tiling import TiledUpscaler

SIZES = ((61, 93), (80, 128), (16, 16), (5, 40), (49, 33))  # (height, width)


class Blocks(nn.Module):
    """Looks 3 pixels far at the third of the size: takes sides that are multiples of 3; ×2."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(3), nn.Conv2d(27, 27, 3, padding=1), nn.PixelShuffle(3), nn.Conv2d(3, 12, 1)
        )

    def forward(self, x):
        return nn.functional.pixel_shuffle(self.layers(x), 2)


class GlobalMean(nn.Module):
    def forward(self, x):
        return (x - x.mean((2, 3), keepdim=True) / 64).repeat_interleave(2, 2).repeat_interleave(2, 3)


class Windows(nn.Module):
    """Takes the mean of windows of 8 pixels, and pads inside."""

    def forward(self, x):
        height, width = x.shape[2:]
        mean = nn.functional.avg_pool2d(nn.functional.pad(x, (0, -width % 8, 0, -height % 8)), 8)
        mean = mean.repeat_interleave(8, 2).repeat_interleave(8, 3)[..., :height, :width]
        return (x + mean).repeat_interleave(2, 2).repeat_interleave(2, 3) / 2


def edsr(features, blocks, scale):
    network = Edsr(features, blocks, scale).requires_grad_(False)
    for parameter in network.parameters():
        parameter *= 1.5  # far more contrast than a trained network makes
    return TorchNetwork(network, f"edsr x{scale}", scale, 255.0, overlap=network.radius)


def luma():
    layers = nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.Tanh(), nn.Conv2d(8, 9, 3, padding=1), nn.PixelShuffle(3))
    return TorchLumaNetwork(layers, "luma", 3, 1.0)


NETWORKS = {
    "builtin": lambda: load_upscaler(UpscalerSettings("builtin")).network,
    "general x2": lambda: load_upscaler(UpscalerSettings("general", 2)).network,
    "bicubic": lambda: load_upscaler(UpscalerSettings("bicubic")).network,
    "edsr x2": lambda: edsr(8, 2, 2),
    "edsr x3": lambda: edsr(4, 1, 3),
    "edsr x4": lambda: edsr(8, 1, 4),
    "luma": luma,
    "blocks": lambda: TorchNetwork(Blocks().requires_grad_(False), "blocks", 2, 1.0, multiple=3),
}


@cache
def network_of(name) -> UpscalingNetwork:
    torch.manual_seed(0)
    return NETWORKS[name]()


def frame_of(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def assert_whole_frames_pixels(enhancer, lr, selected, hr):
    """Inside the selection the HR frame's pixels, but for rounding; outside, the frame is as it was."""
    grid = MacroblockGrid(*lr.shape[:2])
    upsampled = np.full_like(hr, 99)
    regions = cover(selected, grid, enhancer.halo_px)
    hr_grid = grid.scaled(enhancer.scale)
    paste_regions(upsampled, regions, enhancer.enhance(lr, regions), selected, hr_grid.mb_size)
    pasted = grid.scaled(enhancer.scale).spread(selected)
    assert (upsampled[~pasted] == 99).all()
    differences = np.abs(upsampled[pasted].astype(int) - hr[pasted])
    assert differences.max(initial=0) <= 1
    assert np.count_nonzero(differences) <= 1e-3 * differences.size


@pytest.mark.parametrize("mode", ["regions", "atlas"])
@pytest.mark.parametrize("name", NETWORKS)
def test_each_macroblock_has_the_whole_frames_pixels(name, mode):
    enhancer = RegionEnhancer(TiledUpscaler(network_of(name)), mode)
    assert enhancer.mode == mode
    for size in SIZES:
        lr = frame_of(*size)
        hr = network_of(name)(lr[None])[0]
        for at in range(MacroblockGrid(*size).areas.size):
            selected = np.zeros(MacroblockGrid(*size).shape, bool)
            selected.flat[at] = True
            assert_whole_frames_pixels(enhancer, lr, selected, hr)


@pytest.mark.parametrize("mode", ["whole", "regions", "atlas"])
@pytest.mark.parametrize("share", [0, 0.02, 0.1, 0.3, 1])
def test_selections_have_the_whole_frames_pixels(mode, share):
    enhancer = RegionEnhancer(TiledUpscaler(network_of("edsr x3")), mode)
    lr = frame_of(183, 205)
    selected = np.random.default_rng(0).random(MacroblockGrid(183, 205).shape) < share
    assert_whole_frames_pixels(enhancer, lr, selected, network_of("edsr x3")(lr[None])[0])


def test_a_smaller_halo_takes_less_and_gives_nearly_the_same():
    lr, network = frame_of(96, 128), network_of("edsr x2")
    selected = np.zeros((6, 8), bool)
    selected[2:4, 3:5] = True
    enhancer = RegionEnhancer(TiledUpscaler(network), halo_px=2)
    [region] = cover(selected, MacroblockGrid(96, 128), enhancer.halo_px)
    assert region.outer.area == 36 * 36
    [made] = enhancer.enhance(lr, [region])
    hr = network(lr[None])[0][region.inner.scaled(2).slices]
    assert 0 < np.abs(made.astype(int) - hr).mean() < 32


def test_regions_as_large_as_the_frame_are_cut_from_it():
    class Counted(TiledUpscaler):
        calls = 0

        def __call__(self, frames):
            Counted.calls += 1
            return super().__call__(frames)

    enhancer = RegionEnhancer(Counted(network_of("builtin")))
    chess = np.indices((4, 5)).sum(0) % 2 == 0
    assert_whole_frames_pixels(enhancer, frame_of(64, 80), chess, network_of("builtin")(frame_of(64, 80)[None])[0])
    assert Counted.calls == 1


@pytest.mark.parametrize("name", ["builtin", "general x2", "edsr x2", "edsr x3", "edsr x4"])
def test_the_measured_halo_is_the_known_one(name):
    network = network_of(name)
    known = exact_halo(network)
    assert known.how == "known"
    anonymous = TorchNetwork(network.function, name, network.scale, network.white)
    assert (exact_halo(anonymous).px, exact_halo(anonymous).how) == (known.px, "measured")


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"function": GlobalMean()}, "more than 128 pixels away"),
        ({"function": Windows()}, "where they are in its input"),
        ({"function": GlobalMean(), "fixed_hw": (48, 64), "overlap": 8}, "more than 8 pixels away"),
        ({"function": Windows(), "fixed_hw": (64, 64), "overlap": 8}, "where they are in its input"),
    ],
)
def test_a_network_without_a_halo_enhances_whole_frames(about, why, capsys):
    network = TorchNetwork(about.pop("function"), "theirs", 2, 1.0, **about)
    for halo_px in [None, 3] if network.fixed_hw else [None]:
        enhancer = RegionEnhancer(TiledUpscaler(network), "regions", halo_px)
        said = capsys.readouterr().err
        assert said.startswith("warning: theirs: enhances whole frames, not regions: ")
        assert why in said
        assert said.count("\n") == 1
        lr, selected = frame_of(61, 93), np.zeros((4, 6), bool)
        selected[1, 2] = True
        assert_whole_frames_pixels(enhancer, lr, selected, TiledUpscaler(network)(lr[None])[0])


def of_one_size(height, width):
    """A network that looks 4 pixels far and takes inputs of this size alone."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.Tanh(), nn.Conv2d(8, 12, 5, padding=2), nn.PixelShuffle(2))
    return TorchNetwork(layers.requires_grad_(False), "fixed", 2, 1.0, fixed_hw=(height, width), overlap=12)


@pytest.mark.parametrize("mode", ["regions", "atlas"])
@pytest.mark.parametrize(("size", "fixed_hw"), [((150, 203), (64, 64)), ((61, 205), (96, 64)), ((40, 40), (64, 64))])
def test_a_network_of_one_size_makes_the_whole_frames_pixels_of_regions(size, fixed_hw, mode):
    network, lr = of_one_size(*fixed_hw), frame_of(*size)
    enhancer = RegionEnhancer(TiledUpscaler(network), mode)
    assert (enhancer.mode, enhancer.halo_px) == ("atlas", 4)
    hr = TiledUpscaler(network)(lr[None])[0]
    rng, shape = np.random.default_rng(0), MacroblockGrid(*size).shape
    for share in (0.02, 0.1, 0.4, 1):
        assert_whole_frames_pixels(enhancer, lr, rng.random(shape) < share, hr)
    for at in range(0, np.prod(shape), 3):
        assert_whole_frames_pixels(enhancer, lr, np.arange(np.prod(shape)).reshape(shape) == at, hr)
    row = np.zeros(shape, bool)
    row[1] = True  # wider than the network's input
    assert_whole_frames_pixels(enhancer, lr, row, hr)


def test_a_network_of_one_size_is_called_for_few_full_inputs():
    network = of_one_size(64, 64)
    enhancer = RegionEnhancer(TiledUpscaler(network))
    selected = np.random.default_rng(0).random((12, 20)) < 0.05
    selected[[0, -1]] = selected[:, [0, -1]] = False
    regions = cover(selected, MacroblockGrid(180, 320), enhancer.halo_px)
    calls = enhancer.pixels_seen(regions, (180, 320)) / 64**2
    needed = sum(region.outer.area for region in regions) / 64**2
    assert needed <= calls <= 1.5 * needed + 1


@pytest.mark.parametrize("halo_px", [17, 32, 70])
def test_a_halo_that_leaves_no_room_in_the_one_size_is_refused(halo_px):
    upscaler = TiledUpscaler(of_one_size(64, 64))
    with pytest.raises(InputError, match=rf"--halo {halo_px}: fixed takes inputs of one size, .* for 16 at most"):
        RegionEnhancer(upscaler, halo_px=halo_px)
    assert_whole_frames_pixels(
        RegionEnhancer(upscaler, halo_px=16),
        frame_of(70, 200),
        np.eye(5, 13, dtype=bool),
        upscaler(frame_of(70, 200)[None])[0],
    )
    assert RegionEnhancer(upscaler, "whole", halo_px).mode == "whole"
