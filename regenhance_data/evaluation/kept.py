"""The counts of the frames that are evaluated already: what a journal keeps of them, and what they depend on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from regenhance_data import __version__
from regenhance_data.dataset.folder import LR_FRAMES, Dataset, Frame
from regenhance_data.dataset.staleness import fingerprint
from regenhance_data.errors import InputError
from regenhance_data.evaluation.bootstrap import Counts, CurvePoint
from regenhance_data.evaluation.record import EvaluatedModel, InputSettings
from regenhance_data.io.files import digest, read_json, sha256, write_json
from regenhance_data.metrics.metric import METRIC_NAMES


class FrameCounts(NamedTuple):
    """The counts of one frame against the HR frame, and against true boxes where there are any."""

    against_hr: Counts
    against_truth: Counts | None

    def to_json(self) -> Any:
        """A value that JSON can hold; `FrameCounts.from_json` is its inverse."""
        return [counts_to_json(self.against_hr), counts_to_json(self.against_truth)]

    @classmethod
    def from_json(cls, value: Any) -> "FrameCounts":
        against_hr, against_truth = value
        return cls(counts_from_json(against_hr), None if against_truth is None else counts_from_json(against_truth))


def counts_to_json(counts: Counts | None) -> Any:
    """A value that JSON can hold: `counts_from_json` is the inverse."""
    return None if counts is None else [[*point, values.tolist()] for point, values in counts.items()]


def counts_from_json(value: Any) -> Counts:
    """The counts that `counts_to_json` made a plain value of."""
    return {CurvePoint(str(curve), float(budget)): np.array(values, float) for curve, budget, values in value}


class EvaluatedCounts(NamedTuple):
    """The content of counts.json. metric: a key of METRIC_NAMES. models: {curve: its model's path}. frames: the counts
    of each, against the HR frames, in order.
    """

    metric: str
    models: dict[str, str]
    frames: dict[str, Counts]


def write_counts(path: Path, counts: EvaluatedCounts) -> None:
    """Write counts.json to `path`, for statistics of one's own; `read_counts` reads it."""
    frames = {name: counts_to_json(of_frame) for name, of_frame in counts.frames.items()}
    write_json(path, {"metric": counts.metric, "models": counts.models, "frames": frames})


def read_counts(path: Path) -> EvaluatedCounts:
    """InputError when it is missing or anything else than `write_counts` writes."""
    content = read_json(path)
    try:
        frames = {str(name): counts_from_json(of_frame) for name, of_frame in content["frames"].items()}
        if content["metric"] not in METRIC_NAMES or len({*map(frozenset, frames.values())}) != 1:
            raise ValueError("another metric, no frame, or frames with other curves")
        models = {str(curve): str(model) for curve, model in content["models"].items()}
        return EvaluatedCounts(content["metric"], models, frames)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise InputError(f"{path}: is not a counts.json of tools/evaluate.py --counts; run it again") from None


def keyed(frames: Sequence[Frame]) -> dict[str, Frame]:
    """{the name of a frame in a journal: the frame}."""
    return {frame_key(frame): frame for frame in frames}


def frame_key(frame: Frame) -> str:
    """The name of a frame in a journal."""
    return f"{frame.clip}/{frame.name}"


def inputs_digest(
    dataset: Dataset,
    frames: Sequence[Frame],
    settings: InputSettings,
    budgets: Sequence[float],
    models: Mapping[str, EvaluatedModel],
    truth: Path | None = None,
    more: Any = None,
) -> str:
    """Identifies everything that the counts of a frame depend on, besides which frames are evaluated.

    more: what else they depend on, a plain value.
    """
    clips = {}
    for clip in sorted({frame.clip for frame in frames}):
        folders = [folder for folder in (LR_FRAMES, settings.hr_folder) if (dataset.root / folder / clip).is_dir()]
        oracle = dataset.importance_path(clip)
        clips[clip] = [fingerprint(dataset, folder, clip) for folder in folders]
        clips[clip].append(sha256(oracle) if oracle.is_file() else "")
    what = {name: value for name, value in settings.to_dict().items() if name not in ("data", "split", "every")}
    run = {curve: [model.sha256 or _folder_digest(Path(model.model)), model.backend] for curve, model in models.items()}
    boxes = sha256(truth) if truth else None
    return digest([__version__, what, list(budgets), run, boxes, clips, more])


def _folder_digest(folder: Path) -> str:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return digest([[str(path.relative_to(folder)), sha256(path)] for path in files])
