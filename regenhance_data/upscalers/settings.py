"""Which upscaler, and how it runs."""

from collections.abc import Collection
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from regenhance_data.errors import InputError, refuse_scale
from regenhance_data.io.files import others_like
from regenhance_data.kinds import kind_of, known_specs
from regenhance_data.upscalers.base import BGR, RGB, UnknownNetworkError
from regenhance_data.upscalers.kinds import KINDS, UpscalerKind, kinds_of_file
from regenhance_data.upscalers.tiling import SMALLEST_TILE_PX

PRECISIONS = ("auto", "fp32", "fp16")
CHANNEL_ORDERS = (RGB, BGR, f"{RGB}-{BGR}", f"{BGR}-{RGB}")
_WAY_OUT = (
    "no kind knows this network: trace it with its own code, torch.jit.trace(network.eval(), torch.rand(1, 3, 64, 64))"
    '.save("up.ts"), and give --model torchscript:up.ts (see docs/upscalers.md)'
)


@dataclass(frozen=True)
class UpscalerSettings:
    """Which upscaler, and how it runs. InputError, that names the flag, for what cannot be.

    spec: a kind's name, or KIND:PATH (see the table in kinds.py). scale: 2 to 8. tile_px: side of the tiles in LR
    pixels, None: the whole frame as long as memory suffices. precision: 'auto' takes fp16 on a GPU where the network
    supports it. pixel_range: white in the input and output of a TorchScript or ONNX file, 1 or 255 (None: 1).
    channel_order: of the input and output of a file, one of CHANNEL_ORDERS (None: RGB).
    """

    spec: str
    scale: int = 3
    tile_px: int | None = None
    precision: str = "auto"
    pixel_range: float | None = None
    channel_order: str | None = None

    def __post_init__(self) -> None:
        kind = self._checked_kind()
        refuse_scale(self.scale)
        if self.tile_px is not None and self.tile_px < SMALLEST_TILE_PX:
            raise InputError(f"--tile_size {self.tile_px}: expected at least {SMALLEST_TILE_PX} pixels")
        if self.precision not in PRECISIONS:
            raise InputError(f"--precision {self.precision}: expected one of {', '.join(PRECISIONS)}")
        if self.precision == "fp16":
            self._refuse_half(kind)
        if self.pixel_range is not None and (not kind.has_pixel_range or self.pixel_range not in (1, 255)):
            kinds = " and ".join(f"{kind.name}:" for kind in KINDS.values() if kind.has_pixel_range)
            raise InputError(f"--pixel_range {self.pixel_range:g}: expected 1 or 255, for {kinds} only")
        if self.channel_order is not None and (not kind.argument or self.channel_order not in CHANNEL_ORDERS):
            raise InputError(
                f"--channel_order {self.channel_order}: expected one of {', '.join(CHANNEL_ORDERS)}, for files only"
            )

    @property
    def kind(self) -> UpscalerKind:
        return KINDS[self.spec.partition(":")[0]]

    @property
    def argument(self) -> str:
        """What follows the colon of the spec."""
        return self.spec.partition(":")[2]

    @property
    def half(self) -> bool | None:
        """Whether half precision is asked for, None where it is left to the kit."""
        return {"auto": None, "fp32": False, "fp16": True}[self.precision]

    @property
    def white(self) -> float:
        """The value of a white pixel in a TorchScript or ONNX file."""
        return self.pixel_range or 1.0

    def _checked_kind(self) -> UpscalerKind:
        kind = kind_of(self.spec, KINDS)
        if kind is None:
            hint = advice(Path(self.spec)) or f"there are: {known_specs(KINDS)}"
            raise InputError(f"--model {self.spec}: no such upscaler; {hint}")
        if kind.argument == "PATH":
            path = Path(self.argument)
            if not path.is_file():
                raise InputError(
                    f"{path}: no such file{others_like(path)}; give --model {kind.spec} the upscaler's file"
                )
            if not path.stat().st_size:
                raise InputError(f"{path}: is empty")
        return kind

    def _refuse_half(self, kind: UpscalerKind) -> None:
        if "fp16" not in kind.precisions:
            raise InputError(f"--precision fp16: {self.spec} has one precision only{kind.fp16_hint}")
        import torch

        if not torch.cuda.is_available():
            raise InputError("--precision fp16: needs a CUDA GPU, and there is none")


def advice(path: Path, but_not: Collection[UpscalerKind] = ()) -> str:
    """What to give for a file, for errors: the specs that read it (all but those of some kinds are tried), or the way
    from weights to a file that carries its network. "" where neither helps.
    """
    specs, is_unknown = [], False
    for kind in (kind for kind in kinds_of_file(path) if kind not in but_not):
        spec = f"{kind.name}:{path}"
        try:
            import_module(kind.module).load(str(path), UpscalerSettings(spec))
            specs.append(spec)
        except UnknownNetworkError:
            is_unknown = True
        except InputError:
            continue
    if specs:
        return f"did you mean {' or '.join(specs)}?"
    return _WAY_OUT if is_unknown else ""
