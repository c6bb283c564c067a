"""Upscalers: what turns origin images into the clear frames of a dataset without high-resolution originals."""

import argparse
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from regenhance_data.cli import InputError
from regenhance_data.io.files import sha256
from regenhance_data.upscalers.base import UpscalingNetwork, one_line
from regenhance_data.upscalers.tiling import SMALLEST_TILE_PX, TiledUpscaler, is_out_of_memory

FILE_KINDS = ("edsr", "spandrel", "torchscript", "onnx")
EXISTING = "builtin, bicubic, " + ", ".join(f"{kind}:PATH" for kind in FILE_KINDS)
PRECISIONS = ("auto", "fp32", "fp16")
_HALF = ("edsr", "spandrel", "torchscript")  # kinds whose precision can be chosen
_PIXEL_RANGE = ("torchscript", "onnx")  # kinds whose files do not tell the range of their pixels

Upscaler = Callable[[np.ndarray], np.ndarray]  # uint8 [N, H, W, 3] RGB → uint8 [N, H·scale, W·scale, 3]


@dataclass(frozen=True)
class UpscalerSettings:
    """Which upscaler, and how it runs. InputError, that names the flag, for what cannot be.

    spec: 'builtin', 'bicubic' or KIND:PATH. scale: 2 to 8. tile_px: side of the tiles in origin pixels, None: the
    whole frame as long as memory suffices. precision: 'auto' takes fp16 on a GPU where the network supports it.
    pixel_range: white in the input and output of a TorchScript or ONNX file, 1 or 255 (None: 1).
    """

    spec: str
    scale: int = 3
    tile_px: int | None = None
    precision: str = "auto"
    pixel_range: float | None = None

    def __post_init__(self) -> None:
        if self.spec not in ("builtin", "bicubic"):
            self._refuse_odd_spec()
        if not 2 <= self.scale <= 8:
            raise InputError(f"--scale {self.scale}: expected a whole number from 2 to 8")
        if self.tile_px is not None and self.tile_px < SMALLEST_TILE_PX:
            raise InputError(f"--tile_size {self.tile_px}: expected at least {SMALLEST_TILE_PX} pixels")
        if self.precision not in PRECISIONS:
            raise InputError(f"--precision {self.precision}: expected one of {', '.join(PRECISIONS)}")
        if self.precision == "fp16":
            self._refuse_half()
        if self.pixel_range is not None and (self.kind not in _PIXEL_RANGE or self.pixel_range not in (1, 255)):
            raise InputError(f"--pixel_range {self.pixel_range:g}: expected 1 or 255, for torchscript: and onnx: only")

    @property
    def kind(self) -> str:
        return self.spec.partition(":")[0]

    @property
    def path(self) -> Path:
        """The file of a KIND:PATH."""
        return Path(self.spec.partition(":")[2])

    def _refuse_odd_spec(self) -> None:
        if self.kind not in FILE_KINDS or ":" not in self.spec:
            kinds = _kinds_of(Path(self.spec))
            hint = f"did you mean {_specs(kinds, self.spec)}?" if kinds else f"there are: {EXISTING}"
            raise InputError(f"--model {self.spec}: no such upscaler; {hint}")
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file; give --model {self.kind}:PATH the upscaler's file")
        if not self.path.stat().st_size:
            raise InputError(f"{self.path}: is empty")

    def _refuse_half(self) -> None:
        import torch

        if self.kind not in _HALF:
            how = "; export its graph in fp16" if self.kind == "onnx" else ""
            raise InputError(f"--precision fp16: {self.spec} has one precision only{how}")
        if not torch.cuda.is_available():
            raise InputError("--precision fp16: needs a CUDA GPU, and there is none")


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
    from regenhance_data.upscalers import pytorch

    makers: dict[str, Callable[[], UpscalingNetwork]] = {
        "builtin": pytorch.builtin_network,
        "edsr": lambda: pytorch.edsr_network(path, half),
        "spandrel": lambda: pytorch.spandrel_network(path, half),
        "torchscript": lambda: pytorch.torchscript_network(path, half, white),
    }
    return _recognised(settings, makers[settings.kind])


def _recognised(settings: UpscalerSettings, make: Callable[[], UpscalingNetwork]) -> UpscalingNetwork:
    """What `make` makes; where it refuses a file of another kind, the refusal says which."""
    try:
        return make()
    except InputError as error:
        kinds = _kinds_of(settings.path) if settings.kind in FILE_KINDS else ()
        if not kinds or settings.kind in kinds:
            raise
        raise InputError(f"{error}; did you mean {_specs(kinds, str(settings.path))}?") from None


def _kinds_of(path: Path) -> tuple[str, ...]:
    """The kinds of upscaler that a file can be, by its name and what lies in it; () where it is none."""
    if not path.is_file():
        return ()
    if path.suffix == ".onnx":
        return ("onnx",)
    if _has_code(path):
        return ("torchscript",)
    return ("edsr", "spandrel") if path.suffix in (".pt", ".pth", ".ckpt", ".safetensors") else ()


def _has_code(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    # zipfile has many kinds for files that are no archives or broken ones
    except Exception:
        return False


def _specs(kinds: tuple[str, ...], path: str) -> str:
    return " or ".join(f"{kind}:{path}" for kind in kinds)


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


def add_upscaler_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that `upscaler_settings_from` reads."""
    group = parser.add_argument_group("upscaler")
    add = group.add_argument
    add("--model", required=True, metavar="SPEC", help=f"the upscaler: {EXISTING}")
    add("--tile_size", type=int, metavar="PX", help="side of the tiles (default: whole frames while memory suffices)")
    add("--precision", choices=PRECISIONS, default="auto", help="auto: fp16 on a GPU where the network supports it")
    add("--pixel_range", type=float, help="white in a torchscript: or onnx: file, 1 or 255 (default: 1)")


def upscaler_settings_from(args: argparse.Namespace, scale: int) -> UpscalerSettings:
    """The settings that the flags of `add_upscaler_arguments` give."""
    return UpscalerSettings(args.model, scale, args.tile_size, args.precision, args.pixel_range)
