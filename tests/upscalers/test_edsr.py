"""EDSR as its authors publish it.

tests/data/edsr_official_x3.pt and .npz were made with a transcript of the published class (EDSR-PyTorch's
model/edsr.py and what it uses of model/common.py), torch.manual_seed(0) and n_resblocks=2, n_feats=4, scale=[3],
rgb_range=255, n_colors=3, res_scale=1: the state dict with its random weights, a random uint8 frame [9, 14, 3], and
the float32 output [3, 27, 42] for it. Baseline 16×64 and full 32×256 were compared in the same way at ×2, ×3 and ×4:
no difference.
"""

import numpy as np
import pytest
import torch

from regenhance_data.errors import InputError
from regenhance_data.io.torch_weights import read_checkpoint
from regenhance_data.upscalers.edsr import Edsr, edsr_from
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.files import ROOT

CHECKPOINT = ROOT / "tests" / "data" / "edsr_official_x3.pt"


@pytest.fixture(scope="module")
def official():
    with np.load(CHECKPOINT.with_suffix(".npz")) as arrays:
        return arrays["frame"], arrays["output"]


@pytest.fixture
def weights():
    return read_checkpoint(CHECKPOINT)


def test_it_gives_what_the_official_network_gives(official, weights):
    frame, output = official
    with torch.inference_mode():
        made = edsr_from(weights, "x")(torch.from_numpy(frame[None]).permute(0, 3, 1, 2).float())
    np.testing.assert_allclose(made[0].numpy(), output, atol=1e-4, rtol=0)


def test_the_upscaler_s_pixels_are_the_official_network_s_rounded(official):
    frame, output = official
    clear = load_upscaler(UpscalerSettings(f"edsr:{CHECKPOINT}", 3))(frame[None])[0]
    expected = output.transpose(1, 2, 0).clip(0, 255).round()
    assert np.abs(clear - expected).max() <= 1
    assert (clear != expected).mean() < 0.01


@pytest.mark.parametrize(("features", "blocks", "scale"), [(1, 1, 2), (4, 3, 3), (6, 0, 4), (2, 2, 8)])
def test_width_depth_and_scale_are_those_of_the_weights(features, blocks, scale):
    made = Edsr(features, blocks, scale)
    network = edsr_from(made.state_dict(), "x")
    frames = torch.rand(1, 3, 7, 5) * 255
    assert (network.scale, network.radius) == (scale, 4 + 2 * blocks)
    assert network(frames).shape == (1, 3, 7 * scale, 5 * scale)
    torch.testing.assert_close(network(frames), made(frames))


def test_residuals_count_a_tenth_in_the_wide_network_and_whole_in_others():
    for features, gain in ((256, 0.1), (64, 1.0)):
        block = edsr_from(Edsr(features, 1, 2).state_dict(), "x").body[0]
        given = torch.rand(1, features, 3, 3)
        torch.testing.assert_close(block(given), given + gain * block.body(given))


def test_a_pixel_depends_on_none_beyond_the_radius():
    torch.manual_seed(0)
    network = edsr_from(Edsr(4, 1, 2).state_dict(), "x")
    frames = torch.rand(2, 3, 31, 31) * 255
    frames[1] = frames[0]
    frames[1, :, 15, 15] += 100
    changed = (network(frames[:1]) != network(frames[1:]))[0].any(0)
    reach = int((changed.nonzero() // 2 - 15).abs().max())
    assert network.radius - 1 <= reach <= network.radius


def test_weights_of_other_networks_are_refused_with_what_is_wrong(weights):
    def with_changes(drop=(), **changed):
        return {name: value for name, value in weights.items() if name not in drop} | changed

    cases = {
        r"is no EDSR: it has fc\.bias": {"fc.bias": torch.zeros(1)},
        r"is no EDSR: it lacks body\.0\.body\.2\.bias": with_changes(drop=["body.0.body.2.bias"]),
        r"is no EDSR: it has as well more": with_changes(more=torch.zeros(1)),
        r"head\.0\.bias is \[5\], expected \[4\]": with_changes(**{"head.0.bias": torch.zeros(5)}),
        "without an upsampling by 2, 3, 4 or 8": with_changes(drop=["tail.0.0.weight"]),
    }
    for message, state in cases.items():
        with pytest.raises(InputError, match=f"^a file: .*{message}"):
            edsr_from(state, "a file")
