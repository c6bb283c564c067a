"""A run of the loop on cameras: what it is made of, its rounds, what it prints at its end."""

import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.backends.base import Predictor
from deploy.online.cameras import Camera, importance_by, rounds
from deploy.online.detectors import OnlineDetector, load_online_detector
from deploy.online.holding import LEAST, Holding
from deploy.online.loop import Loop, NoEnhancer, Round, threads_of
from deploy.online.metrics import Metrics
from deploy.online.outputs import RunOutputs
from deploy.online.plan import Plan
from deploy.online.plan_file import Planned
from deploy.online.rates import USUAL_RATE, Rates
from deploy.online.run_record import RunRecord
from deploy.online.sinks.settings import SinkSettings, Wanted
from deploy.online.sources import Sources
from deploy.online.tracking import Tracks
from deploy.online.upscalers import load_online_upscaler
from deploy.online.watch import Expected, Watch, truth_by
from regenhance_data import cli, console
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import sha256
from regenhance_data.io.video import promised_frames
from regenhance_data.io.video_streams import VideoInfo
from regenhance_data.regions.masks import Polygon, masked_macroblocks
from regenhance_data.upscalers.arguments import in_words_of_upscaler_flags
from regenhance_data.upscalers.enhancement import RegionEnhancer
from regenhance_data.upscalers.settings import UpscalerSettings

FINISH_S = 30.0  # after Ctrl-C, for the annotated videos of many cameras
_LEAST_S = 10.0  # of a run whose speed says something


@dataclass(frozen=True)
class RunSettings:
    """What a run is asked for.

    predictor: its file. upscaler: None where nothing is enhanced. given: names of detector settings that replace those
    of an exported detector. planned: where the plan is of a file. wanted: the results. threads: of each engine, None
    for its own choice. watch: the predictor is measured on every n-th frame. hold: the speed of the plan.
    """

    plan: Plan
    predictor: Path
    upscaler: UpscalerSettings | None
    detector: DetectorSettings
    given: Collection[str]
    planned: Planned | None
    save_dir: Path
    wanted: Wanted
    threads: int | None = None
    max_frames: int | None = None
    seconds: float | None = None
    track: bool = False
    compare: bool = False
    watch: int | None = None
    hold: bool = False


@dataclass(frozen=True)
class _Run:
    """A loop with what becomes of its rounds."""

    loop: Loop
    record: RunRecord
    outputs: RunOutputs


def run_cameras(
    settings: RunSettings,
    cameras: Sequence[Camera],
    predictor: Predictor,
    infos: Mapping[str, VideoInfo],
    sources: Sources | None,
    metrics: Metrics | None,
) -> None:
    """Load what the loop needs for these cameras, run it, and write and tell its results; what is done is kept after an
    interrupt. infos: what each camera was read as. sources: what reads the cameras, where some are live.

    A KeyboardInterrupt tells what is kept. InputError for parts that do not fit together, and, when the others are
    done, for cameras and results that failed.
    """
    masks = _Masks(settings.plan, predictor.grid)
    for camera in cameras:
        if not camera.is_live and camera.id in infos:
            masks.check(camera.id, camera.masks, infos[camera.id].upright_hw)
    run = _loaded(settings, cameras, predictor, infos, sources, metrics)
    hold = _holder(settings, run.loop, sources)
    console.tell(f"running: {len(cameras)} camera{'s' * (len(cameras) > 1)}; Ctrl-C ends it and keeps what is found")
    failed: dict[str, InputError] = {}
    found, count = _rounds(settings, run.loop, cameras, predictor.input_hw, sources, failed)
    with closing(found), run.outputs as outputs:
        interrupted = False
        try:
            for one in console.progress(found, "run", count, "round"):
                cli.lengthen_grace(FINISH_S)  # before an interrupt: the rounds on their way may take longer than usual
                outputs.add(one)
                hold(one)
                for frame in one.frames:
                    masks.check(frame.camera, frame.masks, (frame.rgb.shape[0], frame.rgb.shape[1]))
        except KeyboardInterrupt:
            interrupted = True
            found.close()  # the cores are for what is still to be written
        failed |= sources.failed() if sources else {}
        written = outputs.finish(failed, interrupted)
    losing = [sink for sink in outputs.sinks.connections if sink.losses]
    took = {(sink.kind, sink.camera) for sink in outputs.sinks.connections if sink.written}
    for sink in losing:
        if interrupted or (sink.kind, sink.camera) in took:
            console.warn(sink.losses)
    if run.record.frames:
        _report(settings, run.record, written)
    if interrupted:
        raise KeyboardInterrupt(f"kept what was found in {outputs.frames} frames, in {settings.save_dir}")
    were_there = set(run.record.cameras) & sources.counts().keys() if sources else set()  # and are away at the end
    failed = {key: error for key, error in failed.items() if key not in were_there}
    others = "; the others are done" if 0 < len(failed) < len(cameras) else ""
    lost = [sink.losses for sink in losing if (sink.kind, sink.camera) not in took]
    if wrong := [*map(str, failed.values()), *lost]:
        raise InputError("; ".join(wrong) + others)


