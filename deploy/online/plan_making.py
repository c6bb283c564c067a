"""A plan is made: what it is made of, its search, the measurement of what was found, and a check of it elsewhere."""

import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np

from deploy.backends.environment import environment
from deploy.backends.registry import load_predictor
from deploy.online.cameras import importance_by
from deploy.online.compared_frames import frames_of_dataset, frames_to_compare, refuse_unless_fitting
from deploy.online.comparison import ORIGINALS, TRUTH, UPSCALED, metric_by, reference_by
from deploy.online.detectors import OnlineDetector, load_online_detector
from deploy.online.plan import Plan
from deploy.online.plan_file import Files, Machine, PlanRecord, Point, Recall
from deploy.online.planning import NONE, Measured, Search, Target, choose, to_measure
from deploy.online.strategies import KnownFrame
from deploy.online.timing import Timing, measured, spread
from deploy.online.trials import Engines, Trial, Trials
from deploy.online.upscalers import load_online_upscaler
from deploy.online.watch import truth_by, validation_recall
from regenhance_data.console import progress, tell, warn
from regenhance_data.dataset.folder import Dataset
from regenhance_data.detectors.loading import detector_record
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError, one_line
from regenhance_data.evaluation.bootstrap import CurvePoint, FrameScores
from regenhance_data.evaluation.record import WORTH_IT
from regenhance_data.evaluation.truth import read_truth
from regenhance_data.evaluation.verdict import against_static
from regenhance_data.grid import MacroblockGrid
from regenhance_data.importance.formula_spec import DEFAULT_FORMULA
from regenhance_data.importance.static_map import STATIC, static_maps
from regenhance_data.io.files import digest, sha256
from regenhance_data.metrics.pareto import pareto_front
from regenhance_data.upscalers.arguments import in_words_of_upscaler_flags
from regenhance_data.upscalers.loading import upscaler_record
from regenhance_data.upscalers.settings import UpscalerSettings

_WATCHED = 20  # frames at most of which the predictor's recall is taken
_FASTER = 1.5  # than the target, from which frames are said to be too near to each other
_BUSY = 1.3  # times as fast as the slowest turn is the fastest one of a machine that does something else
_TURNS_OF_THREADS, _WORTH_OTHER_THREADS = 2, 1.05  # faster by that


@dataclass(frozen=True)
class Material:
    """What a plan is made of. clips: the frames of each clip. given: names of detector settings that replace those of
    an exported detector.
    """

    dataset: Dataset
    clips: list[list[KnownFrame]]
    has_originals: bool
    predictor: Path
    backend: str
    upscaler: UpscalerSettings
    detector: DetectorSettings
    given: Collection[str]

    @property
    def frames(self) -> list[KnownFrame]:
        """Those of all clips."""
        return [frame for clip in self.clips for frame in clip]

    @property
    def files(self) -> Files:
        """What identifies it."""
        yaml = self.dataset.record.path
        about = [sha256(yaml) if yaml.is_file() else "", *((frame.camera, frame.number) for frame in self.frames)]
        return Files(
            sha256(self.predictor),
            self.dataset.scale,
            upscaler_record(self.upscaler),
            detector_record(self.detector),
            digest(about),
        )

    def load(self, threads: int | None) -> tuple[Engines, OnlineDetector]:
        """What runs the stages, and the detector among it. threads: of each engine, None for its own choice. InputError
        for what does not fit together.
        """
        height, width = self.clips[0][0].lr.shape[:2]
        grid, scale = MacroblockGrid(height, width, self.dataset.mb_size), self.dataset.scale
        predictor = load_predictor(self.predictor, self.backend, threads)
        refuse_unless_fitting(self.predictor, predictor, (height, width), scale, grid.mb_size)
        with in_words_of_upscaler_flags():
            upscaler = load_online_upscaler(self.upscaler, threads)
        detector = load_online_detector(self.detector, (height * scale, width * scale), threads, self.given)
        return Engines(grid, scale, importance_by(predictor), upscaler, detector), detector


def frames_for_plan(
    dataset: Dataset, split: str, clips: Sequence[str] | None, most: int, has_truth: bool
) -> tuple[list[list[KnownFrame]], bool]:
    """(the first frames of each clip, whether they have originals, which true boxes replace). InputError for frames
    that are not there.
    """
    chosen, _, has_originals = frames_to_compare(dataset, split, clips, 1, most, has_truth, not has_truth)
    return [
        list(frames_of_dataset(dataset, {clip: some}, has_originals, dataset.mb_size)) for clip, some in chosen.items()
    ], has_originals


