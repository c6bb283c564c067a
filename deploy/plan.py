"""A plan for the loop on this machine: which settings meet a target, measured on a dataset's validation frames.

Tries settings of the loop - what is enhanced, the budget, the halo, kept macroblocks, feedback of what was found last,
how often importance is predicted and frames are searched - and takes their F1 by running the loop on the frames,
against detections on the original HR frames, or --truth, where there are any, else on whole-frame super-resolution.
Those on the front of speed and F1 run on video, in turn. Writes plan.json, which deploy/run_cameras.py takes, and
plan.html: the front, the chosen point and what limits it. The answer may be that the target is not reachable on this
machine, or not to enhance.
"""

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from deploy.backends.registry import local_backends, refuse_missing_predictor
from regenhance_data import cli, console
from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.split import SPLITS
from regenhance_data.defaults import BUDGETS
from regenhance_data.detectors.arguments import add_detector_arguments, detector_settings_from, given_settings
from regenhance_data.detectors.kinds import is_program
from regenhance_data.errors import InputError, refuse_below_one, refuse_unless_shares
from regenhance_data.evaluation.inputs import refuse_without_detector
from regenhance_data.io.files import alone, refuse_missing, write_json
from regenhance_data.upscalers.arguments import add_upscaler_flags, given_upscaler, in_words_of_upscaler_flags

if TYPE_CHECKING:
    from deploy.online.plan_file import PlanRecord, Point
    from deploy.online.plan_making import Material
    from deploy.online.planning import Target

