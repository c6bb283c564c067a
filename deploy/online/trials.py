"""Trials of plans on known frames: what the loop finds with each, and how long its stages take."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import groupby
from math import ceil
from typing import Any, Generic, TypeVar

import numpy as np

from deploy.online.cameras import CameraFrame
from deploy.online.loop import Detects, Enhances, Importance, Loop, NoEnhancer
from deploy.online.plan import Plan
from deploy.online.strategies import KnownFrame
from regenhance_data.grid import MacroblockGrid
from regenhance_data.upscalers.enhancement import RegionEnhancer
from regenhance_data.upscalers.tiling import TiledUpscaler

_MOST_KEPT = 1000  # results of a call for one frame; those of a segmenter take half a megabyte
T = TypeVar("T")


@dataclass(frozen=True)
class Engines:
    """What runs the stages of a loop. grid: of the LR frames."""

    grid: MacroblockGrid
    scale: int
    predict: Importance
    upscaler: TiledUpscaler
    detector: Detects
    _enhancers: dict[tuple[str, int | None], Enhances] = field(default_factory=dict)

    def enhancer(self, plan: Plan) -> Enhances:
        """What enhances as the plan says; one for all plans of this mode and halo."""
        key = plan.mode, plan.halo_px
        if key not in self._enhancers:
            none = plan.mode == "none"
            self._enhancers[key] = NoEnhancer(self.scale) if none else RegionEnhancer(self.upscaler, *key)
        return self._enhancers[key]

    @property
    def exact_px(self) -> int | None:
        """The halo with which regions are as in the whole frame; None for an upscaler of whole frames alone."""
        regions = self.enhancer(Plan(mode="regions"))
        return None if regions.mode == "whole" else regions.halo_px

    def loop(self, plan: Plan) -> Loop:
        """A new loop."""
        return Loop(plan, self.grid, self.predict, self.enhancer(plan), self.detector)


@dataclass(frozen=True)
class Trial:
    """What a plan did to the frames.

    counts: of each frame, against the reference. ms: of each stage for a frame that is searched. kept: share
    of the macroblocks that were kept from earlier frames.
    """

    plan: Plan
    counts: tuple[np.ndarray, ...]
    ms: Mapping[str, float]
    kept: float

    @property
    def frame_ms(self) -> float:
        """Milliseconds for a frame of a camera, searched or not, one stage after the other."""
        return sum(self.ms.values()) / self.plan.detect_every


class Trials:
    """Runs plans on frames, each plan once.

    clips: the frames of each clip, in order; `cameras` clips at a time are the cameras of a loop. refer: the reference
    in a frame, by a detector that is given; None where it is what whole frames give. count: (found, reference) →
    counts. A plan that leaves frames out runs from each of its first frames on: the counts of a frame are the mean of
    these runs, with the detections of the last frame of its shot that was searched. Importance, and detections in equal
    pixels, are computed once for all plans; the time of these stages is the median of all calls.
    """

    def __init__(
        self,
        engines: Engines,
        clips: Sequence[Sequence[KnownFrame]],
        cameras: int,
        refer: Callable[[KnownFrame, Detects], Any],
        count: Callable[[Any, Any], np.ndarray],
    ) -> None:
        self._clips, self._cameras, self._count = clips, cameras, count
        self._detector, self._importance = _Detector(engines.detector.detect), _Importance(engines.predict)
        self._engines = replace(engines, detector=self._detector, predict=self._importance)
        self._done: dict[Plan, Trial] = {}
        self._runs: dict[tuple[Plan, int], _Run] = {}
        self._references: Mapping[_Key, Any] = {
            _key(frame): refer(frame, self._detector) for clip in clips for frame in clip
        }
        if any(reference is None for reference in self._references.values()):
            self._references = self._run(Plan(mode="whole"), 0).found

    @property
    def done(self) -> list[Trial]:
        """All trials so far."""
        return list(self._done.values())

    def __call__(self, plan: Plan) -> Trial:
        """The trial of a plan."""
        if plan not in self._done:
            phases = range(min(plan.detect_every, max(len(shot) for clip in self._clips for shot in _shots(clip))))
            runs = [self._run(plan, phase) for phase in phases]
            searched = sum(run.searched for run in runs)
            ms = {stage: _usual([ms for run in runs for ms in run.ms[stage]]) for stage in runs[0].ms}
            ms["detect"] = self._detector.call_ms
            if plan.selects:
                ms["predict"] = self._importance.call_ms / (plan.reuse.every or 1)
            kept = sum(run.kept for run in runs) / searched
            self._done[plan] = Trial(plan, tuple(self._counts([run.found for run in runs])), ms, kept)
        return self._done[plan]

    def with_importance(self, plan: Plan, importance: Importance) -> Trial:
        """The trial of a plan with other importance than the predictor's."""
        others = copy(self)
        others._engines, others._done, others._runs = replace(self._engines, predict=importance), {}, {}
        return others(plan)

    def _run(self, plan: Plan, first: int) -> "_Run":
        """A plan on the frames from this one on."""
        remembers = plan.selects and (plan.cache.threshold or plan.reuse.every != 1 or plan.feedback)
        if not remembers:  # it finds the same in a frame, whichever others are searched
            plan, first = replace(plan, detect_every=1) if plan.selects else Plan(mode=plan.mode), 0
        if (plan, first) not in self._runs:
            self._runs[plan, first] = self._new_run(plan, first)
        return self._runs[plan, first]

    def _new_run(self, plan: Plan, first: int) -> "_Run":
        found, spent, kept = dict[_Key, Any](), dict[str, list[float]](), 0.0
        for group in range(0, len(self._clips), self._cameras):
            loop = self._engines.loop(plan)
            clips = map(_shots, self._clips[group : group + self._cameras])
            for frames in _rounds(
                [[one for shot in clip for one in shot[first :: plan.detect_every]] for clip in clips]
            ):
                one = loop.step(frames)
                for stage, ms in one.ms.items():
                    spent.setdefault(stage, []).append(ms / len(frames))
                kept += sum(float(item.cached.mean()) for item in one.done)
                found |= {_key(item.frame): item.found for item in one.done}
        return _Run(found, spent, kept, len(found))

    def _counts(self, found: Sequence[Mapping["_Key", Any]]) -> Iterator[np.ndarray]:
        """Of each frame, from what was found from each first frame on."""
        for shot in (shot for clip in self._clips for shot in _shots(clip)):
            for number, frame in enumerate(shot):
                last = [shot[number - (number - first) % len(found)] for first in range(min(number + 1, len(found)))]
                reference = self._references[_key(frame)]
                counts = [self._count(found[n][_key(some)], reference) for n, some in enumerate(last)]
                yield np.mean(counts, axis=0)


