"""A plan for people: the front as a table and as a plot, the answer in a sentence, plan.html."""

import html
import math
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from deploy.online.plan import Plan
from deploy.online.plan_file import PlanRecord, Point
from deploy.online.planning import DO_NOT_ENHANCE, NOT_REACHABLE, Target
from regenhance_data import plots
from regenhance_data.console import text_table
from regenhance_data.evaluation.record import Estimate
from regenhance_data.metrics.metric import METRIC_NAMES
from regenhance_data.reports import page

_ROUNDING = 1e-9


def in_words(plan: Plan) -> str:
    """The settings of a plan."""
    if plan.mode == "none":
        words = ["nothing enhanced"]
    elif plan.mode == "whole":
        words = ["whole frames"]
    else:
        words = [f"{100 * plan.budget:g}% as {plan.mode}", f"halo {plan.halo_px}"]
        words += [f"cache {plan.cache.threshold:g}"] * (plan.cache.threshold > 0)
        words += [f"feedback {plan.feedback:g}"] * plan.feeds_back
        words += [f"predicted every {plan.reuse.every}"] * (plan.reuse.every not in (None, 1))
    return ", ".join([*words, *[f"detector every {plan.detect_every} frames"] * (plan.detect_every > 1)])


def sentence(record: PlanRecord) -> str:
    """The answer."""
    chosen, name = record.chosen, METRIC_NAMES[record.metric]
    fps = chosen.fps[1]
    each = f" of each of {record.target.cameras} cameras" if record.target.cameras > 1 else ""
    speed = f"{fps / record.target.cameras:.2f} frames a second{each}"
    score = f"{name} {with_interval(chosen.score, record.frames)} against {record.reference}"
    if record.answer == NOT_REACHABLE:
        most, rest = (speed, score) if record.target.fps is not None else (score, speed)
        target = target_in_words(record.target, name)
        return f"{target}: {NOT_REACHABLE}: at most {most}, with {in_words(chosen.plan)} ({rest})"
    does = f"{in_words(chosen.plan)}: {speed}, {score}"
    if record.answer == DO_NOT_ENHANCE:
        return f"{DO_NOT_ENHANCE}: {record.verdict.reason}; {does}"
    is_asked = record.target.fps is not None or record.target.f1 is not None
    met = f"{target_in_words(record.target, name)}: met by " if is_asked else ""
    return f"{met}{does}. Does it help? {record.verdict.text}"


def with_interval(score: Estimate, frames: int) -> str:
    """A score, and what so many frames tell of it."""
    interval = f"95 %: {score.interval_text} from {frames} frames" if score.has_interval else f"{frames} frames"
    return f"{score.text} ({interval})" if score.is_known else score.text


def held_against(found: Estimate, frames: int, planned: Estimate, planned_frames: int) -> str:
    """A score beside the planned one, each of so many frames, and whether so few tell them apart."""
    both = f"{with_interval(found, frames)}, planned {with_interval(planned, planned_frames)}"
    if not (found.has_interval and planned.has_interval):
        return both
    half = [(high - low) / 2 for low, high in (found.interval_95, planned.interval_95)]
    difference, told = found.value - planned.value, math.hypot(*half)
    is_told = abs(difference) > told + _ROUNDING
    return f"{both}: {difference:+.3f}, {'more' if is_told else 'no more'} than chance explains (±{told:.3f})"


def target_in_words(target: Target, metric: str) -> str:
    """What was asked for."""
    if target.fps is not None:
        return f"{target.fps:g} frames a second" + f" of each of {target.cameras} cameras" * (target.cameras > 1)
    if target.f1 is None:
        return f"the best {metric}"
    return f"{target.f1:.0%} of the best {metric}" if target.of_best else f"{metric} of {target.f1:g}"