EXAMPLES = """
python deploy/plan.py --data my_dataset --predictor P.onnx --upscaler general --detector onnx:D.onnx \\
    --target_fps 5 --cameras 4 --save_dir runs/plan
python deploy/plan.py --data D --predictor P.onnx --upscaler onnx:S.onnx --detector builtin --target_f1 95% --save_dir S
python deploy/plan.py --data D --predictor P.onnx --upscaler general --detector onnx:D.onnx --save_dir S
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="dataset folder, whose validation frames are used")
    add("--predictor", type=Path, required=True, help="M.onnx or M.engine, of the frames' size")
    add("--save_dir", type=Path, required=True, help="for plan.json and plan.html")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--target_fps", type=float, metavar="F", help="frames a second of each camera")
    target.add_argument("--target_f1", metavar="X", help="least score, or a share of the best one: 95%%")
    add("--cameras", type=int, default=1, help="how many cameras the loop runs on; with --check, as planned")
    add("--budgets", nargs="+", type=float, default=BUDGETS, help="shares of macroblocks to choose from")
    add("--truth", type=Path, help="true boxes on HR frames, as tools/evaluate.py takes them")
    add("--split", choices=(*SPLITS, "all"), help="which frames (default: val; for --check test)")
    add("--clips", nargs="+", metavar="CLIP", help="only these clips (default: all)")
    add("--max_frames", type=int, default=60, help="the first frames of each clip")
    add("--check", type=Path, metavar="PLAN", help="no search: measure what a plan.json chose, on other frames")
    add("--backend", choices=["auto", *local_backends()], default="auto", help="runs the predictor")
    add("--threads", type=int, help="threads of each engine (default: its own choice; with --check, as planned)")
    add_upscaler_flags(parser)
    add_detector_arguments(parser)
    return parser


@alone("plan")
def main(args: argparse.Namespace) -> None:
    target = check(args)
    from deploy.online.plan_file import read_plan
    from deploy.online.plan_making import hold, judged, make_plan, warn_of_rate

    checked = read_plan(args.check) if args.check else None
    dataset = Dataset.open(args.data)
    refuse_without_detector(args, dataset.record.detector)
    material = material_from(args, dataset)
    threads = args.threads
    if checked:
        with in_words_of_upscaler_flags():
            checked.files.refuse_others(args.check, args.predictor, material.upscaler, material.detector)
        target, threads = checked.target, threads or checked.machine.threads
    warn_of_rate(dataset, [clip[0].camera for clip in material.clips], target.fps)
    engines, detector = material.load(threads)
    console.tell(f"upscaler {engines.upscaler.read_as}; detector {detector.read_as} in {detector.engine}")
    if checked:
        checked.chosen.plan.refuse_task(detector.task)
        on = judged(material, engines, detector, target.cameras, args.truth)
        write_check(args, checked, hold(checked, material, engines, on), len(material.frames))
    else:
        write_results(args, make_plan(material, engines, detector, target, args.budgets, threads, args.truth))


def check(args: argparse.Namespace) -> "Target":
    """The target. InputError now for flags out of range and files that are missing."""
    from deploy.online.planning import Target

    refuse_unless_shares(args.budgets)
    refuse_below_one(max_frames=args.max_frames, threads=args.threads)
    refuse_missing_predictor(args.predictor)
    for path in (args.truth, args.check):
        if path:
            refuse_missing(path)
    f1, of_best = None, False
    if args.target_f1 is not None:
        of_best = args.target_f1.endswith("%")
        try:
            f1 = float(args.target_f1.removesuffix("%")) / (100 if of_best else 1)
        except ValueError:
            raise InputError(f"--target_f1 {args.target_f1}: expected a score, as 0.8, or a share, as 95%") from None
    return Target(args.target_fps, args.cameras, f1, of_best)


def material_from(args: argparse.Namespace, dataset: Dataset) -> "Material":
    """What the flags name. InputError for frames that are not there."""
    from deploy.online.plan_making import Material, frames_for_plan

    split = args.split or ("test" if args.check else "val")
    clips, has_originals = frames_for_plan(dataset, split, args.clips, args.max_frames, args.truth is not None)
    return Material(
        dataset,
        clips,
        has_originals,
        predictor=args.predictor,
        backend=args.backend,
        upscaler=given_upscaler(args, dataset.scale),
        detector=detector_settings_from(args, dataset.record.detector),
        given=given_settings(args),
    )


def write_results(args: argparse.Namespace, record: "PlanRecord") -> None:
    """Write plan.json and plan.html; print the front and the answer."""
    from deploy.online.plan_file import PLAN_FILE, write_plan
    from deploy.online.plan_report import front_table, sentence, write_plan_page

    write_plan(args.save_dir / PLAN_FILE, record)
    write_plan_page(args.save_dir / "plan.html", record)
    print(front_table(record))
    print(f"{args.save_dir}/{PLAN_FILE}, plan.html: {record.tried} settings on {record.frames} frames")
    print(sentence(record))
    command = ["python", "deploy/run_cameras.py", "--video", "camera.mp4", "--plan", args.save_dir / PLAN_FILE]
    command += ["--predictor", args.predictor, "--upscaler", args.upscaler]
    for flag in ("upscaler_pixel_range", "upscaler_channel_order"):
        if getattr(args, flag) is not None:
            command += [f"--{flag}", getattr(args, flag)]
    if is_program(getattr(args, "spec", "")):
        command += ["--detector", args.spec]
    cli.suggest([*command, "--save_dir", "runs/cameras"])


def write_check(args: argparse.Namespace, planned: "PlanRecord", found: "Point", frames: int) -> None:
    """Write check.json: the chosen point of a plan beside what was found on so many other frames; print it."""
    from deploy.online.plan_report import held_against
    from regenhance_data.metrics.metric import METRIC_NAMES

    promised = planned.chosen
    of = {"measured": (found, frames, list(found.fps)), "planned": (promised, planned.frames, promised.fps[1])}
    content = {
        name: {
            "frames_per_second": fps,
            "score": point.score.json_value(),
            "interval_95": point.score.json_interval(),
            "frames": number,
        }
        for name, (point, number, fps) in of.items()
    }
    write_json(args.save_dir / "check.json", content)
    held = held_against(found.score, frames, promised.score, planned.frames)
    slowest, fps, fastest = found.fps
    speed = f"{fps:.2f} frames a second ({slowest:.2f}-{fastest:.2f}), planned {promised.fps[1]:.2f}"
    print(f"{METRIC_NAMES[planned.metric]} {held}; {speed} ({fps / promised.fps[1] - 1:+.0%})")


if __name__ == "__main__":
    cli.run(main, make_parser())
