"""How an upscaler of any kind is loaded and recorded."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from regenhance_data.errors import InputError, one_line
from regenhance_data.io.networks import network_sha256
from regenhance_data.upscalers.base import RGB, UnknownNetworkError, UpscalingNetwork
from regenhance_data.upscalers.settings import UpscalerSettings, advice
from regenhance_data.upscalers.tiling import TiledUpscaler, is_out_of_memory

Loader = Callable[[str, UpscalerSettings], UpscalingNetwork]  # as `load` of a kind's module


def load_upscaler(settings: UpscalerSettings, load: Loader | None = None) -> TiledUpscaler:
    """The upscaler of the settings, tried on a small frame. InputError for files that are no upscaler, and for a
    scale that is not the network's.

    load: instead of that of the settings' kind, as for another engine.
    """
    network = _network(settings, load or import_module(settings.kind.module).load)
    if network.scale != settings.scale:
        raise InputError(
            f"--scale {settings.scale}: {network.source} makes frames {network.scale} times as large, no others"
        )
    _try(network)
    return TiledUpscaler(network, settings.tile_px)


def _network(settings: UpscalerSettings, load: Loader) -> UpscalingNetwork:
    """The network of the settings; where its kind refuses a file, the error names the kinds that read it."""
    try:
        network = load(settings.argument, settings)
    except InputError as error:
        path = Path(settings.argument)
        hint = advice(path, [settings.kind]) if settings.argument else ""
        if not hint and isinstance(error, UnknownNetworkError):
            hint = advice(path)
        raise InputError(f"{error}; {hint}" if hint else str(error)) from None
    if settings.channel_order is not None:
        if RGB not in network.pixels:
            raise InputError(f"--channel_order {settings.channel_order}: {network.source} takes luma; leave it out")
        network.channel_order = settings.channel_order
    return network


def _try(network: UpscalingNetwork) -> None:
    """InputError where a network that could be loaded does not work."""
    height, width = network.fixed_hw or (24, 40)
    frame = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    try:
        made = network(frame)
    except InputError:
        raise
    # a network can raise anything; tiling handles a lack of memory
    except Exception as error:
        if is_out_of_memory(error):
            return
        raise InputError(f"{network.source}: does not run ({one_line(error)})") from None
    wanted = 1, height * network.scale, width * network.scale, 3
    if made.shape != wanted:
        raise InputError(f"{network.source}: is not an upscaler: it makes {list(made.shape)} of {list(frame.shape)}")


def upscaler_record(settings: UpscalerSettings) -> dict[str, Any]:
    """What dataset.yaml says about the upscaler: its spec, the sha256 of its weights (None where it has none), and
    precision, pixel range and channel order where they were given.
    """
    kind, argument = settings.kind, settings.argument
    is_file = kind.argument == "PATH"
    weights = network_sha256(Path(argument)) if is_file else import_module(kind.module).identity(argument)
    record: dict[str, Any] = {"spec": settings.spec, "sha256": weights}
    if settings.precision in kind.precisions:
        record["precision"] = settings.precision
    for name in ("pixel_range", "channel_order"):
        if getattr(settings, name) is not None:
            record[name] = getattr(settings, name)
    return record
