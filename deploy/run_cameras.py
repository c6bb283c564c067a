"""Run the loop on cameras: detections in every frame, with only the chosen macroblocks super-resolved.

Each round takes the next frame of every camera, of a live one the newest: the predictor finds the important
macroblocks, the budget goes to the best of all cameras, these are enhanced and pasted over the interpolated frame, and
the detector runs on the result.
Enhanced macroblocks are kept for as long as the camera sees the same in them. Writes detections.jsonl (a line for each
frame, boxes in pixels of the camera's own frames), the same as COCO and MOT text, a video of each camera with boxes and
outlines, and run.json: frames a second, milliseconds of each stage, how much was enhanced.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from deploy.backends.registry import load_predictor, local_backends
from deploy.contract import FLAT
from deploy.online.arguments import add_plan_arguments, changed_by_flags, plan_from
from deploy.online.plan import MOST
from deploy.online.sinks.arguments import add_sink_arguments, wanted_from
from regenhance_data import cli, console
from regenhance_data.detectors.arguments import add_detector_arguments, detector_settings_from, given_settings
from regenhance_data.errors import InputError
from regenhance_data.io.files import alone, refuse_missing, refuse_overwriting, sha256
from regenhance_data.upscalers.arguments import add_upscaler_flags, given_upscaler, in_words_of_upscaler_flags

if TYPE_CHECKING:
    from deploy.backends.base import Predictor
    from deploy.online.cameras import Camera
    from deploy.online.detectors import OnlineDetector
    from deploy.online.metrics import Metrics
    from deploy.online.outputs import RunOutputs
    from deploy.online.plan import Plan
    from deploy.online.rounds import Loop, Round
    from deploy.online.run_record import RunRecord
    from deploy.online.sinks.settings import Wanted
    from deploy.online.sources import Sources
    from deploy.online.watch import Watch
    from regenhance_data.io.video_streams import VideoInfo

_LEAST_S = 10.0  # of a run whose speed says something
FINISH_S = 30.0  # after Ctrl-C, for the annotated videos of many cameras

EXAMPLES = """
python deploy/run_cameras.py --video gate.mp4 --predictor P.onnx --upscaler general --detector onnx:D.onnx --save_dir S
python deploy/run_cameras.py --video A.mp4 B.mp4 --predictor P.onnx --upscaler onnx:SR.onnx --detector onnx:D.onnx \\
    --budget 0.05 --floor 0.02 --no_video --save_dir S
python deploy/run_cameras.py --video rtsp://USER:PASSWORD@10.0.0.7/stream1 --seconds 600 --predictor P.onnx \\
    --upscaler general --detector onnx:D.onnx --save_dir S
python deploy/run_cameras.py --cameras C.yaml --predictor P.onnx --upscaler general --detector builtin --save_dir S
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    sources = parser.add_mutually_exclusive_group(required=True)
    sources.add_argument("--video", nargs="+", help="video files, URLs of streams, devices, each a camera")
    sources.add_argument("--cameras", type=Path, help="a YAML file: cameras: [{source: gate.mp4, id: gate}, …]")
    parser.add_argument(
        "--predictor", type=Path, required=True, help="M.onnx or M.engine; frames are resized to what it takes"
    )
    parser.add_argument("--save_dir", type=Path, required=True, help="folder for the results")
    parser.add_argument("--plan", type=Path, help="plan.json of deploy/plan.py; flags replace what it says")
    parser.add_argument(
        "--hold", action="store_true", help="with --plan: a smaller or larger budget of its front when speed drifts"
    )
    parser.add_argument("--max_frames", type=int, help="number of frames of each camera (default: all)")
    parser.add_argument("--seconds", type=float, help="how long live cameras are watched (default: until Ctrl-C)")
    parser.add_argument("--backend", choices=["auto", *local_backends()], default="auto", help="runs the predictor")
    parser.add_argument("--threads", type=int, help="threads of each engine (default: its own choice)")
    parser.add_argument("--track", action="store_true", help="follow objects from frame to frame")
    parser.add_argument("--compare", action="store_true", help="show the frame with nothing enhanced beside it too")
    parser.add_argument("--watch", type=int, metavar="N", help="measure the predictor on every n-th frame, when idle")
    add_upscaler_flags(parser, required=False)
    add_plan_arguments(parser)
    add_sink_arguments(parser)
    add_detector_arguments(parser)
    parser.set_defaults(planned=None, recorded=None)  # what --plan holds, and its detector's settings
    return parser


