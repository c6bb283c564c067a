"""A plan for the loop on this machine: which settings meet a target, measured on a dataset's validation frames.

Tries settings of the loop - what is enhanced, the budget, the halo, kept macroblocks, how often importance is predicted
and frames are searched - and takes their F1 by running the loop on the frames, against detections on the original HR
frames, or --truth, where there are any, else on whole-frame super-resolution. Those on the front of speed and F1 run on
video, in turn. Writes plan.json, which deploy/run_cameras.py takes, and plan.html: the front, the chosen point and what
limits it. The answer may be that the target is not reachable on this machine, or not to enhance.
"""

import argparse
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

import numpy as np

from deploy.backends.registry import load_predictor, local_backends
from regenhance_data import cli, console
from regenhance_data.dataset.folder import HR_IMAGES, Dataset
from regenhance_data.dataset.split import SPLITS
from regenhance_data.defaults import BUDGETS
from regenhance_data.detectors.arguments import add_detector_arguments, detector_settings_from, given_settings
from regenhance_data.errors import InputError, one_line, refuse_below_one, refuse_unless_shares
from regenhance_data.evaluation.bootstrap import CurvePoint
from regenhance_data.evaluation.inputs import refuse_without_detector
from regenhance_data.evaluation.record import METRIC_NAMES, WORTH_IT
from regenhance_data.evaluation.verdict import against_static
from regenhance_data.grid import MacroblockGrid
from regenhance_data.importance.formula_spec import DEFAULT_FORMULA
from regenhance_data.importance.static_map import STATIC, static_maps
from regenhance_data.io.files import alone, digest, refuse_missing, sha256, write_json
from regenhance_data.upscalers.arguments import add_upscaler_flags, given_upscaler, in_words_of_upscaler_flags

if TYPE_CHECKING:
    from deploy.online.detectors import OnlineDetector
    from deploy.online.plan import Plan
    from deploy.online.plan_file import Files, Machine, PlanRecord, Recall
    from deploy.online.planning import Scores, Target
    from deploy.online.rounds import Detects
    from deploy.online.strategies import KnownFrame
    from deploy.online.trials import Engines, Trial, Trials
    from regenhance_data.detections import Detections

EXAMPLES = """
python deploy/plan.py --data my_dataset --predictor P.onnx --upscaler builtin --detector onnx:D.onnx \\
    --target_fps 5 --cameras 4 --save_dir runs/plan
python deploy/plan.py --data D --predictor P.onnx --upscaler onnx:S.onnx --detector builtin --target_f1 95% --save_dir S
python deploy/plan.py --data D --predictor P.onnx --upscaler builtin --detector onnx:D.onnx --save_dir S
"""

_WATCHED = 20  # frames at most of which the predictor's recall is taken
_FASTER = 1.5  # than the target, from which frames are said to be too near to each other
_BUSY = 1.3  # times as fast as the slowest turn is the fastest one of a machine that does something else
_TURNS_OF_THREADS, _WORTH_OTHER_THREADS = 2, 1.05  # faster by that


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

    checked = read_plan(args.check) if args.check else None
    if checked:
        target = checked.target
        args.threads = args.threads or checked.machine.threads
    dataset = Dataset.open(args.data)
    refuse_without_detector(args, dataset.record.detector)
    clips, has_originals = read_clips(args, dataset)
    warn_of_rate(args, dataset, [clip[0].camera for clip in clips])
    engines, detector, files = load_engines(args, dataset, clips)
    console.tell(f"upscaler {engines.upscaler.read_as}; detector {detector.read_as} in {detector.engine}")
    from deploy.online.comparison import ORIGINALS, TRUTH, UPSCALED, counting
    from deploy.online.planning import Scores, to_measure
    from deploy.online.trials import Trials
    from regenhance_data.evaluation.truth import read_truth

    metric, matches, score = counting(detector.task, detector.class_names, detector.settings.classes)
    scores = Scores(score, [frame.camera for clip in clips for frame in clip])
    truth = read_truth(args.truth, detector, dataset, clips[0][0].camera) if args.truth else None
    trials = Trials(engines, clips, target.cameras, reference_by(truth), matches)
    reference = TRUTH if args.truth else ORIGINALS if has_originals else UPSCALED
    if checked:
        hold(checked, engines, clips, trials, scores, args.save_dir)
        return
    found = search(args, trials, scores, engines.exact_px)
    best = max(found, key=scores.value)
    engines, speedup, threads = with_best_threads(args, dataset, clips, engines, best)
    finalists = to_measure(found, scores.value, target, speedup)
    record = decide(
        target, finalists, scores, engines, clips, len(trials.done), (metric, reference), (machine_of(threads), files)
    )
    verdict = replace(
        record.verdict, reason=record.verdict.reason + against_static_map(record, dataset, trials, scores)
    )
    write_results(args, replace(record, verdict=verdict, recall=recall_of(args, dataset, engines, clips, detector)))


