"""The files of a checkpoint: weights, optimizer state, moving average, predictor.yaml. Only writing needs Paddle."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from regenhance_data import __version__
from regenhance_data.dataset.levels import MOST_LEVELS
from regenhance_data.defaults import MOST_MB_SIZE, MOST_SCALE, SCALE
from regenhance_data.errors import InputError, one_line
from regenhance_data.io.file_kinds import kind_of_content
from regenhance_data.io.files import atomic_write, others_like, read_yaml, write_yaml
from regenhance_data.io.pickles import ARRAYS, restricted_load

WEIGHTS, OPTIMIZER, AVERAGE = "model.pdparams", "model.pdopt", "model.pdema"
RECORD = "predictor.yaml"
ITERATION, FRAMES = "iteration", "frames"  # of a training in it: where the weights are from, the digest of its frames
_EXPECTED = f"expected one that a training wrote, like best_model/{WEIGHTS}"


def checkpoint_folders(save_dir: Path) -> list[Path]:
    """The iter_N folders, by N."""
    found = [path for path in save_dir.glob("iter_*") if path.name.removeprefix("iter_").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("iter_")))


def complete_checkpoints(save_dir: Path) -> list[Path]:
    """The iter_N folders that are whole, by N: an earlier kit wrote their weights last."""
    return [folder for folder in checkpoint_folders(save_dir) if (folder / WEIGHTS).is_file()]


def refuse_missing_weights(path: Path) -> None:
    """InputError where there is no such file."""
    if path.is_dir():
        inside = path / WEIGHTS if (path / WEIGHTS).is_file() else path / "best_model" / WEIGHTS
        raise InputError(f"{path}: is a folder, not weights; give the file, such as {inside}")
    if not path.is_file():
        raise InputError(f"{path}: no such file{others_like(path)}; train a predictor with 'paddleseg train'")


def read_paddle_state(path: Path) -> dict[str, Any]:
    """The state dict in a .pdparams, .pdopt or .pdema file: arrays by name. Runs no code; InputError for others."""
    refuse_missing_weights(path)
    try:
        state = restricted_load(path, ARRAYS)
    except pickle.UnpicklingError as error:
        kind = kind_of_content(path)
        found = f"is {kind}, not a Paddle checkpoint" if kind else f"is not a Paddle checkpoint ({one_line(error)})"
        raise InputError(f"{path}: {found}; {_EXPECTED}") from None
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise InputError(
            f"{path}: is not a Paddle checkpoint (it holds a {type(state).__name__}, not named arrays); {_EXPECTED}"
        )
    state.pop("StructuredToParameterName@@", None)  # Paddle writes it beside the arrays
    return state


def write_paddle_state(path: Path, state: Any) -> None:
    """Write a state dict as PaddleSeg does, whole or not at all."""
    import paddle

    with atomic_write(path) as temporary:
        paddle.save(state, str(temporary))


def write_model(folder: Path, state: Any, network: Mapping[str, Any], training: Mapping[str, int | str]) -> None:
    """Write the weights to `folder` and, before them, predictor.yaml: the `network` and its `training`."""
    write_yaml(folder / RECORD, {**network, "kit_version": __version__, "training": dict(training)})
    write_paddle_state(folder / WEIGHTS, state)


def read_training(folder: Path) -> dict[str, int | str]:
    """What the predictor.yaml of a checkpoint says of its training: numbers and texts by name, {} in earlier kits."""
    path = folder / RECORD
    found = read_yaml(path).get("training") if path.is_file() else None
    items = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in items if isinstance(name, str) and isinstance(value, int | str)}


def trained_levels(model_path: Path) -> int | None:
    """How many levels a trained model has, from the predictor.yaml beside it; None where it says nothing."""
    return _recorded_number(model_path, "num_classes", 2, MOST_LEVELS)


def trained_mb_size(model_path: Path) -> int | None:
    """The side of the macroblocks, in pixels of the frame, that a model was trained for; as `trained_levels`."""
    return _recorded_number(model_path, "mb_size", 1, MOST_MB_SIZE)


def trained_scale(model_path: Path) -> int:
    """The scale of the HR frames of a model's dataset, by the predictor.yaml beside it; the default without it."""
    return _recorded_number(model_path, "scale", 1, MOST_SCALE) or SCALE


def _recorded_number(model_path: Path, name: str, least: int, most: int) -> int | None:
    path = model_path.with_name(RECORD)
    number = read_yaml(path).get(name) if path.is_file() else None
    return number if type(number) is int and least <= number <= most else None


def trained_input_scale(model_path: Path, given: float | None) -> float:
    """The --input_scale of a model's training, from the predictor.yaml beside it; without that file `given`, or 1.

    InputError where the file and `given` differ.
    """
    path = model_path.parent / RECORD
    if not path.is_file():
        return 1.0 if given is None else given
    scale = read_yaml(path).get("input_scale")
    if not isinstance(scale, float | int) or isinstance(scale, bool) or not 0 < scale <= 1:
        raise InputError(f"{path}: input_scale is not a number from 0 to 1; train again, or remove this file")
    if given is not None and abs(given - scale) > 0.01:
        raise InputError(f"{model_path}: was trained with --input_scale {scale:g}, not {given:g}")
    return float(scale)


def load_trained_weights(model: Any, path: Path) -> None:
    """Load a .pdparams or .pdema into `model`. InputError where it has not exactly this network's tensors."""
    state = read_paddle_state(path)
    how = "give its --input_scale and --opts (of mb_nano: model.mb_size)"
    fix = "" if path.with_name(RECORD).is_file() else f"; copy {RECORD} of its training beside it, or {how}"
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, shape in expected.items():
        if name not in state:
            raise InputError(f"{path}: has no {name}; it belongs to another network than this config's{fix}")
        found = state[name]
        if not isinstance(found, np.ndarray) or found.dtype.kind != "f" or found.shape != shape:
            what = f"{found.dtype}{list(found.shape)}" if isinstance(found, np.ndarray) else type(found).__name__
            raise InputError(f"{path}: {name} is {what}, this config's network has {list(shape)}{fix}")
        if not np.isfinite(found).all():
            raise InputError(f"{path}: {name} has NaN or infinite values; take an earlier checkpoint")
    if unexpected := state.keys() - expected.keys():
        raise InputError(f"{path}: has {min(unexpected)}, which this config's network lacks{fix}")
    model.set_state_dict({name: state[name].astype(np.float32) for name in expected})