@alone("run")
def main(args: argparse.Namespace) -> None:
    for name in ("max_frames", "threads", "watch"):
        if getattr(args, name) is not None and not 1 <= getattr(args, name) <= MOST:
            raise InputError(f"--{name} {getattr(args, name)}: expected 1 to {MOST}")
    if not hasattr(args, "spec") and not args.plan:
        raise InputError("--detector is missing; see --help for the kinds")
    if args.hold and (not args.plan or getattr(args, "noted", ())):
        raise InputError("--hold changes the budget of --plan; give a plan, and no flags that replace what it says")
    plan = planned(args) if args.plan else plan_from(args)
    if args.upscaler is None and plan.mode != "none":
        raise InputError("--upscaler is missing; see --help for the kinds, or give --mode none to enhance nothing")
    refuse_missing(args.predictor, "predictor; make one with deploy/export_onnx.py")
    from deploy.online.cameras import refuse_unfit
    from regenhance_data.io.video import inspect_video

    cameras = cameras_from(args, plan)
    wanted = wanted_from(args, args.cameras is not None or len(cameras) > 1)
    refuse_overwriting_sources(args.save_dir, wanted, cameras)
    live = any(camera.is_live for camera in cameras)
    if args.seconds is not None and not (live and 0 < args.seconds < float("inf")):
        raise InputError("--seconds is a time above 0, and for live cameras; of files, --max_frames sets the end")
    metrics = metrics_served(args)
    predictor = load_predictor(args.predictor, args.backend, args.threads)  # first: it says which cameras fit
    with sources_of(args, plan, cameras, wanted) if live else nullcontext() as sources:
        infos = sources.connect() if sources else {one.id: inspect_video(Path(one.source)) for one in cameras}
        for camera in cameras:
            if camera.id in infos:
                console.tell(f"{camera.id}: {camera.shown}: read as {infos[camera.id]}")
        refuse_unfit(cameras, {key: info.upright_hw for key, info in infos.items()}, predictor.input_hw)
        if metrics and sources:
            metrics.live, metrics.rate = sources.counts, lambda: sources.round_rate
        run_on(args, plan, cameras, predictor, infos, sources, wanted, metrics)


def cameras_from(args: argparse.Namespace, plan: "Plan") -> "list[Camera]":
    """The cameras that the flags name. InputError where their floors are more than the budget."""
    from deploy.online.cameras import cameras_of_videos, read_cameras, refuse_high_floors

    cameras = read_cameras(args.cameras) if args.cameras else cameras_of_videos(args.video)
    refuse_high_floors(cameras, plan.budget, plan.floor)
    return cameras


def sources_of(args: argparse.Namespace, plan: "Plan", cameras: "list[Camera]", wanted: "Wanted") -> "Sources":
    """What reads cameras of which some are live, and their file when it changes."""
    from deploy.online.sources import Sources

    def read_again() -> "list[Camera]":
        changed = cameras_from(args, plan)
        refuse_overwriting_sources(args.save_dir, wanted, changed)
        return changed

    return Sources(cameras, plan.detect_every, args.max_frames, args.cameras, read_again)


def refuse_overwriting_sources(folder: Path, wanted: "Wanted", cameras: "list[Camera]") -> None:
    """InputError where a recording would be overwritten, or removed as a result of an earlier run."""
    from deploy.online.outputs import earlier_files
    from deploy.online.sinks.registry import file_names

    names = file_names(wanted.files, [one.id for one in cameras])
    results = [*(folder / name for name in names), *earlier_files(folder)]
    refuse_overwriting([Path(one.source) for one in cameras if not one.is_live], results)


