"""Which upscaler, and how it runs."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

from regenhance_data.errors import InputError
from regenhance_data.upscalers.tiling import SMALLEST_TILE_PX

FILE_KINDS = ("edsr", "spandrel", "torchscript", "onnx")
EXISTING = "builtin, bicubic, " + ", ".join(f"{kind}:PATH" for kind in FILE_KINDS)
PRECISIONS = ("auto", "fp32", "fp16")
_HALF = ("edsr", "spandrel", "torchscript")  # kinds whose precision can be chosen
_PIXEL_RANGE = ("torchscript", "onnx")  # kinds whose files do not tell the range of their pixels


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
            kinds = kinds_of_file(Path(self.spec))
            hint = f"did you mean {specs_of(kinds, self.spec)}?" if kinds else f"there are: {EXISTING}"
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


def kinds_of_file(path: Path) -> tuple[str, ...]:
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


def specs_of(kinds: tuple[str, ...], path: str) -> str:
    """The specs that read a file as one of these kinds, for errors."""
    return " or ".join(f"{kind}:{path}" for kind in kinds)
