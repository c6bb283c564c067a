"""Upscaler kinds: the one table, and how an upscaler is loaded."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from regenhance_data.errors import InputError, one_line
from regenhance_data.io.files import sha256
from regenhance_data.upscalers.base import UpscalingNetwork
from regenhance_data.upscalers.settings import FILE_KINDS, UpscalerSettings, kinds_of_file, specs_of
from regenhance_data.upscalers.tiling import TiledUpscaler, is_out_of_memory

Upscaler = Callable[[np.ndarray], np.ndarray]  # uint8 [N, H, W, 3] RGB → uint8 [N, H·scale, W·scale, 3]


def load_upscaler(settings: UpscalerSettings) -> Upscaler:
    """The upscaler of the settings, tried on a small frame. InputError for files that it cannot be made of, and for a
    scale that is not the network's.
    """
    scale = settings.scale
    if settings.kind == "bicubic":
        return lambda frames: np.stack([_bicubic(frame, scale) for frame in frames])
    network = _network(settings)
    if network.scale != scale:
        raise InputError(f"--scale {scale}: {network.source} makes frames {network.scale} times as large, no others")
    _try(network)
    return TiledUpscaler(network, settings.tile_px)


def _bicubic(frame: np.ndarray, scale: int) -> np.ndarray:
    height, width = frame.shape[:2]
    return cv2.resize(frame, (width * scale, height * scale), interpolation=cv2.INTER_CUBIC)


def _network(settings: UpscalerSettings) -> UpscalingNetwork:
    path, white = settings.path, settings.pixel_range or 1.0
    half = {"auto": None, "fp32": False, "fp16": True}[settings.precision]
    if settings.kind == "onnx":
        from regenhance_data.upscalers.onnx import OnnxNetwork

        return _recognised(settings, lambda: OnnxNetwork(path, white))
    from regenhance_data.upscalers import builtin, edsr, spandrel, torchscript

    makers: dict[str, Callable[[], UpscalingNetwork]] = {
        "builtin": builtin.builtin_network,
        "edsr": lambda: edsr.edsr_network(path, half),
        "spandrel": lambda: spandrel.spandrel_network(path, half),
        "torchscript": lambda: torchscript.torchscript_network(path, half, white),
    }
    return _recognised(settings, makers[settings.kind])


def _recognised(settings: UpscalerSettings, make: Callable[[], UpscalingNetwork]) -> UpscalingNetwork:
    """What `make` makes; where it refuses a file of another kind, the refusal says which."""
    try:
        return make()
    except InputError as error:
        kinds = kinds_of_file(settings.path) if settings.kind in FILE_KINDS else ()
        if not kinds or settings.kind in kinds:
            raise
        raise InputError(f"{error}; did you mean {specs_of(kinds, str(settings.path))}?") from None


def _try(network: UpscalingNetwork) -> None:
    """InputError where a network that could be loaded does not work."""
    height, width = network.fixed_hw or (24, 40)
    frame = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    try:
        made = network(frame)
    except InputError:
        raise
    # a network fails in any way; that memory is short is for tiling to mend
    except Exception as error:
        if is_out_of_memory(error):
            return
        raise InputError(f"{network.source}: does not run ({one_line(error)})") from None
    wanted = 1, height * network.scale, width * network.scale, 3
    if made.shape != wanted:
        raise InputError(f"{network.source}: is no upscaler: it makes {list(made.shape)} of {list(frame.shape)}")


def upscaler_record(settings: UpscalerSettings) -> dict[str, Any]:
    """What dataset.yaml says about the upscaler: its spec, the sha256 of its weights (None where it has none), and
    precision and pixel range where they were chosen.
    """
    if settings.kind == "bicubic":
        return {"spec": settings.spec, "sha256": None}
    if settings.kind == "builtin":
        from regenhance_data.street.upscaler import WEIGHTS as path
    else:
        path = settings.path
    record: dict[str, Any] = {"spec": settings.spec, "sha256": sha256(path)}
    if settings.precision != "auto":
        record["precision"] = settings.precision
    if settings.pixel_range is not None:
        record["pixel_range"] = settings.pixel_range
    return record
