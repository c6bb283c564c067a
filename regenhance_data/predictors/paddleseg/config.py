"""A predictor's PaddleSeg config, and the network, loss, optimizer and transforms that it names.

Imports Paddle and PaddleSeg; config_file.py reads a config without them.
"""

from pathlib import Path
from typing import Any

import paddle
from paddleseg.cvlibs import Config, SegBuilder

from regenhance_data.console import tell
from regenhance_data.dataset.folder import Dataset
from regenhance_data.defaults import MB_SIZE
from regenhance_data.errors import InputError
from regenhance_data.predictors.paddleseg import adaptation, networks
from regenhance_data.predictors.paddleseg.checkpoints import RECORD, trained_levels, trained_mb_size
from regenhance_data.predictors.paddleseg.config_file import names_pretrained, read_config, shrink_of, value_in_opts
from regenhance_data.predictors.paddleseg.pieces import Transforms, name_losses, reason

# what PaddleSeg raises for a config that it cannot use
_CONFIG_ERRORS = (AssertionError, RuntimeError, ValueError, KeyError, TypeError, AttributeError)


class _SafeConfig(Config):
    """PaddleSeg's Config, read with the safe YAML loader."""

    @classmethod
    def _parse_from_yaml(cls, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return read_config(Path(path))

    @classmethod
    def update_config_dict(cls, dic: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        kwargs["opts"] = [_as_paddleseg_takes_it(opt) for opt in kwargs.get("opts") or ()]
        changed: dict[str, Any] = super().update_config_dict(dic, *args, **kwargs)
        return changed


class _QuietBuilder(SegBuilder):
    """SegBuilder without the dump of every component's settings."""

    @classmethod
    def show_msg(cls, name: str, cfg: Any) -> None:
        pass


class PredictorConfig:
    """A PaddleSeg YAML and what is built from it.

    input_scale: the network sees frames at this scale, 1 or one over a whole number (`shrink`); the macroblocks stay
    those of the full frame. `mb_size`: their side in pixels of the frame. `overrides` are those of PaddleSeg's Config:
    learning_rate, batch_size, iters, opts (a list of 'key.subkey=value'). `pretrained`: part of the model ('backbone',
    '' for all of it) → URL or path of pretrained weights. `build` does not load them, because a trained model does not
    need them.
    InputError where PaddleSeg refuses the config, or its datasets are not of type `Dataset`.
    """

    def __init__(self, path: Path, input_scale: float = 1.0, **overrides: Any) -> None:
        self.path = path
        self.shrink = shrink_of(input_scale)
        read_config(path)  # PaddleSeg's message for a missing file is another
        networks.register_networks()
        try:
            self.seg = _SafeConfig(str(path), **overrides)
            for key in ("train_dataset", "val_dataset"):
                if self.seg.dic[key]["type"] != "Dataset":
                    raise InputError(f"{path}: {key} is a {self.seg.dic[key]['type']}, expected type Dataset")
            for name in ("batch_size", "iters"):
                self._refuse_not_whole(name, self.seg.dic.get(name))
            self.num_classes = self.seg.dic["train_dataset"]["num_classes"]
            self._refuse_not_whole("num_classes", self.num_classes, least=2)
            self.pretrained = _pop_pretrained(self.seg.dic["model"])
            adaptation.refuse_other_channels(self.seg.dic, path)
            adaptation.refuse_pixel_steps_after_normalize(self.seg.dic, path)
            adaptation.set_class_counts(self.seg.dic)
            self.mb_size = MB_SIZE
            if self.is_on_grid:
                self._set_macroblocks(self.seg.dic["model"].get("mb_size", MB_SIZE))
        except _CONFIG_ERRORS as error:
            raise InputError(f"{path}: PaddleSeg refuses this config ({reason(error)})") from None
        self._opts = overrides.get("opts") or []
        self.builder = _QuietBuilder(self.seg)

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def record(self) -> dict[str, Any]:
        """What predictor.yaml says of the network."""
        return {
            "config": self.name,
            "model": self.seg.dic["model"]["type"],
            "num_classes": self.num_classes,
            "input_scale": 1 / self.shrink,
            "mb_size": self.mb_size,
        }

    @property
    def asks_for_pretrained(self) -> bool:
        """Whether --opts names pretrained weights; those of the YAML are a default."""
        return names_pretrained(self._opts)

    def follow(self, model_path: Path | None, dataset: Dataset | None) -> None:
        """Take the levels and the macroblocks of trained weights, from the predictor.yaml beside them, else those of
        the dataset. A network that ends in pixels takes the macroblocks of any dataset; InputError where one on the
        grid was trained for others.
        """
        about = model_path.with_name(RECORD) if model_path else None
        levels, mb_size = (trained_levels(model_path), trained_mb_size(model_path)) if model_path else (None, None)
        record = dataset.record if dataset and not dataset.record.is_empty else None
        if about and levels:
            self._follow_levels(levels, about)
        elif record:
            self._follow_levels(record.levels, record.path)
        if about and mb_size:
            self._follow_mb_size(mb_size, about)
        if record and mb_size and self.is_on_grid and record.mb_size != mb_size:
            raise InputError(
                f"{model_path}: are weights for macroblocks of {mb_size} pixels, {record.path} has {record.mb_size}; "
                f"train on this dataset, or make its importance and labels again with --mb_size {mb_size}"
            )
        if record:
            self._follow_mb_size(record.mb_size, record.path)

    def _follow_levels(self, levels: int, source: Path) -> None:
        """Set every num_classes to the number of levels that `source` records, unless --opts has set it; tells so."""
        if levels != self.num_classes and not any("num_classes" in opt for opt in self._opts):
            adaptation.set_levels(self.seg.dic, levels)
            tell(f"{self.path}: num_classes is {levels} instead of {self.num_classes}, the levels in {source}")
            self.num_classes = levels

    def _follow_mb_size(self, mb_size: int, source: Path) -> None:
        """Take macroblocks of the size that `source` records; tells so where it changes the network. InputError where
        --opts has set another one.
        """
        if self.is_on_grid and mb_size != self.mb_size:
            if value_in_opts(self._opts, "model.mb_size") is not None:
                raise InputError(
                    f"--opts model.mb_size={self.mb_size}: {source} has macroblocks of {mb_size} pixels; leave it out"
                )
            tell(f"{self.path}: model.mb_size is {mb_size} instead of {self.mb_size}, the macroblocks in {source}")
            self._set_macroblocks(mb_size)
        self.mb_size = mb_size

    def shorten_warmup(self) -> None:
        """Shorten a warm-up that is too long for the iterations, unless --opts has set it; tells so."""
        if not any("warmup" in opt for opt in self._opts) and (
            warmup := adaptation.shorten_warmup(self.seg.dic, self.seg.iters)
        ):
            tell(f"{self.path}: of {self.seg.iters} iterations, the warm-up takes {warmup[1]} instead of {warmup[0]}")

    @property
    def is_on_grid(self) -> bool:
        """Whether the network outputs one value for each macroblock, not for each pixel."""
        return networks.is_on_grid(self.seg.dic["model"]["type"])

    def refuse_cut_macroblocks(self, mb_size: int) -> None:
        """InputError where a macroblock would not be a whole number of the network's input pixels."""
        if mb_size % self.shrink:
            raise InputError(f"--input_scale 1/{self.shrink}: macroblocks of {mb_size} pixels are cut by it")

    def _set_macroblocks(self, mb_size: Any) -> None:
        """Give the network and its losses macroblocks of `mb_size` pixels of the frame, in pixels of its input."""
        self._refuse_not_whole("model.mb_size", mb_size)
        self.refuse_cut_macroblocks(mb_size)
        adaptation.set_mb_size(self.seg.dic, mb_size // self.shrink)
        self.mb_size = mb_size

    def _refuse_not_whole(self, name: str, value: Any, least: int = 1) -> None:
        if type(value) is not int or value < least:
            raise InputError(f"{self.path}: {name} is {value!r}, expected a whole number of at least {least}")

    def build(self, component: str) -> Any:
        """The `model`, `loss` or `optimizer` that the config names. InputError where PaddleSeg cannot build it."""
        try:
            # optimizer state is stored under the parameters' names, which must not depend on what was built before
            with paddle.utils.unique_name.guard():
                built = getattr(self.builder, component)
            if hasattr(built, "loss_computation"):  # MaskFormer
                raise InputError(
                    f"{self.path}: {type(built).__name__} learns from masks of objects; use another network"
                )
            return name_losses(built, self.path) if component == "loss" else built
        except _CONFIG_ERRORS as error:
            raise InputError(f"{self.path}: PaddleSeg cannot build the {component} ({reason(error)})") from None

    def transforms(self, key: str) -> Transforms:
        """The transforms of `train_dataset` or `val_dataset`."""
        try:
            settings = self.seg.dic[key].get("transforms", [])
            return Transforms([self.builder.build_component(one) for one in settings], f"{self.path}: {key}.transforms")
        except (RuntimeError, TypeError, KeyError) as error:
            raise InputError(f"{self.path}: {key}.transforms: {reason(error)}") from None


def _as_paddleseg_takes_it(opt: str) -> str:
    """An entry of --opts whose value has no '=', such as a path may have: the literal of a text has none."""
    key, _, value = opt.partition("=")
    return f"{key}=" + repr(value).replace("=", "\\x3d") if "=" in value else opt


def _pop_pretrained(model: dict[str, Any]) -> dict[str, str]:
    """Remove the entries `pretrained` from a model's config; {part: source} of those that are not empty."""
    sources = {"": model.pop("pretrained", None)}
    for part, settings in model.items():
        if isinstance(settings, dict):
            sources[part] = settings.pop("pretrained", None)
    return {part: str(source) for part, source in sources.items() if source}
