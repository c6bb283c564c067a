"""A region importance predictor on the Paddle side: its PaddleSeg config, its network, its weights, what it says.

Imports Paddle and PaddleSeg; only the commands that train and export import this module.
"""

from pathlib import Path
from typing import Any

import paddle
from paddleseg.cvlibs import Config, SegBuilder
from paddleseg.cvlibs.config import merge_config_dicts

from regenhance_data.defaults import MB_SIZE, MOST_MB_SIZE
from regenhance_data.errors import InputError
from regenhance_data.io.files import read_yaml
from regenhance_data.predictors.paddleseg import compat, mb_nano  # noqa: F401  PaddleSeg then knows mb_nano's components


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
            raise InputError(f"{path}: PaddleSeg refuses this config ({paddle_reason(error)})") from None
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
            raise InputError(f"{self.path}: PaddleSeg cannot build the {piece} ({paddle_reason(error)})") from None

    def transforms(self, key: str) -> Any:
        """The transforms of `train_dataset` or `val_dataset`, as one callable on {'img': BGR float32, 'label', …}."""
        from paddleseg.transforms import Compose

        try:
            settings = self.seg.dic[key].get("transforms", [])
            return Compose([self.builder.build_component(one) for one in settings])
        except (RuntimeError, TypeError, KeyError) as error:
            raise InputError(f"{self.path}: {key}.transforms: {paddle_reason(error)}") from None


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


def paddle_reason(error: Exception) -> str:
    """The end of an error of Paddle or PaddleSeg, which says what is wrong, on one line."""
    return " ".join(str(error).split())[-160:]
