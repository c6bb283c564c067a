"""The counts of frames that are evaluated already, in a file until the evaluation is complete.

A run that was interrupted or killed goes on where it was. The first line of the file identifies the inputs of the
evaluation, each further line holds the counts of one frame and a digest; a line that was not written to its end, or was
changed, is dropped.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from regenhance_data import __version__
from regenhance_data.dataset.folder import LR_FRAMES, Dataset, Frame
from regenhance_data.dataset.staleness import fingerprint
from regenhance_data.evaluation.bootstrap import Counts, CurvePoint
from regenhance_data.evaluation.record import EvaluatedModel, InputSettings
from regenhance_data.io.files import digest, sha256, write_text

KEPT_FILE = ".evaluated-frames.jsonl"  # in the folder of the results


class FrameCounts(NamedTuple):
    """The counts of one frame against the HR frame, and against true boxes where there are any."""

    against_hr: Counts
    against_truth: Counts | None


class KeptCounts:
    """The counts in `path` of an evaluation of these `inputs` (`inputs_digest`); those of other inputs are dropped."""

    def __init__(self, path: Path, inputs: str) -> None:
        self._path, self._inputs = path, inputs
        self._known = _read(path, inputs)
        self._is_started = False

    def get(self, frame: Frame) -> FrameCounts | None:
        return self._known.get(_key(frame))

    def add(self, frame: Frame, counts: FrameCounts) -> None:
        """Keep the counts of one more frame."""
        if not self._is_started:  # anew, so that no torn line stays within the file
            lines = [json.dumps({"inputs": self._inputs}), *(self._line(*item) for item in self._known.items())]
            write_text(self._path, "".join(f"{line}\n" for line in lines))
            self._is_started = True
        self._known[_key(frame)] = counts
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(self._line(_key(frame), counts) + "\n")
        except OSError as error:
            error.filename = str(self._path)  # a failed write names no file
            raise

    def _line(self, key: str, counts: FrameCounts) -> str:
        listed = [
            None if some is None else [[*point, values.tolist()] for point, values in some.items()] for some in counts
        ]
        return json.dumps([key, *listed, digest([self._inputs, key, *listed])])

    def remove(self) -> None:
        """Remove the file: the evaluation is complete."""
        self._path.unlink(missing_ok=True)


def inputs_digest(
    dataset: Dataset,
    frames: Sequence[Frame],
    settings: InputSettings,
    budgets: Sequence[float],
    models: Mapping[str, EvaluatedModel],
    truth: Path | None,
) -> str:
    """Identifies everything that the counts of a frame depend on, besides which frames are evaluated."""
    clips = {}
    for clip in sorted({frame.clip for frame in frames}):
        folders = [folder for folder in (LR_FRAMES, settings.hr_folder) if (dataset.root / folder / clip).is_dir()]
        oracle = dataset.importance_path(clip)
        clips[clip] = [fingerprint(dataset, folder, clip) for folder in folders]
        clips[clip].append(sha256(oracle) if oracle.is_file() else "")
    what = {name: value for name, value in settings.to_dict().items() if name not in ("data", "split", "every")}
    run = {curve: [model.sha256 or _folder_digest(Path(model.model)), model.backend] for curve, model in models.items()}
    boxes = sha256(truth) if truth else None
    return digest([__version__, what, list(budgets), run, boxes, clips])


def _folder_digest(folder: Path) -> str:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return digest([[str(path.relative_to(folder)), sha256(path)] for path in files])


def _key(frame: Frame) -> str:
    return f"{frame.clip}/{frame.name}"


def _read(path: Path, inputs: str) -> dict[str, FrameCounts]:
    """The counts of each frame in the file; {} where there is none, or one of other inputs."""
    try:
        first, *lines = path.read_bytes().splitlines() or [b""]
    except FileNotFoundError:
        return {}
    if _value(first) != {"inputs": inputs}:
        return {}
    known: dict[str, FrameCounts] = {}
    for line in lines:
        match _value(line):
            case [key, against_hr, against_truth, mark] if mark == digest([inputs, key, against_hr, against_truth]):
                known[key] = FrameCounts(_counts(against_hr), None if against_truth is None else _counts(against_truth))
    return known


def _value(line: bytes) -> Any:
    """What a line holds; None where it is no JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _counts(listed: Any) -> Counts:
    return {CurvePoint(str(curve), float(budget)): np.array(values, float) for curve, budget, values in listed}
