"""A predictor's PaddleSeg config, and the network, loss, optimizer and transforms that it names.

Imports Paddle and PaddleSeg; config_file.py reads a config without them.
"""

from pathlib import Path
from typing import Any

import paddle
from paddleseg.cvlibs import Config, SegBuilder

from regenhance_data.console import tell
from regenhance_data.defaults import MB_SIZE
from regenhance_data.errors import InputError
from regenhance_data.predictors.paddleseg import adaptation, networks
from regenhance_data.predictors.paddleseg.config_file import names_pretrained, read_config, shrink_of
from regenhance_data.predictors.paddleseg.pieces import Transforms, name_losses, reason

# what PaddleSeg raises for a config that it cannot use
_CONFIG_ERRORS = (AssertionError, RuntimeError, ValueError, KeyError, TypeError, AttributeError)


class _SafeConfig(Config):
    """PaddleSeg's Config, read with the safe YAML loader."""

    @classmethod
    def _parse_from_yaml(cls, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return read_config(Path(path))


class _QuietBuilder(SegBuilder):
    """SegBuilder without the dump of every component's settings."""

    @classmethod
    def show_msg(cls, name: str, cfg: Any) -> None:
        pass


class PredictorConfig:
    """A PaddleSeg YAML and what is built from it.

    input_scale: the network sees frames at this scale, 1 or one over a whole number (`shrink`); the macroblocks stay
    those of the full frame. `overrides` are those of PaddleSeg's Config: learning_rate, batch_size, iters, opts (a list
    of 'key.subkey=value'). `pretrained`: part of the model ('backbone', '' for all of it) → URL or path of pretrained
    weights. `build` does not load them, because a trained model does not need them.
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
            if self.is_on_grid:
                self._set_macroblocks()
        except _CONFIG_ERRORS as error:
            raise InputError(f"{path}: PaddleSeg refuses this config ({reason(error)})") from None
        self._opts = overrides.get("opts") or []
        self.builder = _QuietBuilder(self.seg)

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def asks_for_pretrained(self) -> bool:
        """Whether --opts names pretrained weights; those of the YAML are a default."""
        return names_pretrained(self._opts)

    def follow_levels(self, levels: int, source: Path) -> None:
        """Set every num_classes to the number of levels that `source` records, unless --opts has set it; tells so."""
        if levels != self.num_classes and not any("num_classes" in opt for opt in self._opts):
            adaptation.set_levels(self.seg.dic, levels)
            tell(f"{self.path}: num_classes is {levels} instead of {self.num_classes}, the levels in {source}")
            self.num_classes = levels

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

    def _set_macroblocks(self) -> None:
        """Give the network and its losses the model's `mb_size`, in pixels of the network's input, not of the frame."""
        size = self.seg.dic["model"].get("mb_size", MB_SIZE)
        self._refuse_not_whole("model.mb_size", size)
        self.refuse_cut_macroblocks(size)
        adaptation.set_mb_size(self.seg.dic, size // self.shrink)

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


def _pop_pretrained(model: dict[str, Any]) -> dict[str, str]:
    """Remove the entries `pretrained` from a model's config; {part: source} of those that are not empty."""
    sources = {"": model.pop("pretrained", None)}
    for part, settings in model.items():
        if isinstance(settings, dict):
            sources[part] = settings.pop("pretrained", None)
    return {part: str(source) for part, source in sources.items() if source}
