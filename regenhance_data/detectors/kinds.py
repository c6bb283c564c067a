"""The table of detector kinds. A new kind is one row here and one module."""

from dataclasses import dataclass
from pathlib import Path

from regenhance_data.kinds import Kind, kind_of


@dataclass(frozen=True)
class DetectorKind(Kind):
    """A kind of detector, as `--detector NAME:ARGUMENT` gives it.

    Its module has `load(argument: str, settings: DetectorSettings) -> Detector` and, where the argument is no PATH,
    `identity(argument: str, settings: DetectorSettings) -> dict`, which describes the weights for dataset.yaml.
    suffixes: of its files, for "did you mean". weights_help: what --detector_weights takes, None where the spec has its
    own weights. street_only: whether it detects only the objects of the built-in street. is_program: whether its file
    can do more than compute.
    """

    suffixes: tuple[str, ...] = ()
    weights_help: str | None = None
    street_only: bool = False
    is_program: bool = False


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
        DetectorKind("torchscript", f"{_ROOM}.torchscript", "PATH", (".pt", ".torchscript"), is_program=True),
    )
}


def is_program(spec: str) -> bool:
    """Whether a spec names a program, which runs only where a user names it."""
    kind = kind_of(spec, KINDS)
    return kind is not None and kind.is_program


def kinds_of_file(path: Path) -> tuple[DetectorKind, ...]:
    """The kinds that a file can be of, by its suffix; () where it is missing."""
    return tuple(kind for kind in KINDS.values() if path.suffix in kind.suffixes) if path.is_file() else ()