def run_on(
    args: argparse.Namespace,
    plan: "Plan",
    cameras: "list[Camera]",
    predictor: "Predictor",
    infos: "dict[str, VideoInfo]",
    sources: "Sources | None",
    wanted: "Wanted",
    metrics: "Metrics | None",
) -> None:
    """Load what the loop needs for these cameras, and run it."""
    from deploy.online.outputs import RunOutputs
    from deploy.online.rates import USUAL_RATE, Rates
    from deploy.online.run_record import RunRecord
    from deploy.online.sinks.settings import SinkSettings
    from deploy.online.tracking import Tracks

    rates = Rates(lambda camera: (sources.frame_rate(camera) if sources else USUAL_RATE) / plan.detect_every)
    for camera in cameras:
        if camera.id in infos:
            rate = min(infos[camera.id].frame_rate, camera.fps or float("inf"))
            rates[camera.id] = rate / plan.detect_every
    tracks = Tracks() if args.track else None
    height, width = predictor.input_hw
    larger = [key for key, info in infos.items() if min(info.coded_hw) > min(height, width)]
    if larger:
        console.warn(
            f"{', '.join(larger[:5])}: frames are shrunk to the predictor's {width}x{height} before they are enhanced, "
            "which loses detail that the camera delivers"
        )
    loop, detector, about = make_loop(args, plan, predictor)
    watch = watch_of(args, plan, predictor, detector) if args.watch else None
    recalls = watch.recalls if watch else dict
    if metrics:
        metrics.budget, metrics.recalls = (lambda: loop.budget), recalls
    read_as, live = (sources.infos, sources.counts) if sources else (lambda: infos, dict)
    record = RunRecord(plan, predictor.grid, about, read_as, live, recalls)
    hr_grid = predictor.grid.scaled(int(predictor.metadata["scale"]))
    possible = wanted.of(detector.task)
    if args.files and (others := [name for name in wanted.files if name not in possible.files]):
        console.warn(f"--files {' '.join(others)}: is not written; {detector.read_as} does {detector.task}")
    settings = SinkSettings(args.save_dir, detector.class_names, hr_grid, rates, possible)
    outputs = RunOutputs(settings, record, tracks, metrics, watch)
    run(args, plan, cameras, predictor, loop, outputs, record, sources)


def planned(args: argparse.Namespace) -> "Plan":
    """The plan of --plan, with the flags that are given beside it, which a line says. InputError for a plan of other
    files; one of another machine is told.
    """
    from deploy.backends.environment import environment
    from deploy.online.plan_file import AGAIN, Machine, read_plan

    args.planned = record = read_plan(args.plan)
    refuse_missing(args.predictor, "predictor; make one with deploy/export_onnx.py")
    upscaler = given_upscaler(args, record.files.scale) if args.upscaler else None
    args.recorded = record.files.detector
    record.files.refuse_others(args.plan, args.predictor, upscaler, detector_settings_from(args, args.recorded))
    args.threads = args.threads or record.machine.threads
    if different := record.machine.difference(Machine.of(environment(args.threads))):
        console.warn(f"{args.plan}: was made on another machine ({different}), so its speed may not hold; {AGAIN}")
    plan, flags = changed_by_flags(record.chosen.plan, args)
    if flags:
        console.tell(f"{', '.join(flags)}: given, and taken instead of what {args.plan} says")
    return plan


def holder(
    args: argparse.Namespace, plan: "Plan", loop: "Loop", sources: "Sources | None"
) -> "Callable[[Round], None]":
    """To be called after each round: holds the speed of --plan by its budget, where --hold asks for it."""
    from deploy.online.holding import Holding

    if not args.hold:
        return lambda one: None
    holding, dropped = Holding.of(args.planned.chosen, args.planned.front), 0
    if len(holding.steps) < 2:
        console.warn(f"--hold: changes nothing, as {args.plan} has no other budget for these settings")

    def hold(one: "Round") -> None:
        nonlocal dropped
        before, dropped = dropped, sum(of["dropped"] for of in sources.counts().values()) if sources else 0
        new = (dropped - before) * plan.detect_every if sources else None
        if told := holding.follow(loop, len(one.frames) * plan.detect_every, time.monotonic(), new):
            console.tell(told)

    return hold


