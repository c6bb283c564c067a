"""AccModel's checkpoint file, and the pretrained weights that its training can start from."""

import pickle
from pathlib import Path

import torch
import torchvision
from torch import nn

from regenhance_data.defaults import MOST_MB_SIZE
from regenhance_data.errors import InputError, one_line
from regenhance_data.io import torch_weights
from regenhance_data.io.files import atomic_write, others_like
from regenhance_data.predictors.accmodel.network import AccModel, AccNetwork

KIND = "regenhance-kit accmodel"
_SSD_PARTS = {"base_net": "features", "extras": "extras", "classification_headers": "heads"}


def save_accmodel(model: AccModel, path: Path) -> None:
    """Write the model, whole or not at all; `load_accmodel` reads it."""
    content = {
        "kit": KIND,
        "threshold": model.threshold,
        "mb_size": model.mb_size,
        "state": {name: tensor.contiguous() for name, tensor in model.network.state_dict().items()},
    }
    with atomic_write(path) as temporary:
        torch.save(content, temporary)


def load_accmodel(path: Path) -> AccModel:
    """The model of `save_accmodel`, on the GPU if there is one. Runs no code; InputError for other files."""
    if not path.is_file():
        raise InputError(f"{path}: no such model{others_like(path)}; train one with tools/train_accmodel.py")
    content = torch_weights.read_checkpoint(path)
    threshold, mb_size, state = (content.get(key) for key in ("threshold", "mb_size", "state"))
    if (
        content.get("kit") != KIND
        or type(threshold) is not float
        or type(mb_size) is not int
        or not 1 <= mb_size <= MOST_MB_SIZE
        or not isinstance(state, dict)
        or not all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items())
        or any(value.is_complex() or value.dtype == torch.bool for value in state.values())
    ):
        raise InputError(f"{path}: is no AccModel of this kit; train one with tools/train_accmodel.py")
    model = AccModel(mb_size, threshold)
    try:
        model.network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{path}: its weights are not AccModel's ({one_line(error)}); train it again") from None
    _refuse_not_finite(model.network, path)
    return model.to(torch_weights.default_device())


def _refuse_not_finite(network: nn.Module, path: Path) -> None:
    """InputError, which names the file, where a weight is NaN or infinite."""
    for name, tensor in network.state_dict().items():
        if not tensor.isfinite().all():
            raise InputError(f"{path}: {name} is NaN or infinite; the file is damaged, take another")


def start_from(network: AccNetwork, pretrained: str) -> None:
    """Load pretrained weights into the network; tensors that they lack stay as they are.

    'imagenet': torchvision's weights of the backbone (downloaded). Otherwise a file: the state dict of pytorch-ssd's
    MobileNetV2-SSD-lite for the 21 classes of Pascal VOC (mb2-ssd-lite-mp-0_686.pth, which AccMPEG starts from),
    without its box regression. Its tensors have other names in the same order. InputError where the download fails or
    the file is another.
    """
    if pretrained == "imagenet":
        network.features.load_state_dict(_imagenet_features())
        return
    path = Path(pretrained)
    if not path.is_file():
        raise InputError(f"--pretrained {path}: no such file; give imagenet or the weights of a MobileNetV2-SSD-lite")
    given = torch_weights.read_checkpoint(path)
    for prefix, part in _SSD_PARTS.items():
        own = network.get_submodule(part)
        names = [name for name in own.state_dict() if _is_learned(name)]
        tensors = [value for name, value in given.items() if name.startswith(f"{prefix}.") and _is_learned(name)]
        shapes = [list(own.state_dict()[name].shape) for name in names]
        if [list(getattr(tensor, "shape", ())) for tensor in tensors] != shapes:
            raise InputError(f"{path}: its {prefix} is not MobileNetV2-SSD-lite's of 21 classes; give another file")
        own.load_state_dict(dict(zip(names, tensors, strict=True)), strict=False)
    _refuse_not_finite(network, path)


def _is_learned(name: str) -> bool:
    """Whether a tensor matters: files of old PyTorch versions have no num_batches_tracked."""
    return not name.endswith("num_batches_tracked")


def _imagenet_features() -> dict[str, torch.Tensor]:
    weights = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise InputError(
            f"--pretrained imagenet: {weights.url} cannot be downloaded ({one_line(error)}); leave --pretrained out, "
            f"or put the file into {torch.hub.get_dir()}/checkpoints"
        ) from None
    prefix = "features."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
