"""Run the loop on cameras: detections in every frame, with only the chosen macroblocks super-resolved.

Each round takes the next frame of every camera, of a live one the newest: the predictor finds the important
macroblocks, the budget goes to the best of all cameras, these are enhanced and pasted over the interpolated frame, and
the detector runs on the result.
Enhanced macroblocks are kept for as long as the camera sees the same in them. Writes detections.jsonl (a line for each
frame, boxes in pixels of the camera's own frames), the same as COCO and MOT text, a video of each camera with boxes and
outlines, and run.json: frames a second, milliseconds of each stage, how much was enhanced.
"""

import argparse
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from deploy.backends.registry import load_predictor, local_backends, refuse_missing_predictor
from deploy.online.arguments import add_plan_arguments, changed_by_flags, plan_from
from deploy.online.plan import MOST
from deploy.online.sinks.arguments import add_sink_arguments, wanted_from
from regenhance_data import cli, console
from regenhance_data.detectors.arguments import add_detector_arguments, detector_settings_from, given_settings
from regenhance_data.errors import InputError
from regenhance_data.io.files import alone, refuse_overwriting
from regenhance_data.upscalers.arguments import add_upscaler_flags, given_upscaler

if TYPE_CHECKING:
    from deploy.online.cameras import Camera
    from deploy.online.metrics import Metrics
    from deploy.online.plan import Plan
    from deploy.online.plan_file import Planned
    from deploy.online.sinks.settings import Wanted
    from deploy.online.sources import Sources

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
    return parser


@alone("run")
def main(args: argparse.Namespace) -> None:
    check(args)
    planned, plan = planned_by(args) if args.plan else (None, plan_from(args))
    if args.upscaler is None and plan.mode != "none":
        raise InputError("--upscaler is missing; see --help for the kinds, or give --mode none to enhance nothing")
    refuse_missing_predictor(args.predictor)
    from deploy.online.cameras import refuse_unfit
    from deploy.online.sources import stamp_of
    from regenhance_data.io.video import inspect_video

    stamp = stamp_of(args.cameras) if args.cameras else None  # before it is read: models load for a while
    cameras = cameras_from(args, plan)
    wanted = wanted_from(args, args.cameras is not None or len(cameras) > 1)
    refuse_overwriting_sources(args.save_dir, wanted, cameras)
    live = any(camera.is_live for camera in cameras)
    if args.seconds is not None and not (live and 0 < args.seconds < float("inf")):
        raise InputError("--seconds is a time above 0, and for live cameras; of files, --max_frames sets the end")
    metrics = metrics_served(args)
    threads = args.threads or (planned.record.machine.threads if planned else None)
    predictor = load_predictor(args.predictor, args.backend, threads)  # first: it says which cameras fit
    with sources_of(args, plan, cameras, wanted, stamp) if live else nullcontext() as sources:
        infos = sources.connect() if sources else {one.id: inspect_video(Path(one.source)) for one in cameras}
        for camera in cameras:
            if camera.id in infos:
                console.tell(f"{camera.id}: {camera.shown}: read as {infos[camera.id]}")
        refuse_unfit(cameras, {key: info.upright_hw for key, info in infos.items()}, predictor.input_hw)
        if metrics and sources:
            metrics.live, metrics.rate = sources.counts, lambda: sources.round_rate
        from deploy.online.running import RunSettings, run_cameras

        scale = int(predictor.metadata["scale"])
        settings = RunSettings(
            plan=plan,
            predictor=args.predictor,
            upscaler=given_upscaler(args, scale, args.predictor) if plan.mode != "none" else None,
            detector=detector_settings_from(args, planned.record.files.detector if planned else None),
            given=given_settings(args),
            planned=planned,
            save_dir=args.save_dir,
            wanted=wanted,
            threads=threads,
            max_frames=args.max_frames,
            seconds=args.seconds,
            track=args.track,
            compare=args.compare,
            watch=args.watch,
            hold=args.hold,
        )
        run_cameras(settings, cameras, predictor, infos, sources, metrics)


