"""Fit a config, as the mapping that it is in YAML, to the dataset and to the length of the training."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regenhance_data.errors import InputError
from regenhance_data.predictors.paddleseg import networks

# transforms that compute with pixels from 0 to 255 and convert the frame to uint8 or clip it
_PIXEL_STEPS = {"RandomDistort", "RandomBlur", "RandomNoise", "RandomAffine"}
# losses with a number of classes of their own, and its name
_CLASS_COUNTS = {"MultiClassFocalLoss": "num_class", "RMILoss": "num_classes", "MaskFormerLoss": "num_classes"}
_WARMUP_SHARE = 5  # a warm-up takes at most one over this of the iterations


def refuse_other_channels(config: dict[str, Any], path: Path) -> None:
    """InputError where a dataset of the config does not have three channels."""
    for key in ("train_dataset", "val_dataset"):
        if (channels := config[key].get("img_channels", 3)) != 3:
            raise InputError(f"{path}: {key}.img_channels is {channels}, LR frames have 3; remove it")


def refuse_pixel_steps_after_normalize(config: dict[str, Any], path: Path) -> None:
    """InputError where a transform that computes with pixels from 0 to 255 comes after Normalize."""
    for key in ("train_dataset", "val_dataset"):
        types = [one.get("type") for one in config[key].get("transforms") or [] if isinstance(one, dict)]
        late = types[types.index("Normalize") + 1 :] if "Normalize" in types else []
        if wrong := next((one for one in late if one in _PIXEL_STEPS), None):
            raise InputError(
                f"{path}: {key}.transforms: {wrong} takes pixels from 0 to 255, after Normalize they are not; move "
                "Normalize to the end"
            )


def set_class_counts(config: dict[str, Any], levels: int | None = None) -> None:
    """Give the losses that need one their number of classes: `levels`, or the config's where they have none."""
    for loss in _losses(config["loss"]["types"]):
        if (name := _CLASS_COUNTS.get(loss["type"])) is not None:
            loss[name] = levels or loss.get(name, config["train_dataset"]["num_classes"])


def set_levels(config: dict[str, Any], levels: int) -> None:
    """Set the number of classes of the network, the datasets and the losses."""
    for part in ("model", "train_dataset", "val_dataset"):
        config[part]["num_classes"] = levels
    set_class_counts(config, levels)


def set_mb_size(config: dict[str, Any], mb_size: int) -> None:
    """Set the side of a macroblock, in pixels of the network's input, of a network on the grid and of its losses."""
    config["model"]["mb_size"] = mb_size
    for loss in _losses(config["loss"]["types"]):
        if networks.is_grid_loss(loss["type"]):
            loss["mb_size"] = mb_size


def shorten_warmup(config: dict[str, Any], iters: int) -> tuple[int, int] | None:
    """Let the warm-up take at most a fifth of the iterations, at least one; (iterations before, now), None if none."""
    schedule = config["lr_scheduler"]
    before = schedule.get("warmup_iters") if isinstance(schedule, dict) else None
    most = max(iters // _WARMUP_SHARE, 1)
    if not isinstance(before, int) or before <= most:
        return None
    schedule["warmup_iters"] = most
    return before, most


def _losses(types: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for loss in types:
        yield loss
        yield from _losses(loss.get("losses") or [])
