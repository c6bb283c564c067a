"""How a detector of any kind is loaded and recorded."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regenhance_data.detectors.kinds import KINDS, DetectorKind, kinds_of_file
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.io.files import others_like
from regenhance_data.io.networks import network_sha256
from regenhance_data.kinds import kind_of, known_specs

if TYPE_CHECKING:
    from regenhance_data.detectors.base import Detector


def load_detector(settings: DetectorSettings) -> "Detector":
    """The detector of `settings.spec`, ready to use. InputError for specs, files or classes that do not exist."""
    kind = _checked_kind(settings)
    detector: Detector = import_module(kind.module).load(_argument(settings), settings)
    if settings.task not in (None, detector.task):
        raise InputError(f"--detector {settings.spec}: is for {detector.task}, dataset.yaml says {settings.task}")
    detector.counted_classes()
    return detector


def detector_record(settings: DetectorSettings) -> dict[str, Any]:
    """What dataset.yaml says about the detector: its settings and what its weights are."""
    kind, argument = _checked_kind(settings), _argument(settings)
    if kind.argument == "PATH":
        return {**settings.to_dict(), "sha256": network_sha256(Path(argument))}
    return {**settings.to_dict(), **import_module(kind.module).identity(argument, settings)}


def _argument(settings: DetectorSettings) -> str:
    return settings.spec.partition(":")[2]


def _checked_kind(settings: DetectorSettings) -> DetectorKind:
    """The kind of the spec. InputError for what can be refused before the kind's module is imported."""
    kind = kind_of(settings.spec, KINDS)
    if kind is None:
        meant = " or ".join(f"{kind.name}:{settings.spec}" for kind in kinds_of_file(Path(settings.spec)))
        hint = f"did you mean {meant}?" if meant else f"there are: {known_specs(KINDS)}"
        raise InputError(f"--detector {settings.spec}: no such detector; {hint}")
    if settings.weights and kind.weights_help is None:
        raise InputError(f"--detector_weights: {settings.spec} has its own weights; omit the flag")
    if kind.argument == "PATH":
        path = Path(_argument(settings))
        if not path.is_file():
            raise InputError(f"{path}: no such file{others_like(path)}; give --detector {kind.spec} a detector's file")
        if not path.stat().st_size:
            raise InputError(f"{path}: is empty; export or copy the detector again")
    return kind
