"""A region importance predictor on the Paddle side: its PaddleSeg config, its network, its weights, what it says.

Imports Paddle and PaddleSeg; only the commands that train and export import this module.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddleseg.cvlibs import Config, SegBuilder
from paddleseg.cvlibs.config import merge_config_dicts

from regenhance_data import __version__
from regenhance_data.cli import InputError
from regenhance_data.dataset.folder import MB_SIZE, MOST_MB_SIZE
from regenhance_data.io.files import read_yaml, write_yaml, written_whole
from regenhance_data.io.pickles import ARRAYS, restricted_load
from regenhance_data.predictors.paddleseg import compat, mb_nano  # noqa: F401  PaddleSeg then knows mb_nano's components

RECORD = "predictor.yaml"


class _SafeConfig(Config):
    """PaddleSeg's Config, read with the safe YAML loader."""

    @classmethod
    def _parse_from_yaml(cls, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return _read_with_bases(Path(path), ())


def _read_with_bases(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise InputError(f"{path}: is its own _base_; take one of them out")
    config = read_yaml(path)
    bases = config.pop("_base_", [])
    for base in [bases] if isinstance(bases, str) else bases:
        config = merge_config_dicts(config, _read_with_bases(path.parent / base, (*seen, path.resolve())))
    return config


class _QuietBuilder(SegBuilder):
    """SegBuilder without the dump of every component's settings."""

    @classmethod
    def show_msg(cls, name: str, cfg: Any) -> None:
        pass


class PredictorConfig:
    """A PaddleSeg YAML. `builder` makes the pieces it names: model, loss, optimizer, lr_scheduler.

    input_scale: the network sees the frame at this part of its size, 1 or one over a whole number (`shrink`); the
    macroblocks stay the frame's. `overrides` are Config's own: learning_rate, batch_size, iters, opts (a list of
    'key.subkey=value'). `pretrained`: part of the model ('backbone', '' for all) → URL or path of weights to begin
    with; the model is built without, since those who load a trained one do not need them.
    InputError for a config that PaddleSeg refuses, or that is not over a dataset of type `Dataset`.
    """

    def __init__(self, path: Path, input_scale: float = 1.0, **overrides: Any) -> None:
        self.path = path
        self.shrink = _shrink_of(input_scale)
        if path.suffix not in (".yml", ".yaml"):
            raise InputError(f"{path}: a config is a .yml file, like paddleseg_configs/pp_mobileseg_tiny.yml")
        read_yaml(path)  # a missing file is told as every other
        try:
            self.seg = _SafeConfig(str(path), **overrides)
            for key in ("train_dataset", "val_dataset"):
                if self.seg.dic[key]["type"] != "Dataset":
                    raise InputError(f"{path}: {key} is a {self.seg.dic[key]['type']}, expected type Dataset")
            self.num_classes = int(self.seg.dic["train_dataset"]["num_classes"])
            if self.num_classes < 2 or min(self.seg.batch_size, self.seg.iters) < 1:
                raise InputError(f"{path}: needs num_classes >= 2 and batch_size, iters >= 1")
            self.pretrained = _taken_out(self.seg.dic["model"])
            self._shrink_macroblocks()
        except (AssertionError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: PaddleSeg refuses this config ({_reason(error)})") from None
        self.builder = _QuietBuilder(self.seg)

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def is_on_grid(self) -> bool:
        """Whether the network goes straight to the macroblocks."""
        return bool(self.seg.dic["model"]["type"] == "MbNano")

    def refuse_cut_macroblocks(self, mb_size: int) -> None:
        """InputError where the network would not see whole pixels of a macroblock."""
        if mb_size % self.shrink:
            raise InputError(f"--input_scale 1/{self.shrink}: macroblocks of {mb_size} pixels are cut by it")

    def _shrink_macroblocks(self) -> None:
        """The kit's own pieces count macroblocks in pixels of their input."""
        for piece in (self.seg.dic["model"], *self.seg.dic["loss"]["types"]):
            if piece["type"] in ("MbNano", "MacroblockLoss"):
                size = int(piece.get("mb_size", MB_SIZE))
                self.refuse_cut_macroblocks(size)
                piece["mb_size"] = size // self.shrink

    def build(self, piece: str) -> Any:
        """The `model`, `loss` or `optimizer` that the config names. InputError where PaddleSeg cannot make it."""
        if piece == "loss":
            compat.mend()
        try:
            # an optimizer's state is filed under its parameters' names, which must not depend on what was built before
            with paddle.utils.unique_name.guard():
                return getattr(self.builder, piece)
        except (AssertionError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{self.path}: PaddleSeg cannot build the {piece} ({_reason(error)})") from None

    def transforms(self, key: str) -> Any:
        """The transforms of `train_dataset` or `val_dataset`, as one callable on {'img': BGR float32, 'label', …}."""
        from paddleseg.transforms import Compose

        try:
            settings = self.seg.dic[key].get("transforms", [])
            return Compose([self.builder.build_component(one) for one in settings])
        except (RuntimeError, TypeError, KeyError) as error:
            raise InputError(f"{self.path}: {key}.transforms: {_reason(error)}") from None


def _shrink_of(input_scale: float) -> int:
    shrink = round(1 / input_scale) if 1 / MOST_MB_SIZE <= input_scale <= 1 else 0
    if not shrink or abs(input_scale * shrink - 1) > 0.01:
        raise InputError(f"--input_scale {input_scale:g}: expected 1, 0.5, 0.25 or another 1 over a whole number")
    return shrink


def _taken_out(model: dict[str, Any]) -> dict[str, str]:
    """Take the entries `pretrained` out of a model's config; {part: source} of those that say something."""
    sources = {"": model.pop("pretrained", None)}
    for part, settings in model.items():
        if isinstance(settings, dict):
            sources[part] = settings.pop("pretrained", None)
    return {part: str(source) for part, source in sources.items() if source}


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[-160:]


def read_state(path: Path) -> dict[str, Any]:
    """The content of a .pdparams or .pdopt file. Runs no code from it; InputError when it is anything else."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; train a predictor with 'paddleseg train'")
    try:
        state = restricted_load(path, ARRAYS)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: is no Paddle checkpoint ({_reason(error)})") from None
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise InputError(f"{path}: is no Paddle checkpoint (it holds a {type(state).__name__}, not named arrays)")
    return state


def write_state(path: Path, state: Any) -> None:
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
    write_state(folder / "model.pdparams", state)


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


def load_weights(model: Any, path: Path) -> None:
    """Put the weights of a .pdparams into `model`. InputError when they are not exactly this network's."""
    state = read_state(path)
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
