"""evaluation.json: typed records of what tools/evaluate.py measured, written and parsed here alone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from regenhance_data.errors import InputError
from regenhance_data.io.files import read_json, write_json

METRIC_NAMES = {"f1": "F1", "miou": "mIoU"}


@dataclass(frozen=True)
class Estimate:
    """A value and the bounds (low, high) of its 95 % bootstrap interval."""

    value: float
    interval_95: tuple[float, float]


@dataclass(frozen=True)
class Scores:
    """Scores against one reference: with no macroblock enhanced, with all of them, and for each curve at each budget.

    All are in [0, 1]. curves: {curve: {budget: score}}.
    """

    none: Estimate
    all: Estimate
    curves: dict[str, dict[float, Estimate]]

    def recovered(self, curve: str, budget: float) -> float | None:
        """The share of the difference between `none` and `all` that a curve gains; None where the two are equal."""
        loss = self.all.value - self.none.value
        return (self.curves[curve][budget].value - self.none.value) / loss if loss else None

    def to_dict(self) -> dict[str, Any]:
        """The part of evaluation.json and formulas.json that holds the scores; `Scores.from_dict` is its inverse."""
        names = {curve: {budget: f"{budget:g}" for budget in points} for curve, points in self.curves.items()}
        return {
            "none": self.none.value,
            "all": self.all.value,
            "curves": {
                curve: {names[curve][b]: score.value for b, score in points.items()}
                for curve, points in self.curves.items()
            },
            "recovered": {
                curve: {names[curve][b]: self.recovered(curve, b) for b in points}
                for curve, points in self.curves.items()
            },
            "intervals_95": {
                "none": list(self.none.interval_95),
                "all": list(self.all.interval_95),
                **{
                    curve: {names[curve][b]: list(score.interval_95) for b, score in points.items()}
                    for curve, points in self.curves.items()
                },
            },
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Scores":
        """KeyError, TypeError, ValueError or AttributeError where `content` is anything else than `to_dict` returns."""
        intervals = content["intervals_95"]
        curves = {
            str(curve): {float(b): _estimate(value, intervals[curve][b]) for b, value in points.items()}
            for curve, points in content["curves"].items()
        }
        none, whole = (_estimate(content[name], intervals[name]) for name in ("none", "all"))
        return cls(none, whole, curves)


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation measured.

    metric: a key of METRIC_NAMES. frames: how many were evaluated. scores: against the detector's results on the HR
    frames. truth: against true boxes, None without them.
    """

    metric: str
    frames: int
    scores: Scores
    truth: Scores | None = None

    @property
    def metric_name(self) -> str:
        return METRIC_NAMES[self.metric]

    def to_dict(self) -> dict[str, Any]:
        """evaluation.json without its settings; `EvaluationResult.from_dict` is its inverse."""
        truth = {} if self.truth is None else {"truth": self.truth.to_dict()}
        return {"metric": self.metric, "frames": self.frames, **self.scores.to_dict(), **truth}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "EvaluationResult":
        """KeyError, TypeError, ValueError or AttributeError where `content` is anything else than `to_dict` returns."""
        if content["metric"] not in METRIC_NAMES:
            raise ValueError(f"unknown metric {content['metric']}")
        truth = Scores.from_dict(content["truth"]) if "truth" in content else None
        return cls(content["metric"], int(content["frames"]), Scores.from_dict(content), truth)


@dataclass(frozen=True)
class EvaluatedModel:
    """A predictor that an evaluation ran. model: its file or folder; sha256: of the file, "" for a folder."""

    model: str
    sha256: str
    backend: str


@dataclass(frozen=True)
class InputSettings:
    """What an evaluation ran on."""

    data: str
    split: str
    every: int
    hr_folder: str
    scale: int
    mb_size: int
    detector: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """These settings in evaluation.json and formulas.json."""
        return {
            "data": self.data,
            "split": self.split,
            "every": self.every,
            "clear": self.hr_folder,
            "scale": self.scale,
            "mb_size": self.mb_size,
            "detector": self.detector,
        }


@dataclass(frozen=True)
class EvaluationSettings(InputSettings):
    """What an evaluation ran on, and the predictors that it ran. models: {curve: its predictor}."""

    models: dict[str, EvaluatedModel]

    def to_dict(self) -> dict[str, Any]:
        """The settings in evaluation.json; `EvaluationSettings.from_dict` is its inverse."""
        return {
            **super().to_dict(),
            "models": {curve: model.model for curve, model in self.models.items()},
            "ran": {curve: asdict(model) for curve, model in self.models.items()},
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "EvaluationSettings":
        """KeyError, TypeError, ValueError or AttributeError where `content` is anything else than `to_dict` returns."""
        ran = {
            str(curve): EvaluatedModel(*(str(model[key]) for key in ("model", "sha256", "backend")))
            for curve, model in content["ran"].items()
        }
        return cls(
            str(content["data"]),
            str(content["split"]),
            int(content["every"]),
            str(content["clear"]),
            int(content["scale"]),
            int(content["mb_size"]),
            dict(content["detector"]),
            ran,
        )


@dataclass(frozen=True)
class EvaluationRecord:
    """The content of evaluation.json."""

    result: EvaluationResult
    settings: EvaluationSettings


def write_evaluation(path: Path, record: EvaluationRecord) -> None:
    """Write evaluation.json to `path`."""
    write_json(path, {**record.result.to_dict(), "settings": record.settings.to_dict()})


def read_evaluation(path: Path) -> EvaluationRecord:
    """The record in an evaluation.json. InputError when it is missing or anything else."""
    content = read_json(path)
    try:
        record = EvaluationRecord(
            EvaluationResult.from_dict(content), EvaluationSettings.from_dict(content["settings"])
        )
        if not record.settings.models.keys() <= record.result.scores.curves.keys():
            raise ValueError("a model without a curve")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise InputError(f"{path}: is not an evaluation.json of tools/evaluate.py; run it again") from None
    return record


def _estimate(value: float, interval: list[float]) -> Estimate:
    low, high = interval
    if not all(0 <= number <= 1 for number in (value, low, high)):
        raise ValueError(f"score {value}, interval {interval}: expected shares")
    return Estimate(float(value), (float(low), float(high)))