def against_static_map(record: "PlanRecord", dataset: Dataset, trials: "Trials", scores: "Scores") -> str:
    """What ends the verdict where enhancing is worth it: whether the predictor is, by a trial of the chosen settings
    with the static map in its place; "" where there is no such map.
    """
    plan, chosen = record.chosen.plan, "predictor"
    if record.verdict.answer != WORTH_IT or not plan.selects:
        return ""
    maps = static_maps(dataset, record.clips)
    if not maps:
        return ""
    static = trials.with_importance(plan, lambda frames: np.stack([maps[frame.camera] for frame in frames]))
    pairs = zip(trials(plan).counts, static.counts, strict=True)
    counts = [{CurvePoint(chosen, plan.budget): a, CurvePoint(STATIC, plan.budget): b} for a, b in pairs]
    return against_static(counts, scores.clips, scores.score, chosen, plan.budget)


def recall_of(
    args: argparse.Namespace,
    dataset: Dataset,
    engines: "Engines",
    clips: "list[list[KnownFrame]]",
    detector: "OnlineDetector",
) -> "Recall | None":
    """How much the predictor finds in some of the frames of what --watch takes for true, which need not be the
    dataset's importance; None where there is no PyTorch, or no gradient.
    """
    from deploy.online.plan_file import Recall
    from deploy.online.watch import truth_by, validation_recall

    formula = dataset.record.importance.formula or DEFAULT_FORMULA
    frames = [frame for clip in clips for frame in clip]
    try:
        truth = truth_by(given_upscaler(args, dataset.scale), detector.settings, engines.grid, formula)
        at = validation_recall(engines.predict, truth, frames[:: math.ceil(len(frames) / _WATCHED)], args.budgets)
    except (InputError, ModuleNotFoundError) as error:
        console.warn(f"no recall of the predictor is known, which run_cameras.py --watch needs: {one_line(error)}")
        return None
    return Recall(formula, at) if at else None


def check(args: argparse.Namespace) -> "Target":
    """The target. InputError now for flags out of range and files that are missing."""
    from deploy.online.planning import Target

    refuse_unless_shares(args.budgets)
    refuse_below_one(max_frames=args.max_frames, threads=args.threads)
    refuse_missing(args.predictor, "predictor; make one with deploy/export_onnx.py")
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


def read_clips(args: argparse.Namespace, dataset: Dataset) -> "tuple[list[list[KnownFrame]], bool]":
    """(the frames of each clip, whether they have originals). InputError for frames that are not there."""
    from deploy.online.compared_frames import chosen_frames, frames_of_dataset, one_size

    split = args.split or ("test" if args.check else "val")
    chosen = chosen_frames(dataset, split, args.clips, 1, args.max_frames)
    if args.truth and len(chosen) > 1:
        raise InputError("--truth: is of one clip, these frames are of several; give --clips one")
    has_originals = not args.truth and all((dataset.root / HR_IMAGES / clip).is_dir() for clip in chosen)
    if has_originals:
        dataset.refuse_missing_originals([frame for some in chosen.values() for frame in some])
    one_size(dataset, list(chosen))
    return [
        list(frames_of_dataset(dataset, {clip: frames}, has_originals, dataset.mb_size))
        for clip, frames in chosen.items()
    ], has_originals