def _loaded(
    settings: RunSettings,
    cameras: Sequence[Camera],
    predictor: Predictor,
    infos: Mapping[str, VideoInfo],
    sources: Sources | None,
    metrics: Metrics | None,
) -> _Run:
    plan, tracks = settings.plan, Tracks() if settings.track else None  # first: it may not be installed
    rates = Rates(lambda camera: (sources.frame_rate(camera) if sources else USUAL_RATE) / plan.detect_every)
    for camera in cameras:
        if camera.id in infos:
            rate = min(infos[camera.id].frame_rate, camera.fps or float("inf"))
            rates[camera.id] = rate / plan.detect_every
    _warn_of_sizes(infos, predictor.input_hw)
    loop, detector, about = _loop(settings, predictor)
    watch = _watch(settings, settings.watch, predictor, detector) if settings.watch else None
    recalls = watch.recalls if watch else dict
    if metrics:
        metrics.budget, metrics.recalls = (lambda: loop.budget), recalls
    read_as, live = (sources.infos, sources.counts) if sources else (lambda: infos, dict)
    record = RunRecord(plan, predictor.grid, about, read_as, live, recalls)
    possible = settings.wanted.of(detector.task)
    if settings.wanted.named and (others := [name for name in settings.wanted.files if name not in possible.files]):
        console.warn(f"--files {' '.join(others)}: is not written; {detector.read_as} does {detector.task}")
    hr_grid = predictor.grid.scaled(int(predictor.metadata["scale"]))
    sinks = SinkSettings(settings.save_dir, detector.class_names, hr_grid, rates, possible)
    return _Run(loop, record, RunOutputs(sinks, record, tracks, metrics, watch))


class _Masks:
    """Says once of each camera that its masks leave nothing to enhance, where a plan would enhance something."""

    def __init__(self, plan: Plan, grid: MacroblockGrid) -> None:
        self._grid, self._enhances = grid, plan.mode != "none"
        self._told: set[str] = set()

    def check(self, camera: str, masks: tuple[Polygon, ...], frame_hw: tuple[int, int]) -> None:
        """To be called with what a camera has now; frame_hw: (height, width) of its own frames."""
        if not self._enhances or not masked_macroblocks(masks, frame_hw, self._grid).all():
            self._told.discard(camera)
        elif camera not in self._told:
            self._told.add(camera)
            console.warn(
                f"{camera}: its masks reach into all macroblocks, so nothing of this camera can be enhanced; "
                "make them smaller"
            )


