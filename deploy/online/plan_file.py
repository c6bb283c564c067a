"""plan.json: what deploy/plan.py found, and what it was found with; typed, written and parsed here alone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploy.online.plan import MOST_FEEDBACK, Plan
from deploy.online.planning import Target
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.evaluation.record import Estimate, Verdict
from regenhance_data.importance.formula_spec import parse_formula
from regenhance_data.io.files import read_json, sha256, write_json
from regenhance_data.metrics.metric import METRIC_NAMES
from regenhance_data.regions.cache import CachePolicy
from regenhance_data.regions.reuse import ReusePolicy
from regenhance_data.upscalers.settings import UpscalerSettings

PLAN_FILE = "plan.json"
AGAIN = "plan again with deploy/plan.py"
_MOST_BYTES = 1_000_000
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, OverflowError, InputError)
_MOVES = ("spec", "read_as", "task", "weights")  # of a detector's record: the same file elsewhere is the same detector


@dataclass(frozen=True)
class Point:
    """A plan of the front. fps: frames a second of all cameras together, (slowest, median, fastest) turn. ms: of each
    stage for a frame that is searched, in the same order.
    """

    plan: Plan
    fps: tuple[float, float, float]
    score: Estimate
    ms: Mapping[str, tuple[float, float, float]]

    def to_dict(self) -> dict[str, Any]:
        """The point in plan.json; `from_dict` is its inverse."""
        return {
            "settings": self.plan.to_dict(),
            "frames_per_second": list(self.fps),
            "score": self.score.json_value(),
            "interval_95": self.score.json_interval(),
            "ms": {stage: list(ms) for stage, ms in self.ms.items()},
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Point":
        """One of _BROKEN for anything else than `to_dict` returns."""
        score = Estimate.from_json(content["score"], content["interval_95"])
        ms = {str(stage): _three(some) for stage, some in content["ms"].items()}
        fps = _three(content["frames_per_second"])
        if not fps[0] > 0:
            raise ValueError("frames a second of 0")
        return cls(plan_from_dict(content["settings"]), fps, score, ms)


@dataclass(frozen=True)
class Machine:
    """Where frames a second were measured. threads: of each engine, None for its own choice."""

    processor: str
    cores: int
    gpu: str | None
    packages: Mapping[str, str]
    threads: int | None = None

    @classmethod
    def of(cls, environment: Mapping[str, Any]) -> "Machine":
        """The machine that deploy/backends/environment.py describes."""
        about = {name: environment[name] for name in ("processor", "cores", "gpu", "packages")}
        return cls(**about, threads=environment["engine_threads"])

    def difference(self, other: "Machine") -> str:
        """What is different there, in words; "" for nothing that frames a second depend on."""
        for name in ("processor", "cores", "gpu"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                return f"{name} {theirs or 'none'}, not {ours or 'none'}"
        changed = [name for name, version in self.packages.items() if other.packages.get(name) != version]
        if not changed:
            return ""
        return f"{changed[0]} {other.packages.get(changed[0], 'absent')}, not {self.packages[changed[0]]}"


@dataclass(frozen=True)
class Files:
    """What was planned for. predictor: its sha256. dataset: a digest of its frames. upscaler, detector: as dataset.yaml
    records them.
    """

    predictor: str
    scale: int
    upscaler: Mapping[str, Any]
    detector: Mapping[str, Any]
    dataset: str

    def refuse_others(
        self, path: Path, predictor: Path, upscaler: UpscalerSettings | None, detector: DetectorSettings
    ) -> None:
        """InputError, which names the plan's `path`, where one of these, if given, is not what was planned for."""
        from regenhance_data.detectors.loading import detector_record
        from regenhance_data.upscalers.loading import upscaler_record

        if sha256(predictor) != self.predictor:
            raise InputError(f"{path}: is for another predictor than {predictor}; {AGAIN}")
        pairs = (
            ("--upscaler", self.upscaler, upscaler_record(upscaler) if upscaler else self.upscaler),
            ("--detector", self.detector, detector_record(detector)),
        )
        for flag, planned, given in pairs:
            now = json.loads(json.dumps(given))  # lists, as in the file
            for key in sorted({*planned, *now} - {*_MOVES}, key=lambda key: (key != "sha256", key)):  # the file first
                if planned.get(key) != now.get(key):
                    what = "file" if key == "sha256" else f"{key} ({planned.get(key)!r:.60}, not {now.get(key)!r:.60})"
                    raise InputError(f"{path}: is for another {flag} {what}; give the same, or {AGAIN}")


@dataclass(frozen=True)
class Recall:
    """How well the predictor found the dataset's importance, made with a formula: (budget, mean recall) for each."""

    formula: str
    at: tuple[tuple[float, float], ...]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Recall":
        """The inverse of `asdict`. One of _BROKEN for anything else."""
        parse_formula(_typed(content["formula"], str))
        return cls(content["formula"], tuple((_number(at, 0, 1), _number(value, 0, 1)) for at, value in content["at"]))