def warn_of_rate(args: argparse.Namespace, dataset: Dataset, clips: "list[str]") -> None:
    """Say where frames follow each other faster than those of the target will."""
    rates = [record.frame_rate for clip in clips if (record := dataset.record.clips.get(clip)) and record.frame_rate]
    if args.target_fps and rates and max(rates) > _FASTER * args.target_fps:
        console.warn(
            f"{args.data}: has {max(rates):.3g} frames a second, the target is {args.target_fps:g}; frames that are "
            "further apart differ more, so what is kept from one for the next is worth less than it is here; extract "
            f"clips with --fps {args.target_fps:g}"
        )


def load_engines(
    args: argparse.Namespace, dataset: Dataset, clips: "list[list[KnownFrame]]"
) -> "tuple[Engines, OnlineDetector, Files]":
    """What runs the stages, the detector among it, and what identifies it. InputError for what does not fit."""
    from deploy.online.cameras import importance_by
    from deploy.online.compared_frames import refuse_unless_fitting
    from deploy.online.detectors import load_online_detector
    from deploy.online.plan_file import Files, read_plan
    from deploy.online.trials import Engines
    from deploy.online.upscalers import load_online_upscaler
    from regenhance_data.detectors.loading import detector_record
    from regenhance_data.upscalers.loading import upscaler_record

    height, width = clips[0][0].lr.shape[:2]
    lr_hw = height, width
    predictor = load_predictor(args.predictor, args.backend, args.threads)
    refuse_unless_fitting(args.predictor, predictor, lr_hw, dataset.scale, dataset.mb_size)
    grid = MacroblockGrid(*lr_hw, dataset.mb_size)
    hr_hw = lr_hw[0] * dataset.scale, lr_hw[1] * dataset.scale
    settings = detector_settings_from(args, dataset.record.detector)
    checked = read_plan(args.check) if args.check else None
    with in_words_of_upscaler_flags():
        given = given_upscaler(args, dataset.scale)
        if checked:
            checked.files.refuse_others(args.check, args.predictor, given, settings)
        upscaler = load_online_upscaler(given, threads=args.threads)
    detector = load_online_detector(settings, hr_hw, threads=args.threads, given=given_settings(args))
    if checked:
        checked.chosen.plan.refuse_task(detector.task)
    yaml = dataset.record.path
    about = [sha256(yaml) if yaml.is_file() else "", *((one.camera, one.number) for clip in clips for one in clip)]
    files = Files(
        sha256(args.predictor), dataset.scale, upscaler_record(given), detector_record(settings), digest(about)
    )
    return Engines(grid, dataset.scale, importance_by(predictor), upscaler, detector), detector, files


def reference_by(truth: "Mapping[int, Detections] | None") -> "Callable[[KnownFrame, Detects], Any]":
    """What detections in a frame are held against; None for those on whole-frame super-resolution."""
    from regenhance_data.evaluation.truth import true_boxes

    if truth is not None:
        return lambda frame, _: true_boxes(truth, frame.number)
    return lambda frame, by: None if frame.original is None else by.detect(frame.original[None])[0]


def machine_of(threads: int | None) -> "Machine":
    """This machine."""
    from deploy.benchmarking.report import environment
    from deploy.online.plan_file import Machine

    return Machine.of(environment(threads))


def search(args: argparse.Namespace, trials: "Trials", scores: "Scores", exact_px: int | None) -> "list[Trial]":
    """What was found with settings that a plan may have. InputError for frames without objects."""
    from deploy.online.planning import NONE, Search

    if math.isnan(scores.value(trials(NONE))):
        raise InputError(
            f"{args.data}: none of the {len(scores.clips)} frames has a reference object, so scores say nothing; give "
            "frames with objects, other --classes or a lower --score_threshold"
        )

    # a bar of unknown length: what is tried next depends on what was found
    shown = iter(console.progress(count(), "try", unit="setting"))

    def trial(plan: "Plan") -> "Trial":
        next(shown)
        return trials(plan)

    return Search(trial, scores.value, args.budgets, exact_px).run()


