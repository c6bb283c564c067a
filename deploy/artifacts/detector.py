"""ONNX files of deploy/export_detector.py, read without trusting them."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from deploy.artifacts.onnx import metadata_of, shape_of
from regenhance_data import KIT, __version__
from regenhance_data.detectors.class_names import class_number
from regenhance_data.detectors.filtering import BOXES, CLASSES, FRAMES, LABELS, SCORES
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.io.files import parse_json
from regenhance_data.io.onnx_files import LOOP_LIMIT_S, check_network

KIND = "detector"
_OUTPUTS = ([BOXES, SCORES], [BOXES, SCORES, LABELS], [CLASSES])
_AGAIN = "export it again with deploy/export_detector.py"


@dataclass(frozen=True)
class OnnxDetector:
    """A detector as one graph. source: its file, or its spec; messages begin with it. content: the file's bytes.

    outputs: their names. batch: frames that the graph takes at once. frame_hw: (height, width) of a frame. settings:
    of the export, thresholds and classes too. first_label: of the first column of the scores where the columns are
    classes, else None. one_class_per_row: whether only the best class of a row can be a detection.
    """

    source: str
    content: bytes
    outputs: tuple[str, ...]
    batch: int
    frame_hw: tuple[int, int]
    settings: DetectorSettings
    class_names: tuple[str, ...]
    first_label: int | None
    one_class_per_row: bool

    @property
    def task(self) -> str:
        return "segmentation" if self.outputs == (CLASSES,) else "detection"


def detector_metadata(
    record: Mapping[str, Any], class_names: tuple[str, ...], first_label: int | None, one_class_per_row: bool
) -> dict[str, str]:
    """What a detector's file says of itself. record: as `detector_record` gives it, with the sha256 of its source."""
    return {
        "kit": KIT,
        "kit_version": __version__,
        "kind": KIND,
        "detector": json.dumps(dict(record)),
        "class_names": json.dumps(class_names),
        "first_label": "" if first_label is None else str(first_label),
        "one_class_per_row": str(int(one_class_per_row)),
    }


def exported_detector(spec: str) -> OnnxDetector | None:
    """The exported detector in a file, PATH or onnx:PATH; None where it is none.

    InputError for one that is damaged or asks for too much memory or time.
    """
    path = Path(spec.removeprefix("onnx:"))
    if path.suffix != ".onnx" or not path.is_file():
        return None
    try:
        content = path.read_bytes()
        model = onnx.load_model_from_string(content)
        metadata = metadata_of(model)
    except (DecodeError, UnicodeDecodeError):
        return None
    if metadata.get("kit") != KIT or metadata.get("kind") != KIND:
        return None
    limit_s = check_network(path, model, {})
    if limit_s == LOOP_LIMIT_S:
        raise InputError(f"{path}: has branches or loops, which no exported detector has; {_AGAIN}")
    return detector_of(model, content, str(path))


def detector_of(model: onnx.ModelProto, content: bytes, source: str) -> OnnxDetector:
    """The detector in a graph. InputError where its ports or its metadata are not those of one."""
    shapes = {value.name: shape_of(value) for value in (*model.graph.input, *model.graph.output)}
    outputs = [value.name for value in model.graph.output]
    frames, metadata = shapes.get(FRAMES, []), metadata_of(model)
    refusal = InputError(f"{source}: is a damaged detector; {_AGAIN}")
    if [value.name for value in model.graph.input] != [FRAMES] or outputs not in _OUTPUTS:
        raise refusal
    if len(frames) != 4 or frames[3] != 3 or min(frames) < 1:
        raise refusal
    first_label = metadata.get("first_label", "")
    if not re.fullmatch("[0-9]{0,5}", first_label) or (first_label == "") != (outputs != [BOXES, SCORES]):
        raise refusal
    names, record = _from_json(metadata, "class_names", list), _from_json(metadata, "detector", dict)
    if not names or not record or not all(isinstance(name, str) for name in names):
        raise refusal
    try:
        settings = DetectorSettings.from_dict(record)
    except InputError as error:
        raise InputError(f"{source}: its settings are damaged ({error}); {_AGAIN}") from None
    for name in settings.classes:
        class_number(name, names)
    return OnnxDetector(
        source,
        content,
        tuple(outputs),
        frames[0],
        (frames[1], frames[2]),
        settings,
        tuple(names),
        int(first_label) if first_label else None,
        metadata.get("one_class_per_row") == "1",
    )


def _from_json(metadata: Mapping[str, str], key: str, kind: type) -> Any:
    with suppress(ValueError):
        value = parse_json(metadata.get(key, ""))
        return value if isinstance(value, kind) else None
    return None