def check(args: argparse.Namespace) -> None:
    """InputError for flags out of range, and for those that do not go together."""
    for name in ("max_frames", "threads", "watch"):
        if getattr(args, name) is not None and not 1 <= getattr(args, name) <= MOST:
            raise InputError(f"--{name} {getattr(args, name)}: expected 1 to {MOST}")
    if not hasattr(args, "spec") and not args.plan:
        raise InputError("--detector is missing; see --help for the kinds")
    if args.hold and (not args.plan or getattr(args, "noted", ())):
        raise InputError("--hold changes the budget of --plan; give a plan, and no flags that replace what it says")


def cameras_from(args: argparse.Namespace, plan: "Plan") -> "list[Camera]":
    """The cameras that the flags name. InputError where their floors are more than the budget."""
    from deploy.online.cameras import cameras_of_videos, read_cameras, refuse_high_floors

    cameras = read_cameras(args.cameras) if args.cameras else cameras_of_videos(args.video)
    refuse_high_floors(cameras, plan.budget, plan.floor)
    return cameras


def sources_of(
    args: argparse.Namespace, plan: "Plan", cameras: "list[Camera]", wanted: "Wanted", stamp: object
) -> "Sources":
    """What reads cameras of which some are live, and their file when it is no longer that of the stamp."""
    from deploy.online.sources import Sources

    def read_again() -> "list[Camera]":
        changed = cameras_from(args, plan)
        refuse_overwriting_sources(args.save_dir, wanted, changed)
        return changed

    return Sources(cameras, plan.detect_every, args.max_frames, args.cameras, read_again, stamp=stamp)


def refuse_overwriting_sources(folder: Path, wanted: "Wanted", cameras: "list[Camera]") -> None:
    """InputError where a recording would be overwritten, or removed as a result of an earlier run."""
    from deploy.online.outputs import earlier_files
    from deploy.online.sinks.registry import file_names

    names = file_names(wanted.files, [one.id for one in cameras])
    results = [*(folder / name for name in names), *earlier_files(folder)]
    refuse_overwriting([Path(one.source) for one in cameras if not one.is_live], results)


def planned_by(args: argparse.Namespace) -> "tuple[Planned, Plan]":
    """What --plan says, and its plan with the flags that are given beside it, which a line says. InputError for a plan
    of other files; a line warns of one of another machine.
    """
    from deploy.backends.environment import environment
    from deploy.online.plan_file import AGAIN, Machine, Planned, read_plan

    record = read_plan(args.plan)
    refuse_missing_predictor(args.predictor)
    upscaler = given_upscaler(args, record.files.scale) if args.upscaler else None
    detector = detector_settings_from(args, record.files.detector)
    record.files.refuse_others(args.plan, args.predictor, upscaler, detector)
    machine = Machine.of(environment(args.threads or record.machine.threads))
    if different := record.machine.difference(machine):
        console.warn(f"{args.plan}: was made on another machine ({different}), so its speed may not hold; {AGAIN}")
    plan, flags = changed_by_flags(record.chosen.plan, args)
    if flags:
        console.tell(f"{', '.join(flags)}: given, and taken instead of what {args.plan} says")
    return Planned(args.plan, record, bool(flags)), plan


def metrics_served(args: argparse.Namespace) -> "Metrics | None":
    """What Prometheus asks for, where it is wanted. InputError for a port that is taken."""
    if args.metrics_port is None:
        return None
    from deploy.online.metrics import Metrics, serve

    metrics = Metrics()
    host = f"[{args.metrics_host}]" if ":" in args.metrics_host else args.metrics_host
    console.tell(f"metrics: http://{host}:{serve(metrics, args.metrics_host, args.metrics_port)}/metrics and /healthz")
    return metrics


if __name__ == "__main__":
    cli.run(main, make_parser())