def with_best_threads(
    args: argparse.Namespace, dataset: Dataset, clips: "list[list[KnownFrame]]", engines: "Engines", trial: "Trial"
) -> "tuple[Engines, float, int | None]":
    """(the engines with as many threads as are fastest, how much faster whole runs are than one stage after the other,
    the number of threads). Stages overlap, so one thread for each engine may be faster than all cores.
    """
    from deploy.online.timing import measured

    tried: dict[int | None, Engines] = {args.threads: engines}
    if args.threads is None and len(os.sched_getaffinity(0)) > 1:
        tried[1] = load_engines(argparse.Namespace(**{**vars(args), "threads": 1}), dataset, clips)[0]
    fps: dict[int | None, list[float]] = {threads: [] for threads in tried}
    for _ in range(_TURNS_OF_THREADS):
        for threads, some in tried.items():
            fps[threads] += measured(some, [trial.plan], clips, args.cameras, turns=1)[trial.plan].fps
    speed = {threads: float(np.median(some)) for threads, some in fps.items()}
    best = args.threads
    if speed.get(1, 0.0) > _WORTH_OTHER_THREADS * speed[args.threads]:
        best = 1
        console.tell(f"one thread for each engine is faster: {speed[1]:.1f} frames a second, not {speed[None]:.1f}")
    return tried[best], speed[best] * trial.frame_ms / 1000, best


def warn_if_busy(fps: Sequence[tuple[float, float, float]]) -> None:
    """Say where the turns (slowest, median, fastest) of most plans differ: something else ran, and the plan is of what
    it left.
    """
    usual = float(np.median([fastest / slowest for slowest, _, fastest in fps]))
    if usual > _BUSY:
        console.warn(
            f"the fastest turn is {usual:.1f} times as fast as the slowest: this machine does something else, and "
            "speeds are what that leaves; plan again when it is idle"
        )


def decide(
    target: "Target",
    finalists: "list[Trial]",
    scores: "Scores",
    engines: "Engines",
    clips: "list[list[KnownFrame]]",
    tried: int,
    judged: tuple[str, str],
    about: "tuple[Machine, Files]",
) -> "PlanRecord":
    """Measure the finalists of so many settings, and choose. judged: (metric, reference)."""
    from deploy.online.plan_file import PlanRecord, Point
    from deploy.online.planning import Measured, choose, pareto
    from deploy.online.timing import measured, spread

    timings = measured(engines, [trial.plan for trial in finalists], clips, target.cameras)
    points = [Measured(one, scores.value(one), spread(timings[one.plan].fps)) for one in finalists]
    warn_if_busy([point.fps for point in points])
    choice = choose(points, target, scores, METRIC_NAMES[judged[0]])

    def point(one: Measured) -> Point:
        ms = {stage: spread(ms) for stage, ms in timings[one.trial.plan].ms.items()}
        return Point(one.trial.plan, one.fps, scores.estimate(one.trial), ms)

    front = tuple(point(one) for one in pareto(points))
    names = tuple(dict.fromkeys(scores.clips))
    frames = len(scores.clips)
    return PlanRecord(
        target, choice.answer, choice.verdict, *judged, frames, names, tried, point(choice.point), front, *about
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
    cli.suggest([*command, "--save_dir", "runs/cameras"])


def hold(
    record: "PlanRecord",
    engines: "Engines",
    clips: "list[list[KnownFrame]]",
    trials: "Trials",
    scores: "Scores",
    save_dir: Path,
) -> None:
    """Measure the chosen point of a plan on other frames; write check.json."""
    from deploy.online.plan_report import held_against
    from deploy.online.timing import measured, spread

    plan, promised = record.chosen.plan, record.chosen
    score = scores.estimate(trials(plan))
    slowest, fps, fastest = spread(measured(engines, [plan], clips, record.target.cameras)[plan].fps)
    found = {"score": score.json_value(), "interval_95": score.json_interval(), "frames": len(scores.clips)}
    planned: dict[str, Any] = {"frames_per_second": promised.fps[1], "score": promised.score.json_value()}
    planned |= {"interval_95": promised.score.json_interval(), "frames": record.frames}
    found["frames_per_second"] = [slowest, fps, fastest]
    write_json(save_dir / "check.json", {"measured": found, "planned": planned})
    held = held_against(score, len(scores.clips), promised.score, record.frames)
    judged = f"{METRIC_NAMES[record.metric]} {held}"
    speed = f"{fps:.2f} frames a second ({slowest:.2f}-{fastest:.2f}), planned {promised.fps[1]:.2f}"
    print(f"{judged}; {speed} ({fps / promised.fps[1] - 1:+.0%})")


if __name__ == "__main__":
    cli.run(main, make_parser())
