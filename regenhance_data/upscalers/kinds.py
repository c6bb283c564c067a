"""The table of upscaler kinds. A new kind is one row here and one module."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from regenhance_data.kinds import Kind


def _is_onnx(path: Path) -> bool:
    return path.suffix.lower() == ".onnx"


def _is_frozen_graph(path: Path) -> bool:
    return path.suffix.lower() == ".pb"


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return not _is_onnx(path) and any("/code/" in name for name in archive.namelist())
    # zipfile raises many kinds for files that are no archives or broken ones
    except Exception:
        return False


def _is_checkpoint(path: Path) -> bool:
    return path.suffix.lower() in (".pt", ".pth", ".ckpt", ".safetensors") and not _is_torchscript(path)


@dataclass(frozen=True)
class UpscalerKind(Kind):
    """A kind of upscaler, as `--model NAME:ARGUMENT` gives it.

    Its module has `load(argument: str, settings: UpscalerSettings) -> UpscalingNetwork` and, where the argument is no
    PATH, `identity(argument: str) -> str | None`, the sha256 of the weights (None without weights). precisions: what
    --precision can choose besides auto. fp16_hint: what to do where fp16 is not among them. has_pixel_range: whether
    --pixel_range applies. is_torch: whether PyTorch runs it, so that it can be exported to ONNX. recognises: whether a
    file may be of this kind, for "did you mean".
    """

    precisions: tuple[str, ...] = ("fp32", "fp16")
    fp16_hint: str = ""
    has_pixel_range: bool = False
    is_torch: bool = False
    recognises: Callable[[Path], bool] | None = None


_ROOM = "regenhance_data.upscalers"
KINDS: dict[str, UpscalerKind] = {
    kind.name: kind
    for kind in (
        UpscalerKind("builtin", f"{_ROOM}.builtin", precisions=("fp32",), is_torch=True),
        UpscalerKind("general", f"{_ROOM}.general", precisions=("fp32",), is_torch=True),
        UpscalerKind("bicubic", f"{_ROOM}.bicubic", precisions=()),
        UpscalerKind("edsr", f"{_ROOM}.edsr", "PATH", is_torch=True, recognises=_is_checkpoint),
        UpscalerKind("spandrel", f"{_ROOM}.spandrel", "PATH", is_torch=True, recognises=_is_checkpoint),
        UpscalerKind(
            "torchscript",
            f"{_ROOM}.torchscript",
            "PATH",
            has_pixel_range=True,
            is_torch=True,
            recognises=_is_torchscript,
        ),
        UpscalerKind(
            "onnx",
            f"{_ROOM}.onnx",
            "PATH",
            precisions=("fp32",),
            fp16_hint="; export its graph in fp16",
            has_pixel_range=True,
            recognises=_is_onnx,
        ),
        UpscalerKind("opencv", f"{_ROOM}.opencv", "PATH", precisions=("fp32",), recognises=_is_frozen_graph),
    )
}


def kinds_of_file(path: Path) -> tuple[UpscalerKind, ...]:
    """The kinds that a file can be of, by its name and content; () where it is missing."""
    if not path.is_file():
        return ()
    return tuple(kind for kind in KINDS.values() if kind.recognises is not None and kind.recognises(path))