def _warn_of_sizes(infos: Mapping[str, VideoInfo], input_hw: tuple[int, int]) -> None:
    """Say where frames are resized to the predictor's size (height, width), by more than rounding."""
    height, width = input_hw
    above = {key: min(info.coded_hw) - min(input_hw) for key, info in infos.items()}
    if larger := [key for key, lines in above.items() if lines > 1]:
        console.warn(
            f"{', '.join(larger[:5])}: frames are shrunk to the predictor's {width}x{height} before they are enhanced, "
            "which loses detail that the camera delivers; give frames of that size, or make a predictor for larger ones"
        )
    if smaller := [key for key, lines in above.items() if lines < -1]:
        console.warn(
            f"{', '.join(smaller[:5])}: frames are enlarged to the predictor's {width}x{height} before they are "
            "enhanced, which costs time and adds nothing; make a predictor for frames of the camera's own size"
        )


def _loop(settings: RunSettings, predictor: Predictor) -> tuple[Loop, OnlineDetector, dict[str, Any]]:
    """The loop, its detector, and what ran it for run.json."""
    plan, scale = settings.plan, int(predictor.metadata["scale"])
    upscaler = None
    if settings.upscaler:
        with in_words_of_upscaler_flags(predictor=settings.predictor):
            upscaler = load_online_upscaler(settings.upscaler, threads=settings.threads)
    enhancer = RegionEnhancer(upscaler, plan.mode, plan.halo_px) if upscaler else NoEnhancer(scale)
    hr_grid = predictor.grid.scaled(scale)
    hr_hw = hr_grid.height, hr_grid.width
    detector = load_online_detector(settings.detector, hr_hw, threads=settings.threads, given=settings.given)
    plan.refuse_task(detector.task)
    if predictor.is_flat and plan.selects and not plan.feeds_back:
        console.warn(f"{settings.predictor}: is a flat map, so macroblocks are chosen at random; give --feedback 1")
    console.tell(
        f"predictor {settings.predictor} in {predictor.backend}, detector {detector.read_as} in {detector.engine}"
    )
    about = {
        "predictor": {
            "file": str(settings.predictor),
            "sha256": sha256(settings.predictor),
            "engine": predictor.backend,
        },
        "upscaler": {
            "spec": settings.upscaler and settings.upscaler.spec,
            "read_as": upscaler and upscaler.read_as,
            "halo_px": enhancer.halo_px,
        },
        "detector": {
            "spec": settings.detector.spec,
            "read_as": detector.read_as,
            "task": detector.task,
            "engine": detector.engine,
        },
        "lr_size": [predictor.grid.width, predictor.grid.height],
        "hr_size": [hr_grid.width, hr_grid.height],
        "mode": enhancer.mode,
    }
    loop = Loop(plan, predictor.grid, importance_by(predictor), enhancer, detector, settings.compare)
    return loop, detector, about


def _watch(settings: RunSettings, every: int, predictor: Predictor, detector: OnlineDetector) -> Watch | None:
    """The watch on the predictor, on every n-th frame; None, and a warning, where a plan predicts nothing."""
    plan, planned, upscaler = settings.plan, settings.planned, settings.upscaler
    if not plan.selects or upscaler is None:
        console.warn(f"--watch: the watch on the predictor is off: mode {plan.mode} predicts nothing")
        return None
    recall = planned.record.recall if planned else None
    expected = Expected(plan.budget)
    if recall:
        expected = Expected(plan.budget, recall.formula, dict(recall.at).get(plan.budget))
    of_plan = "" if expected.validated is not None or not planned else f"; {planned.path} has none at this budget"
    console.tell(
        f"watching the predictor on one frame in {every} of each camera: it is stale below a recall of "
        f"{expected.limits[0]:.2f} ({expected}{of_plan})"
    )
    return Watch(
        lambda: truth_by(upscaler, detector.settings, settings.detector.spec, predictor.grid, expected.formula),
        importance_by(predictor),
        predictor.grid,
        every,
        expected,
    )


