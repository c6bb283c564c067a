"""Files of a PaddleSeg training: parameters, optimiser state, and predictor.yaml."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from regenhance_data import __version__
from regenhance_data.errors import InputError
from regenhance_data.io.files import read_yaml, write_yaml, written_whole
from regenhance_data.io.pickles import ARRAYS, restricted_load
from regenhance_data.predictors.paddleseg.config import PredictorConfig, paddle_reason

RECORD = "predictor.yaml"


def read_parameters(path: Path) -> dict[str, Any]:
    """The content of a .pdparams or .pdopt file. Runs no code from it; InputError when it is anything else."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; train a predictor with 'paddleseg train'")
    try:
        state = restricted_load(path, ARRAYS)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: is no Paddle checkpoint ({paddle_reason(error)})") from None
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise InputError(f"{path}: is no Paddle checkpoint (it holds a {type(state).__name__}, not named arrays)")
    return state


def write_parameters(path: Path, state: Any) -> None:
    """Write a state_dict as PaddleSeg does, whole or not at all."""
    with written_whole(path) as temporary:
        paddle.save(state, str(temporary))


def write_model(folder: Path, state: Any, config: PredictorConfig) -> None:
    """Write `folder`/model.pdparams and, before it, predictor.yaml: what is to be known of it besides its weights."""
    record = {
        "config": config.name,
        "model": config.seg.dic["model"]["type"],
        "num_classes": config.num_classes,
        "input_scale": 1 / config.shrink,
        "kit_version": __version__,
    }
    write_yaml(folder / RECORD, record)
    write_parameters(folder / "model.pdparams", state)


def trained_input_scale(model_path: Path, given: float | None) -> float:
    """The --input_scale that a trained model was trained with, from the predictor.yaml beside it; `given` where there
    is none, or 1. InputError where both say something and differ.
    """
    path = model_path.parent / RECORD
    if not path.is_file():
        return 1.0 if given is None else given
    scale = read_yaml(path).get("input_scale")
    if not isinstance(scale, float | int) or isinstance(scale, bool) or not 0 < scale <= 1:
        raise InputError(f"{path}: input_scale is no number from 0 to 1; train again, or remove this file")
    if given is not None and abs(given - scale) > 0.01:
        raise InputError(f"{model_path}: was trained with --input_scale {scale:g}, not {given:g}")
    return float(scale)


def load_parameters(model: Any, path: Path) -> None:
    """Put the weights of a .pdparams into `model`. InputError when they are not exactly this network's."""
    state = read_parameters(path)
    state.pop("StructuredToParameterName@@", None)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, shape in expected.items():
        if name not in state:
            raise InputError(f"{path}: has no {name}; it belongs to another network than this config's")
        found = state[name]
        if not isinstance(found, np.ndarray) or found.dtype.kind != "f" or found.shape != shape:
            what = f"{found.dtype}{list(found.shape)}" if isinstance(found, np.ndarray) else type(found).__name__
            raise InputError(f"{path}: {name} is {what}, this config's network has {list(shape)}")
        if not np.isfinite(found).all():
            raise InputError(f"{path}: {name} has NaN or infinite values; take an earlier checkpoint")
    strangers = state.keys() - expected.keys()
    if strangers:
        raise InputError(f"{path}: has {min(strangers)}, which this config's network lacks")
    model.set_state_dict({name: state[name].astype(np.float32) for name in expected})