def limits(ms: Mapping[str, float]) -> str:
    """What bounds the speed, from the milliseconds of each stage (Amdahl's law)."""
    total = sum(ms.values())
    slowest = max(ms, key=lambda stage: ms[stage])
    least, rest = max(ms[slowest], 1e-9), max(total - ms[slowest], 1e-9)
    return (
        f"The stage {slowest!r} takes {ms[slowest] / max(total, 1e-9):.0%} of the {total:.1f} ms of a frame. It limits "
        f"the loop: if all other stages took no time, a frame would be done {total / least:.1f} times as fast; if "
        f"{slowest!r} took none, {total / rest:.1f} times."
    )


def _head(record: PlanRecord) -> list[str]:
    each = "frames/s of each camera" if record.target.cameras > 1 else "frames/s"
    return ["settings", each, "slowest-fastest", METRIC_NAMES[record.metric], "95 %", *record.chosen.ms]


def _cells(record: PlanRecord, point: Point) -> list[str]:
    slowest, fps, fastest = (fps / record.target.cameras for fps in point.fps)
    score = [point.score.text, point.score.interval_text]
    ms = [f"{middle:.1f}" for _, middle, _ in point.ms.values()]
    return [in_words(point.plan), f"{fps:.2f}", f"{slowest:.2f}-{fastest:.2f}", *score, *ms]


def front_table(record: PlanRecord) -> str:
    """The front from the slowest point on, and what its numbers are."""
    rows = [_cells(record, point) for point in record.front]
    return (
        f"{text_table([_head(record), *rows])}\n{METRIC_NAMES[record.metric]} against {record.reference}; frames/s of "
        "whole runs with decoding; milliseconds of each stage for a frame that is searched, one stage after the other"
    )


def front_figure(record: PlanRecord) -> Figure:
    """Score over frames a second of each camera, with the chosen point and the target."""
    name, cameras = METRIC_NAMES[record.metric], record.target.cameras
    figure, axes = plots.new_plot((8, 4.2), "frames a second" + " of each camera" * (cameras > 1), name)
    known = [point for point in record.front if point.score.is_known]
    if not known:
        plots.note(axes, "no frame has a reference object")
        return figure
    x = [point.fps[1] / cameras for point in known]
    intervals = [point.score.interval_95 for point in known]
    plots.line_with_interval(
        axes, x, [point.score.value for point in known], intervals, color=plots.BLUE, label="front"
    )
    axes.plot(
        [record.chosen.fps[1] / cameras],
        [record.chosen.score.value],
        **{"marker": "o", "markersize": 11, "linestyle": "", "color": plots.ORANGE, "label": "chosen", "zorder": 3},
    )
    if record.target.fps is not None and record.target.fps < 2 * max(x):  # else the front would be a line at the edge
        axes.axvline(record.target.fps, color=plots.TEXT_COLOUR, linewidth=1, linestyle=(0, (4, 3)), label="target")
    axes.set_xlim(left=0)
    axes.legend(frameon=False)
    return figure


def write_plan_page(path: Path, record: PlanRecord) -> None:
    """Write plan.html."""
    chosen = record.chosen
    stages = [
        [stage, f"{middle:.2f}", f"{least:.2f}-{greatest:.2f}"]
        for stage, (least, middle, greatest) in chosen.ms.items()
    ]
    machine, answer, settings = record.machine, sentence(record), in_words(chosen.plan)
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    about = [
        ["frames", f"{record.frames} of {', '.join(record.clips)}; {record.tried} settings tried"],
        ["reference", record.reference],
        ["machine", f"{machine.processor}, {machine.cores} cores, GPU: {machine.gpu or 'none'}; {packages}"],
    ]
    page.write_page(
        path,
        f"A plan for {target_in_words(record.target, METRIC_NAMES[record.metric])}",
        "plan_template.html",
        answer=html.escape(f"{answer[:1].upper()}{answer[1:]}."),
        chart=page.chart(front_figure(record), "score against frames a second of the points on the front"),
        front=page.html_table(_head(record), [_cells(record, point) for point in record.front], strong=[settings]),
        chosen=html.escape(settings),
        stages=page.html_table(["stage", "milliseconds", "least-greatest"], stages),
        limits=html.escape(limits({stage: middle for stage, (_, middle, _) in chosen.ms.items()})),
        about=page.html_table([], about),
    )
