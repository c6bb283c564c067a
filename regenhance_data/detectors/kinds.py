"""The table of detector kinds. A new kind is one row here and one module."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DetectorKind:
    """A kind of detector, as `--detector NAME:ARGUMENT` gives it.

    module: imported when a detector of this kind is used. It has `load(argument: str, settings: DetectorSettings) ->
    Detector` and `identity(argument: str, settings: DetectorSettings) -> dict`, which says for dataset.yaml what the
    weights are. argument: what follows the colon, '' for nothing; PATH is a file that must exist. suffixes: of its
    files, for "did you mean". weights_help: what --detector_weights takes, None where the spec has its own weights.
    street_only: whether it detects only the objects of the built-in street.
    """

    name: str
    module: str
    argument: str = ""
    suffixes: tuple[str, ...] = ()
    weights_help: str | None = None
    street_only: bool = False

    @property
    def spec(self) -> str:
        """What a user types, for help and errors."""
        return f"{self.name}:{self.argument}" if self.argument else self.name


_ROOM = "regenhance_data.detectors"
KINDS: dict[str, DetectorKind] = {
    kind.name: kind
    for kind in (
        DetectorKind("builtin", f"{_ROOM}.builtin", street_only=True),
        DetectorKind(
            "torchvision",
            f"{_ROOM}.torchvision",
            "NAME",
            weights_help="DEFAULT, COCO_V1, … (downloaded), a .pth file, or none (random); default: DEFAULT",
        ),
        DetectorKind(
            "detectron2",
            f"{_ROOM}.detectron2",
            "YAML",
            suffixes=(".yaml", ".yml"),
            weights_help="a .pth or .pkl file, or none (random); default: the file that the YAML names",
        ),
        DetectorKind("onnx", f"{_ROOM}.onnx", "PATH", suffixes=(".onnx",)),
        DetectorKind("torchscript", f"{_ROOM}.torchscript", "PATH", suffixes=(".pt", ".torchscript")),
    )
}


def known_specs() -> str:
    """Every kind as a user types it, for help and errors."""
    return ", ".join(kind.spec for kind in KINDS.values())


def kind_of(spec: str) -> DetectorKind | None:
    """The kind of a spec, None where there is no such kind or its argument is missing or superfluous."""
    name, colon, argument = spec.partition(":")
    kind = KINDS.get(name)
    return kind if kind is not None and bool(colon) == bool(argument) == bool(kind.argument) else None


def kinds_of_file(path: Path) -> tuple[DetectorKind, ...]:
    """The kinds that a file can be of, by its suffix; () where it is missing."""
    return tuple(kind for kind in KINDS.values() if path.suffix in kind.suffixes) if path.is_file() else ()
