"""evaluation.json: typed records of what tools/evaluate.py measured, written and parsed here alone."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from regenhance_data.errors import InputError
from regenhance_data.io.files import read_json, write_json
from regenhance_data.metrics.metric import METRIC_NAMES


@dataclass(frozen=True)
class Estimate:
    """A value and the bounds (low, high) of its 95 % bootstrap interval; NaN where it says nothing, and for bounds that
    so few frames do not give.
    """

    value: float
    interval_95: tuple[float, float]

    @property
    def is_known(self) -> bool:
        return not math.isnan(self.value)

    @property
    def has_interval(self) -> bool:
        return not math.isnan(self.interval_95[0])

    @property
    def text(self) -> str:
        """The value for tables and pages."""
        return f"{self.value:.3f}" if self.is_known else "–"

    @property
    def signed_interval(self) -> str:
        """The interval for sentences, of a difference."""
        low, high = self.interval_95
        return f"{low:+.3f} to {high:+.3f}" if self.has_interval else "too few frames for an interval"

    @property
    def interval_text(self) -> str:
        return "{:.2f}-{:.2f}".format(*self.interval_95) if self.has_interval else "–"

    def json_value(self) -> float | None:
        """The value, None where it says nothing: JSON has no NaN."""
        return self.value if self.is_known else None

    @classmethod
    def from_json(cls, value: Any, interval: Any) -> "Estimate":
        """The inverse of `json_value` and `json_interval`, for scores. ValueError or TypeError for anything else."""
        if value is None and interval is not None:
            raise ValueError("an interval without a score")
        numbers = [value, *(interval or (None, None))]
        if not all(number is None or (type(number) in (int, float) and 0 <= number <= 1) for number in numbers):
            raise ValueError(f"score {str(value)[:20]}, interval {str(interval)[:60]}: expected shares")
        score, low, high = (math.nan if number is None else float(number) for number in numbers)
        return cls(score, (low, high))

    def json_interval(self) -> list[float] | None:
        return list(self.interval_95) if self.has_interval else None


@dataclass(frozen=True)
class Scores:
    """Scores against one reference: with no macroblock enhanced, with all of them, and for each curve at each budget.

    All are in [0, 1], or NaN where no frame has a reference object. curves: {curve: {budget: score}}.
    """

    none: Estimate
    all: Estimate
    curves: dict[str, dict[float, Estimate]]

    def recovered(self, curve: str, budget: float) -> float | None:
        """The share of the difference between `none` and `all` that a curve gains; None where the two are equal or say
        nothing.
        """
        loss = self.all.value - self.none.value
        is_known = loss and not math.isnan(loss)
        return (self.curves[curve][budget].value - self.none.value) / loss if is_known else None

    def to_dict(self) -> dict[str, Any]:
        """The part of evaluation.json and formulas.json that holds the scores; `Scores.from_dict` is its inverse."""
        names = {curve: {budget: f"{budget:g}" for budget in points} for curve, points in self.curves.items()}
        return {
            "none": self.none.json_value(),
            "all": self.all.json_value(),
            "curves": {
                curve: {names[curve][b]: score.json_value() for b, score in points.items()}
                for curve, points in self.curves.items()
            },
            "recovered": {
                curve: {names[curve][b]: self.recovered(curve, b) for b in points}
                for curve, points in self.curves.items()
            },
            "intervals_95": {
                "none": self.none.json_interval(),
                "all": self.all.json_interval(),
                **{
                    curve: {names[curve][b]: score.json_interval() for b, score in points.items()}
                    for curve, points in self.curves.items()
                },
            },
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Scores":
        """KeyError, TypeError, ValueError or AttributeError where `content` is anything else than `to_dict` returns."""
        intervals = content["intervals_95"]
        curves = {
            str(curve): {float(b): Estimate.from_json(value, intervals[curve][b]) for b, value in points.items()}
            for curve, points in content["curves"].items()
        }
        none, whole = (Estimate.from_json(content[name], intervals[name]) for name in ("none", "all"))
        return cls(none, whole, curves)


WORTH_IT, NOT_WORTH_IT, CANNOT_TELL = "worth it", "not worth it", "cannot tell"


@dataclass(frozen=True)
class Verdict:
    """Whether enhancement is worth it. answer: WORTH_IT, NOT_WORTH_IT or CANNOT_TELL. advice: what would help to tell,
    in the words of the flags of the command that asks; "" for none.
    """

    answer: str
    reason: str
    advice: str = ""

    @property
    def text(self) -> str:
        """The answer, its reason and the advice, in one line."""
        return f"{self.answer}: {self.reason}" + (f"; {self.advice}" if self.advice else "")

    def to_dict(self) -> dict[str, str]:
        """The verdict in evaluation.json; `Verdict.from_dict` is its inverse."""
        return {"answer": self.answer, "text": self.text, "advice": self.advice}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Verdict":
        """KeyError, TypeError or AttributeError where `content` is anything else than `to_dict` returns."""
        answer, text, advice = str(content["answer"]), str(content["text"]), str(content.get("advice", ""))
        return cls(answer, text.removeprefix(f"{answer}: ").removesuffix(f"; {advice}"), advice)


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation measured.

    metric: a key of METRIC_NAMES. frames: how many were evaluated. scores: against the detector's results on the HR
    frames. truth: against true boxes, None without them. frames_with_objects, objects: frames with a reference object,
    and the objects in them (for segmentation, pixels); None in files of older versions. verdicts: of each model, of the
    oracle without models. clips: the result of each clip, which has no clips itself. names: what the models' curves
    are called in tables and plots, where that is not the curve's key.
    """

    metric: str
    frames: int
    scores: Scores
    truth: Scores | None = None
    frames_with_objects: int | None = None
    objects: int | None = None
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    clips: dict[str, "EvaluationResult"] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    @property
    def metric_name(self) -> str:
        return METRIC_NAMES[self.metric]

    @property
    def verdict(self) -> Verdict | None:
        """That of the first model; None in files of older versions."""
        return next(iter(self.verdicts.values()), None)

    @property
    def says_something(self) -> bool:
        """Whether any frame has a reference object."""
        return self.scores.all.is_known

    def to_dict(self) -> dict[str, Any]:
        """evaluation.json without its settings; `EvaluationResult.from_dict` is its inverse."""
        more: dict[str, Any] = {} if self.truth is None else {"truth": self.truth.to_dict()}
        if self.verdict:
            more["frames_with_objects"], more["objects"] = self.frames_with_objects, self.objects
            more["verdict"] = self.verdict.to_dict()
            more["verdicts"] = {curve: verdict.to_dict() for curve, verdict in self.verdicts.items()}
            if not self.says_something:
                more["reason"] = self.verdict.text
        if self.clips:
            more["clips"] = {clip: result.to_dict() for clip, result in self.clips.items()}
        if self.names:
            more["names"] = self.names
        return {"metric": self.metric, "frames": self.frames, **self.scores.to_dict(), **more}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "EvaluationResult":
        """KeyError, TypeError, ValueError or AttributeError where `content` is anything else than `to_dict` returns."""
        if content["metric"] not in METRIC_NAMES:
            raise ValueError(f"unknown metric {content['metric']}")
        counts = [content.get(key) for key in ("frames_with_objects", "objects")]
        with_objects, objects = (None if count is None else int(count) for count in counts)
        verdicts = {str(curve): Verdict.from_dict(value) for curve, value in content.get("verdicts", {}).items()}
        clips = {str(clip): cls.from_dict({**value, "clips": {}}) for clip, value in content.get("clips", {}).items()}
        return cls(
            content["metric"],
            int(content["frames"]),
            Scores.from_dict(content),
            Scores.from_dict(content["truth"]) if "truth" in content else None,
            with_objects,
            objects,
            verdicts,
            clips,
            {str(curve): str(name) for curve, name in content.get("names", {}).items()},
        )


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
