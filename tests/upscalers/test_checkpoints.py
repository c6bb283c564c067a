"""Checkpoints as training scripts wrap them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regenhance_data.errors import InputError
from regenhance_data.upscalers.edsr import Edsr
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.settings import UpscalerSettings

FRAMES = np.random.default_rng(0).integers(0, 256, (1, 21, 35, 3), np.uint8)
WRAPPERS = ("params", "params_ema", "state_dict", "model_state_dict", "model", "generator", "net_g", "ema")
PREFIXES = ("module.", "model.", "generator.", "net.", "netG.", "_orig_mod.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def networks():
    """A state dict for each kind of checkpoint."""
    from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact

    torch.manual_seed(0)
    compact = SRVGGNetCompact(num_feat=8, num_conv=2, upscale=3)
    return {"edsr": Edsr(4, 1, 3).state_dict(), "spandrel": compact.state_dict()}


def upscaled(kind, path, content):
    torch.save(content, path)
    return load_upscaler(UpscalerSettings(f"{kind}:{path}", 3))(FRAMES)


@pytest.mark.parametrize("kind", ["edsr", "spandrel"])
def test_wrapped_and_prefixed_checkpoints_are_opened(kind, networks, folder):
    plain = upscaled(kind, folder / "plain.pth", networks[kind])

    @settings(max_examples=15)
    @given(st.lists(st.sampled_from(WRAPPERS), max_size=3), st.lists(st.sampled_from(PREFIXES), max_size=3))
    def opens(wrappers, prefixes):
        content = {"".join(prefixes) + name: value for name, value in networks[kind].items()}
        for wrapper in wrappers:
            content = {"epoch": 7, wrapper: content, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}
        np.testing.assert_array_equal(upscaled(kind, folder / "wrapped.pth", content), plain)

    opens()


@pytest.mark.parametrize("kind", ["edsr", "spandrel"])
def test_weights_in_other_number_formats_make_the_same_network(kind, networks, folder):
    plain = upscaled(kind, folder / "plain.pth", networks[kind]).astype(int)
    forms = [torch.Tensor.half, torch.Tensor.bfloat16, torch.Tensor.double, torch.Tensor.to_sparse]
    for change, apart in zip(forms, (1, 2, 0, 0), strict=True):
        made = upscaled(kind, folder / "other.pth", {name: change(value) for name, value in networks[kind].items()})
        assert np.abs(made - plain).max() <= apart


def test_weights_that_no_network_can_take_are_refused_in_one_line(networks, folder):
    torch.save({name: value.to("meta") for name, value in networks["edsr"].items()}, folder / "meta.pth")
    with pytest.raises(InputError, match=r"meta\.pth: is no EDSR in floating point"):
        load_upscaler(UpscalerSettings(f"edsr:{folder / 'meta.pth'}", 3))


@pytest.mark.parametrize("spec", ["onnx:{}", "{}"])
def test_a_half_precision_checkpoint_given_as_another_kind_is_recognised(spec, networks, folder):
    path = folder / "half.pth"
    torch.save({name: value.half() for name, value in networks["edsr"].items()}, path)
    with pytest.raises(InputError, match=f"did you mean edsr:{path}"):
        load_upscaler(UpscalerSettings(spec.format(path), 3))


def test_the_generator_is_taken_and_what_was_trained_beside_it_is_not(networks, folder):
    state = networks["edsr"]
    plain = upscaled("edsr", folder / "plain.pth", state)
    beside = {"discriminator.0.weight": torch.zeros(3, 3, 3, 3), "loss.vgg.0.bias": torch.zeros(2)}
    for prefix in ("model.", "generator.", "module.generator."):
        content = {"state_dict": {**beside, **{prefix + name: value for name, value in state.items()}}}
        np.testing.assert_array_equal(upscaled("edsr", folder / "gan.pth", content), plain)


def test_the_averaged_weights_are_taken_where_both_are_there(networks, folder):
    state = networks["edsr"]
    last = {name: value + 1 for name, value in state.items()}
    made = upscaled("edsr", folder / "both.pth", {"params": last, "params_ema": state})
    np.testing.assert_array_equal(made, upscaled("edsr", folder / "plain.pth", state))


@pytest.mark.parametrize("change", [torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16])
@pytest.mark.parametrize("white", [1, 255])
def test_an_edsr_s_range_is_that_of_the_mean_which_it_subtracts(white, change, folder):
    """A network that repeats pixels: all of its layers but the first and the last are zero."""
    network = Edsr(1, 0, 2)
    mean = torch.tensor([0.4488, 0.4371, 0.4040]) * white
    for parameter in network.parameters():
        parameter.data.zero_()
    for layer, sign in ((network.sub_mean, -1), (network.add_mean, 1)):
        layer.weight.data[:, :, 0, 0] = torch.eye(3)
        layer.bias.data[:] = sign * mean
    torch.save({name: change(value) for name, value in network.state_dict().items()}, folder / "ranged.pth")
    upscale = load_upscaler(UpscalerSettings(f"edsr:{folder / 'ranged.pth'}", 2))
    assert upscale.read_as == f"EDSR, 0 blocks of 1 features, ×2, RGB 0..{white}"
    made = upscale(FRAMES)[0, 0, 0]
    np.testing.assert_allclose(made, [114, 111, 103], atol=change != torch.Tensor.float)  # the mean, of either range


def test_weights_of_one_channel_make_luma(folder):
    from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact

    torch.manual_seed(0)
    torch.save(
        SRVGGNetCompact(num_in_ch=1, num_out_ch=1, num_feat=8, num_conv=2, upscale=2).state_dict(), folder / "luma.pth"
    )
    upscale = load_upscaler(UpscalerSettings(f"spandrel:{folder / 'luma.pth'}", 2))
    assert "luma" in upscale.read_as
    assert upscale(FRAMES).shape == (1, 42, 70, 3)