def metrics_served(args: argparse.Namespace) -> "Metrics | None":
    """What Prometheus asks for, where it is wanted. InputError for a port that is taken."""
    if args.metrics_port is None:
        return None
    from deploy.online.metrics import Metrics, serve

    metrics = Metrics()
    host = f"[{args.metrics_host}]" if ":" in args.metrics_host else args.metrics_host
    console.tell(f"metrics: http://{host}:{serve(metrics, args.metrics_host, args.metrics_port)}/metrics and /healthz")
    return metrics


def watch_of(
    args: argparse.Namespace, plan: "Plan", predictor: "Predictor", detector: "OnlineDetector"
) -> "Watch | None":
    """The watch on the predictor that --watch asks for; None, and a warning, where a plan predicts nothing."""
    from deploy.online.cameras import importance_by
    from deploy.online.watch import Expected, Watch, truth_by

    if not plan.selects:
        console.warn(f"--watch: the watch on the predictor is off: mode {plan.mode} predicts nothing")
        return None
    recall = args.planned.recall if args.planned else None
    expected = Expected(plan.budget)
    if recall:
        expected = Expected(plan.budget, recall.formula, dict(recall.at).get(plan.budget))
    upscaler = given_upscaler(args, int(predictor.metadata["scale"]))
    of_plan = "" if expected.validated is not None or not args.plan else f"; {args.plan} has none at this budget"
    console.tell(
        f"watching the predictor on one frame in {args.watch} of each camera: it is stale below a recall of "
        f"{expected.limits[0]:.2f} ({expected}{of_plan})"
    )
    return Watch(
        lambda: truth_by(upscaler, detector.settings, predictor.grid, expected.formula),
        importance_by(predictor),
        predictor.grid,
        args.watch,
        expected,
    )


def make_loop(
    args: argparse.Namespace, plan: "Plan", predictor: "Predictor"
) -> "tuple[Loop, OnlineDetector, dict[str, Any]]":
    """The loop, its detector, and what ran it for run.json. InputError for parts that do not fit together."""
    from deploy.online.cameras import importance_by
    from deploy.online.detectors import load_online_detector
    from deploy.online.rounds import Loop, NoEnhancer
    from deploy.online.upscalers import load_online_upscaler
    from regenhance_data.upscalers.enhancement import RegionEnhancer

    scale = int(predictor.metadata["scale"])
    upscaler = None
    if plan.mode != "none":
        with in_words_of_upscaler_flags():
            upscaler = load_online_upscaler(given_upscaler(args, scale), threads=args.threads)
    enhancer = RegionEnhancer(upscaler, plan.mode, plan.halo_px) if upscaler else NoEnhancer(scale)
    hr_grid = predictor.grid.scaled(scale)
    hr_hw = hr_grid.height, hr_grid.width
    settings = detector_settings_from(args, args.recorded)
    detector = load_online_detector(settings, hr_hw, threads=args.threads, given=given_settings(args))
    plan.refuse_task(detector.task)
    if predictor.metadata.get("weights") == FLAT and plan.selects and not plan.feeds_back:
        console.warn(f"{args.predictor}: is a flat map, so macroblocks are chosen at random; give --feedback 1")
    console.tell(f"predictor {args.predictor} in {predictor.backend}, detector {detector.read_as} in {detector.engine}")
    about = {
        "predictor": {"file": str(args.predictor), "sha256": sha256(args.predictor), "engine": predictor.backend},
        "upscaler": {"spec": args.upscaler, "read_as": upscaler and upscaler.read_as, "halo_px": enhancer.halo_px},
        "detector": {
            "spec": settings.spec,
            "read_as": detector.read_as,
            "task": detector.task,
            "engine": detector.engine,
        },
        "lr_size": [predictor.grid.width, predictor.grid.height],
        "hr_size": [hr_grid.width, hr_grid.height],
        "mode": enhancer.mode,
    }
    loop = Loop(plan, predictor.grid, importance_by(predictor), enhancer, detector, args.compare)
    return loop, detector, about


