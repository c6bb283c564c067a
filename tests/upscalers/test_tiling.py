"""Tiles: the whole frame's picture, whatever their size."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regenhance_data.errors import InputError
from regenhance_data.upscalers.base import UpscalingNetwork
from regenhance_data.upscalers.edsr import Edsr
from regenhance_data.upscalers.pytorch import TorchNetwork
from regenhance_data.upscalers.tiling import SMALLEST_TILE_PX, TiledUpscaler, fixed_spans, is_out_of_memory, spans

SIDES = st.integers(1, 90)


class Blur(UpscalingNetwork):
    """Twice the size, each pixel the mean of 5×5 with zeros beyond the border; notes what it is given."""

    def __init__(self, most_px=10**9, error=MemoryError, **about):
        super().__init__("blur", 2, overlap=2, **about)
        self.most_px, self.error, self.given = most_px, error, []

    def run(self, frames):
        self.given.append(frames.shape[:3])
        if frames[..., 0].size > self.most_px:
            raise self.error("DefaultCPUAllocator: can't allocate memory")
        assert self.fixed_hw in (None, frames.shape[1:3])
        assert not any(side % self.multiple for side in frames.shape[1:3])
        padded = np.pad(frames.astype(int), ((0, 0), (2, 2), (2, 2), (0, 0)))
        mean = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), (1, 2)).sum((-1, -2)) // 25
        return mean.astype(np.uint8).repeat(2, 1).repeat(2, 2)


def frames_of(count, height, width):
    return np.random.default_rng(height).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def edsr():
    torch.manual_seed(0)
    network = Edsr(4, 1, 3).requires_grad_(False)
    for parameter in network.parameters():
        parameter *= 2  # far more contrast than a trained network makes
    return TorchNetwork(network, "edsr", 3, 255.0, overlap=network.radius)


@given(st.integers(1, 2), SIDES, SIDES, st.integers(SMALLEST_TILE_PX, 120))
def test_tiles_give_the_picture_of_the_whole_frame(edsr, count, height, width, tile_px):
    frames = frames_of(count, height, width)
    whole = TiledUpscaler(edsr)(frames)
    tiled = TiledUpscaler(edsr, tile_px)(frames)
    assert whole.shape == tiled.shape == (count, height * 3, width * 3, 3)
    assert np.abs(whole.astype(int) - tiled).max() <= 1


@given(SIDES, SIDES, st.integers(SMALLEST_TILE_PX, 120), st.sampled_from([1, 2, 8, 24]))
def test_tiles_of_a_network_that_works_on_blocks_do_so_too(height, width, tile_px, multiple):
    frames = frames_of(1, height, width)
    whole, tiled = (TiledUpscaler(Blur(multiple=multiple), px)(frames) for px in (None, tile_px))
    np.testing.assert_array_equal(whole, tiled)


@given(SIDES, SIDES, st.integers(8, 90), st.integers(8, 90))
def test_a_network_of_one_size_serves_frames_of_any(height, width, seen_height, seen_width):
    frames = frames_of(1, height, width)
    made = TiledUpscaler(Blur(fixed_hw=(seen_height, seen_width)))(frames)
    assert made.shape == (1, 2 * height, 2 * width, 3)
    if height >= seen_height and width >= seen_width:
        np.testing.assert_array_equal(made, Blur().run(frames))


@given(st.integers(1, 500), st.integers(16, 200), st.integers(0, 40), st.sampled_from([1, 8, 16, 48]))
def test_spans_cover_every_pixel_once_and_see_the_overlap(length, tile_px, overlap, multiple):
    kept = []
    for start, stop, first, last in spans(length, tile_px, overlap, multiple):
        kept += range(start, stop)
        assert first == 0 or (first <= start - overlap and first % multiple == 0)
        assert last == length or last >= stop + overlap
    assert kept == list(range(length))
    if overlap < tile_px / 2:
        assert [n for s in fixed_spans(length, tile_px, overlap) for n in range(s.start, s.stop)] == kept


def test_where_memory_is_short_frames_go_one_by_one_and_then_in_halved_tiles(capsys):
    frames = frames_of(3, 70, 93)
    network = Blur(most_px=64 * 64, batches=True)
    upscaler = TiledUpscaler(network)
    for _ in range(2):
        np.testing.assert_array_equal(upscaler(frames), Blur().run(frames))
    assert [shape for shape in network.given if np.prod(shape) > network.most_px] == [(3, 70, 93), (1, 70, 93)]
    assert capsys.readouterr().err == (
        "warning: too little memory for all at once; continuing in tiles of 47 pixels (as with --tile_size)\n"
    )


def test_a_batch_that_is_too_large_alone_needs_no_tiles(capsys):
    network = Blur(most_px=70 * 93, batches=True)
    TiledUpscaler(network)(frames_of(3, 70, 93))
    assert network.given == [(3, 70, 93)] + [(1, 70, 93)] * 3
    assert "continuing frame by frame" in capsys.readouterr().err


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, torch.OutOfMemoryError])
def test_memory_that_does_not_suffice_for_small_tiles_is_refused(error):
    with pytest.raises(InputError, match="blur: too little memory even for small tiles"):
        TiledUpscaler(Blur(most_px=1, error=error))(frames_of(1, 70, 93))
    with pytest.raises(InputError, match="too little memory"):
        TiledUpscaler(Blur(most_px=1, error=error, fixed_hw=(48, 48)))(frames_of(1, 70, 93))


def test_other_errors_are_not_taken_for_it():
    def fail(frames):
        raise RuntimeError("shapes differ")

    network = TorchNetwork(fail, "broken", 2, 1.0)
    with pytest.raises(RuntimeError, match="shapes differ"):
        TiledUpscaler(network)(frames_of(1, 20, 20))
    assert is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"))