@dataclass(frozen=True)
class Judged:
    """Trials on a plan's material, and their scores against a reference, named in words."""

    trials: Trials
    scores: FrameScores
    reference: str

    def value(self, trial: Trial) -> float:
        """The score of a trial, NaN where no frame has a reference object."""
        return self.scores.value(trial.counts)


def judged(
    material: Material, engines: Engines, detector: OnlineDetector, cameras: int, truth_file: Path | None
) -> Judged:
    """Trials by detections on the originals, by the true boxes of a file, else by whole-frame super-resolution."""
    metric = metric_by(detector)
    frames = material.frames
    truth, numbers = None, [frame.number for frame in frames]
    if truth_file:
        truth = read_truth(truth_file, detector, material.dataset, frames[0].camera, numbers)
    trials = Trials(engines, material.clips, cameras, reference_by(truth), metric.count)
    reference = TRUTH if truth_file else ORIGINALS if material.has_originals else UPSCALED
    return Judged(trials, FrameScores(metric, [frame.camera for frame in frames]), reference)


def make_plan(
    material: Material,
    engines: Engines,
    detector: OnlineDetector,
    target: Target,
    budgets: Sequence[float],
    threads: int | None,
    truth_file: Path | None,
) -> PlanRecord:
    """Search, measure and choose. threads: None, for as many as are fastest. InputError for frames without objects."""
    files = material.files  # before the minutes in which one may be replaced
    on = judged(material, engines, detector, target.cameras, truth_file)
    if math.isnan(on.value(on.trials(NONE))):
        raise InputError(
            f"{material.dataset.root}: none of the {len(material.frames)} frames has a reference object, so scores say "
            "nothing; give frames with objects, other --classes or a lower --score_threshold"
        )
    found = search(on, budgets, engines.exact_px, detector.task == "detection")
    best = max(found, key=on.value)
    engines, speedup, threads = with_best_threads(material, engines, threads, best, target.cameras)
    finalists = to_measure(found, on.value, target, speedup)
    timings = measured({trial.plan: (engines, trial.plan) for trial in finalists}, material.clips, target.cameras)
    record = decide(target, finalists, on, timings, Machine.of(environment(threads)), files)
    verdict = replace(record.verdict, reason=record.verdict.reason + against_static_map(record, material.dataset, on))
    return replace(record, verdict=verdict, recall=recall_of(material, engines, detector, budgets))


def search(on: Judged, budgets: Sequence[float], exact_px: int | None, finds_boxes: bool) -> list[Trial]:
    """What was found with settings that a plan may have."""
    # a bar of unknown length: what is tried next depends on what was found
    shown = iter(progress(count(), "try", unit="setting"))

    def trial(plan: Plan) -> Trial:
        next(shown)
        return on.trials(plan)

    return Search(trial, on.value, budgets, exact_px, finds_boxes).run()


def with_best_threads(
    material: Material, engines: Engines, threads: int | None, trial: Trial, cameras: int
) -> tuple[Engines, float, int | None]:
    """(the engines with as many threads as are fastest, how much faster whole runs are than one stage after the other,
    the number of threads). Stages overlap, so one thread for each engine may be faster than all cores.
    """
    tried: dict[int | None, Engines] = {threads: engines}
    if threads is None and len(os.sched_getaffinity(0)) > 1:
        tried[1] = material.load(1)[0]
    runs = {number: (some, trial.plan) for number, some in tried.items()}
    timings = measured(runs, material.clips, cameras, _TURNS_OF_THREADS)
    speed = {number: float(np.median(timing.fps)) for number, timing in timings.items()}
    best = threads
    if speed.get(1, 0.0) > _WORTH_OTHER_THREADS * speed[threads]:
        best = 1
        tell(f"one thread for each engine is faster: {speed[1]:.1f} frames a second, not {speed[threads]:.1f}")
    return tried[best], speed[best] * trial.frame_ms / 1000, best