def run(
    args: argparse.Namespace,
    plan: "Plan",
    cameras: "list[Camera]",
    predictor: "Predictor",
    loop: "Loop",
    made: "RunOutputs",
    record: "RunRecord",
    sources: "Sources | None",
) -> None:
    """Run all rounds and write their results; what is done is kept after an interrupt."""
    from deploy.online.cameras import rounds
    from deploy.online.results import promised_frames

    hold = holder(args, plan, loop, sources)
    console.tell(f"running: {len(cameras)} camera{'s' * (len(cameras) > 1)}; Ctrl-C ends it and keeps what is found")
    failed: dict[str, InputError] = {}
    if sources:
        total = None
        found = loop.run_live(sources.rounds(predictor.input_hw, args.seconds), sources.close)
    else:
        totals = [0 if one.fps else promised_frames([Path(one.source)], args.max_frames) or 0 for one in cameras]
        total = max(totals) if all(totals) else None
        found = loop.run(rounds(cameras, predictor.input_hw, plan.detect_every, args.max_frames, failed))
    with closing(found), made as outputs:
        interrupted = False
        try:
            expected = None if total is None else -(-total // plan.detect_every)
            for one in console.progress(found, "run", expected, "round"):
                outputs.add(one)
                hold(one)
        except KeyboardInterrupt:
            interrupted = True
            cli.lengthen_grace(FINISH_S)
            found.close()  # the cores are for what is still to be written
        failed |= sources.failed() if sources else {}
        written = outputs.finish(failed, interrupted)
    connections = outputs.sinks.connections
    for sink in connections:
        if sink.losses and (sink.written or interrupted):
            console.warn(sink.losses)
    if record.frames:
        report(record, written, args)
    if interrupted:
        raise KeyboardInterrupt(f"kept what was found in {outputs.frames} frames, in {args.save_dir}")
    were_there = set(record.cameras) & sources.counts().keys() if sources else set()  # and are away at the end
    failed = {key: error for key, error in failed.items() if key not in were_there}
    others = "; the others are done" if 0 < len(failed) < len(cameras) else ""
    if wrong := [
        *map(str, failed.values()),
        *(sink.losses for sink in connections if not sink.written and sink.losses),
    ]:
        raise InputError("; ".join(wrong) + others)


def report(record: "RunRecord", written: list[Path], args: argparse.Namespace) -> None:
    """Print what a run did."""
    about = record.summary({}, False)
    shares = f"{about['newly_enhanced'] or 0:.1%} of the macroblocks enhanced anew, {about['cache_hits'] or 0:.1%} kept"
    every = about["plan"]["detect_every"]
    searched = f"searched frames (one in {every})" if every > 1 else "frames"
    print(f"{record.frames} {searched}, {about['frames_per_second']} a second with decoding and writing; {shares}")
    live = [camera for camera in about["cameras"].values() if "dropped" in camera]
    if args.planned and not live and about["seconds"] > _LEAST_S:
        tell_slower(args, about["frames_per_second"])
    if ages := [camera["age_p95_ms"] for camera in live if camera["age_p95_ms"] is not None]:
        thread, share = max(about["busy"].items(), key=lambda one: one[1])
        dropped, reconnects = (sum(camera[key] for camera in live) for key in ("dropped", "reconnects"))
        print(
            f"of live cameras, {dropped} frames dropped for newer ones, {reconnects} reconnects, p95 of the age of "
            f"detections {max(ages):.0f} ms at most; the busiest thread, {thread}, worked {share:.0%} of "
            "the time"
        )
    if not record.detections and about["detector"]["task"] == "detection":
        console.warn(
            f"--detector: found nothing in {record.frames} frames; lower --score_threshold, or give other --classes"
        )
    print("wrote " + ", ".join(map(str, written)))


def tell_slower(args: argparse.Namespace, fps: float) -> None:
    """Say where recordings took longer than --plan says and no flag changes it. fps: frames searched a second."""
    from deploy.online.holding import LEAST

    chosen = args.planned.chosen
    if not getattr(args, "noted", ()) and fps * chosen.plan.detect_every < LEAST * chosen.fps[1]:
        console.warn(
            f"{args.plan}: planned {chosen.fps[1]:.3g} frames a second, not {fps * chosen.plan.detect_every:.3g}; "
            "plans are without annotated videos (--no_video), and with nothing else on this machine"
        )


if __name__ == "__main__":
    cli.run(main, make_parser())