@dataclass(frozen=True)
class PlanRecord:
    """The content of plan.json.

    answer, verdict: see `Choice`. metric: a key of METRIC_NAMES; reference: what detections were held against. tried:
    how many settings were. chosen: the point whose settings deploy/run_cameras.py takes. front: from the slowest on.
    recall: of the predictor on these frames, None where they have no importance.
    """

    target: Target
    answer: str
    verdict: Verdict
    metric: str
    reference: str
    frames: int
    clips: tuple[str, ...]
    tried: int
    chosen: Point
    front: tuple[Point, ...]
    machine: Machine
    files: Files
    recall: Recall | None = None

    def to_dict(self) -> dict[str, Any]:
        """In plain values; `from_dict` is its inverse."""
        return {
            "target": asdict(self.target),
            "answer": self.answer,
            "verdict": self.verdict.to_dict(),
            "metric": self.metric,
            "reference": self.reference,
            "frames": self.frames,
            "clips": list(self.clips),
            "tried": self.tried,
            "chosen": self.chosen.to_dict(),
            "front": [point.to_dict() for point in self.front],
            "machine": asdict(self.machine),
            "files": asdict(self.files),
            "recall": self.recall and asdict(self.recall),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "PlanRecord":
        """One of _BROKEN for anything else than `to_dict` returns."""
        target, machine, files = content["target"], content["machine"], content["files"]
        if content["metric"] not in METRIC_NAMES:
            raise ValueError(f"unknown metric {content['metric']}")
        return cls(
            Target(
                _maybe(target["fps"]), _whole(target["cameras"]), _maybe(target["f1"]), _typed(target["of_best"], bool)
            ),
            _typed(content["answer"], str),
            Verdict.from_dict(content["verdict"]),
            content["metric"],
            _typed(content["reference"], str),
            _whole(content["frames"]),
            tuple(_typed(clip, str) for clip in content["clips"]),
            _whole(content["tried"]),
            Point.from_dict(content["chosen"]),
            tuple(Point.from_dict(point) for point in content["front"]),
            Machine(
                _typed(machine["processor"], str),
                _whole(machine["cores"]),
                _typed(machine["gpu"], str, type(None)),
                {name: _typed(version, str) for name, version in machine["packages"].items()},
                None if machine["threads"] is None else _whole(machine["threads"]),
            ),
            Files(
                _typed(files["predictor"], str),
                _whole(files["scale"]),
                dict(_typed(files["upscaler"], dict)),
                dict(_typed(files["detector"], dict)),
                _typed(files["dataset"], str),
            ),
            None if content.get("recall") is None else Recall.from_dict(content["recall"]),
        )


@dataclass(frozen=True)
class Planned:
    """The file that a plan came from, and whether flags changed what it says."""

    path: Path
    record: PlanRecord
    is_changed: bool


def plan_from_dict(content: Mapping[str, Any]) -> Plan:
    """The plan of `Plan.to_dict`. One of _BROKEN for anything else."""
    halo, every = content["halo"], content["predict_every"]
    return Plan(
        _number(content["budget"], 0, 1),
        _number(content["floor"], 0, 1),
        _typed(content["mode"], str),
        None if halo is None else _whole(halo, 0),
        ReusePolicy(None if every is None else _whole(every), _maybe(content["predict_change"])),
        _whole(content["detect_every"]),
        CachePolicy(_number(content["cache_threshold"], 0, 255), _whole(content["cache_age"])),
        _number(content.get("feedback", 0.0), 0, MOST_FEEDBACK),  # absent in plans of earlier versions
    )


def write_plan(path: Path, record: PlanRecord) -> None:
    """Write plan.json to `path`."""
    write_json(path, record.to_dict())


def read_plan(path: Path) -> PlanRecord:
    """The record in a plan.json. InputError when it is missing or anything else."""
    if path.is_file() and path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path}: is too large for a plan.json of deploy/plan.py; {AGAIN}")
    content = read_json(path)
    try:
        return PlanRecord.from_dict(content)
    except _BROKEN as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: is not a plan.json of deploy/plan.py ({reason[:80]}); {AGAIN}") from None


def _number(value: Any, least: float, most: float) -> float:
    if type(value) not in (int, float) or not least <= value <= most:
        raise ValueError(f"expected a number from {least:g} to {most:g}, found {str(value)[:20]}")
    return float(value)


def _maybe(value: Any) -> float | None:
    return None if value is None else _number(value, 0, 1e9)


def _whole(value: Any, least: int = 1) -> int:
    if type(value) is not int or not least <= value <= 10**9:
        raise ValueError(f"expected a whole number, found {str(value)[:20]}")
    return int(value)


def _typed(value: Any, *types: type) -> Any:
    if type(value) not in types:
        raise TypeError(f"expected {types[0].__name__}, found {type(value).__name__}")
    return value


def _three(values: Sequence[Any]) -> tuple[float, float, float]:
    low, middle, high = (_number(value, 0, 1e12) for value in values)
    return low, middle, high