def _holder(settings: RunSettings, loop: Loop, sources: Sources | None) -> Callable[[Round], None]:
    """To be called after each round: holds the speed of the plan by its budget, where that is asked for."""
    if not settings.hold or settings.planned is None:
        return lambda one: None
    record, every = settings.planned.record, settings.plan.detect_every
    holding, dropped = Holding.of(record.chosen, record.front), 0
    if len(holding.steps) < 2:
        console.warn(f"--hold: changes nothing, as {settings.planned.path} has no other budget for these settings")

    def hold(one: Round) -> None:
        nonlocal dropped
        before, dropped = dropped, sum(of["dropped"] for of in sources.counts().values()) if sources else 0
        new = (dropped - before) * every if sources else None
        if told := holding.follow(loop, len(one.frames) * every, time.monotonic(), new):
            console.tell(told)

    return hold


def _rounds(
    settings: RunSettings,
    loop: Loop,
    cameras: Sequence[Camera],
    input_hw: tuple[int, int],
    sources: Sources | None,
    failed: dict[str, InputError],
) -> tuple[Generator[Round, None, None], int | None]:
    """(the rounds as they are found, their number where it is known). failed: takes the errors of videos."""
    if sources:
        return loop.run_live(sources.rounds(input_hw, settings.seconds), sources.close, sources.removed), None
    every, most = settings.plan.detect_every, settings.max_frames
    totals = [0 if one.fps else promised_frames([Path(one.source)], most) or 0 for one in cameras]
    count = -(-max(totals) // every) if all(totals) else None
    return loop.run(rounds(cameras, input_hw, every, most, failed)), count


def _report(settings: RunSettings, record: RunRecord, written: Sequence[Path]) -> None:
    """Print what a run did."""
    about = record.summary({}, False)
    shares = f"{about['newly_enhanced'] or 0:.1%} of the macroblocks enhanced anew, {about['cache_hits'] or 0:.1%} kept"
    every = about["plan"]["detect_every"]
    searched = f"searched frames (one in {every})" if every > 1 else "frames"
    print(f"{record.frames} {searched}, {about['frames_per_second']} a second with decoding and writing; {shares}")
    live = [camera for camera in about["cameras"].values() if "dropped" in camera]
    if settings.planned and not live and about["seconds"] > _LEAST_S:
        _tell_slower(settings.planned, about["frames_per_second"])
    if ages := [camera["age_p95_ms"] for camera in live if camera["age_p95_ms"] is not None]:
        dropped, reconnects = (sum(camera[key] for camera in live) for key in ("dropped", "reconnects"))
        print(
            f"of live cameras, {dropped} frames dropped for newer ones, {reconnects} reconnects, p95 of the age of "
            f"detections {max(ages):.0f} ms at most; {busiest(settings.plan, about['busy'])}"
        )
    if not record.detections and about["detector"]["task"] == "detection":
        console.warn(
            f"--detector: found nothing in {record.frames} frames; lower --score_threshold, or give other --classes"
        )
    print("wrote " + ", ".join(map(str, written)))


def busiest(plan: Plan, busy: Mapping[str, float]) -> str:
    """Which thread of a run worked most of the time, with all that it does. busy: the share of each."""
    thread, share = max(busy.items(), key=lambda one: one[1])
    is_shared = thread != "detect" and "detect" in threads_of(plan).get(thread, ())
    return f"the busiest thread, {thread}{' and detect' * is_shared}, worked {share:.0%} of the time"


def _tell_slower(planned: Planned, fps: float) -> None:
    """Say where recordings took longer than the plan says and no flag changes it. fps: frames searched a second."""
    chosen = planned.record.chosen
    if not planned.is_changed and fps * chosen.plan.detect_every < LEAST * chosen.fps[1]:
        console.warn(
            f"{planned.path}: planned {chosen.fps[1]:.3g} frames a second, not {fps * chosen.plan.detect_every:.3g}; "
            "plans are without annotated videos (--no_video), and with nothing else on this machine"
        )