_Key = tuple[str, int]


def _key(frame: CameraFrame) -> _Key:
    return frame.camera, frame.number


def _shots(clip: Sequence[KnownFrame]) -> list[list[KnownFrame]]:
    return [list(shot) for _, shot in groupby(clip, key=lambda frame: frame.shot)]


def _usual(ms: Sequence[float]) -> float:
    """The mean without the slowest tenth, in which the machine did something else."""
    return float(np.mean(sorted(ms)[: ceil(0.9 * len(ms))]))


@dataclass(frozen=True)
class _Run:
    """What was found in `searched` frames, the milliseconds of one by stage in each round, and the sum of the shares
    that were kept.
    """

    found: Mapping[_Key, Any]
    ms: Mapping[str, Sequence[float]]
    kept: float
    searched: int


def _rounds(clips: Sequence[Sequence[CameraFrame]]) -> Iterator[list[CameraFrame]]:
    for number in range(max(map(len, clips))):
        yield [clip[number] for clip in clips if number < len(clip)]


class _Once(Generic[T]):
    """Results of calls, each for one frame, made once. call: gives the results of several."""

    def __init__(self, call: Callable[[Any], Any]) -> None:
        self._call = call
        self._results: dict[Any, T] = {}
        self._ms: list[float] = []

    @property
    def call_ms(self) -> float:
        """The median time of the calls."""
        return float(np.median(self._ms)) if self._ms else 0.0

    def result(self, key: Any, one: Any) -> T:
        """The result for one frame, which `key` identifies; computed at the first call."""
        if key not in self._results:
            if len(self._results) >= _MOST_KEPT:
                del self._results[next(iter(self._results))]
            started = time.perf_counter()
            (self._results[key],) = self._call(one)
            self._ms.append(1e3 * (time.perf_counter() - started))
        return self._results[key]


class _Detector(_Once[Any]):
    """A detector that looks at equal pixels once."""

    def detect(self, frames: np.ndarray) -> list[Any]:
        return [self.result(blake2b(frame.tobytes(), digest_size=16).digest(), frame[None]) for frame in frames]


class _Importance(_Once[np.ndarray]):
    """Importance that is predicted once for each frame."""

    def __call__(self, frames: Sequence[CameraFrame]) -> np.ndarray:
        return np.stack([self.result((frame.camera, frame.number), [frame]) for frame in frames])