def decide(
    target: Target,
    finalists: Sequence[Trial],
    on: Judged,
    timings: Mapping[Plan, Timing],
    machine: Machine,
    files: Files,
) -> PlanRecord:
    """Choose among the finalists, whose speeds were measured."""
    points = [Measured(one, on.value(one), spread(timings[one.plan].fps)) for one in finalists]
    warn_if_busy([point.fps for point in points])
    front = pareto_front(points, cost=lambda point: -point.fps[1], value=lambda point: point.value)
    choice = choose(points, target, on.scores)

    def point(one: Measured) -> Point:
        ms = {stage: spread(ms) for stage, ms in timings[one.trial.plan].ms.items()}
        return Point(one.trial.plan, one.fps, on.scores.estimate(one.trial.counts), ms)

    clips = on.scores.clips
    return PlanRecord(
        target,
        choice.answer,
        choice.verdict,
        metric=on.scores.metric.key,
        reference=on.reference,
        frames=len(clips),
        clips=tuple(dict.fromkeys(clips)),
        tried=len(on.trials.done),
        chosen=point(choice.point),
        front=tuple(point(one) for one in front[::-1]),
        machine=machine,
        files=files,
    )


def warn_if_busy(fps: Sequence[tuple[float, float, float]]) -> None:
    """Say where the turns (slowest, median, fastest) of most plans differ: something else ran, and the plan is of what
    it left.
    """
    usual = float(np.median([fastest / slowest for slowest, _, fastest in fps]))
    if usual > _BUSY:
        warn(
            f"the fastest turn is {usual:.1f} times as fast as the slowest: this machine does something else, and "
            "speeds are what that leaves; plan again when it is idle"
        )


def warn_of_rate(dataset: Dataset, clips: Sequence[str], target_fps: float | None) -> None:
    """Say where frames follow each other faster than those of the target will."""
    rates = [record.frame_rate for clip in clips if (record := dataset.record.clips.get(clip)) and record.frame_rate]
    if target_fps and rates and max(rates) > _FASTER * target_fps:
        warn(
            f"{dataset.root}: has {max(rates):.3g} frames a second, the target is {target_fps:g}; frames that are "
            "further apart differ more, so what is kept from one for the next is worth less than it is here; extract "
            f"clips with --fps {target_fps:g}"
        )


def against_static_map(record: PlanRecord, dataset: Dataset, on: Judged) -> str:
    """What ends the verdict where enhancing is worth it: whether the predictor is, by a trial of the chosen settings
    with the static map in its place; "" where there is no such map.
    """
    plan, chosen = record.chosen.plan, "predictor"
    if record.verdict.answer != WORTH_IT or not plan.selects:
        return ""
    maps = static_maps(dataset, record.clips)
    if not maps:
        return ""
    static = on.trials.with_importance(plan, lambda frames: np.stack([maps[frame.camera] for frame in frames]))
    pairs = zip(on.trials(plan).counts, static.counts, strict=True)
    counts = [{CurvePoint(chosen, plan.budget): a, CurvePoint(STATIC, plan.budget): b} for a, b in pairs]
    return against_static(counts, on.scores, chosen, plan.budget)


def recall_of(
    material: Material, engines: Engines, detector: OnlineDetector, budgets: Sequence[float]
) -> Recall | None:
    """How much the predictor finds in some of the frames of what --watch takes for true, which need not be the
    dataset's importance; None where there is no PyTorch, or no gradient.
    """
    formula = material.dataset.record.importance.formula or DEFAULT_FORMULA
    frames = material.frames
    try:
        truth = truth_by(material.upscaler, detector.settings, material.detector.spec, engines.grid, formula)
        at = validation_recall(engines.predict, truth, frames[:: math.ceil(len(frames) / _WATCHED)], budgets)
    except (InputError, ModuleNotFoundError) as error:
        warn(f"no recall of the predictor is known, which run_cameras.py --watch needs: {one_line(error)}")
        return None
    return Recall(formula, at) if at else None


def hold(record: PlanRecord, material: Material, engines: Engines, on: Judged) -> Point:
    """The chosen point of a plan, measured on this material; without the milliseconds of the stages."""
    plan, cameras = record.chosen.plan, record.target.cameras
    fps = spread(measured({plan: (engines, plan)}, material.clips, cameras)[plan].fps)
    return Point(plan, fps, on.scores.estimate(on.trials(plan).counts), {})
