"""The search for a plan: which settings to try, the front of those, the one that meets a target."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from deploy.online.plan import Plan
from deploy.online.trials import Trial
from regenhance_data.errors import InputError
from regenhance_data.evaluation.bootstrap import ALL_ENHANCED, FrameScores
from regenhance_data.evaluation.record import CANNOT_TELL, NOT_WORTH_IT, WORTH_IT, Verdict
from regenhance_data.evaluation.verdict import helping, too_little
from regenhance_data.metrics.pareto import pareto_front
from regenhance_data.regions.cache import NO_CACHE, CachePolicy
from regenhance_data.regions.reuse import ReusePolicy

TIE = 0.005  # scores that differ by no more are equal: the cheaper plan is taken
HALOS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)
THRESHOLDS = (10.0, 8.0, 6.0, 3.0)  # of the cache
PREDICT_EVERY, DETECT_EVERY = (2, 4), (2, 3, 5)
FEEDBACK = (0.3, 3.0)  # weights: of a predictor that knows the camera, and above all importance
NONE, WHOLE = Plan(mode="none", cache=NO_CACHE), Plan(mode="whole", cache=NO_CACHE)
_LEAST_KEPT = 0.02  # of the macroblocks; a cache that keeps fewer changes nothing
_LEAST_SAVING = 0.05  # of a frame's time, for which rarer prediction is tried
_UNSURE = 0.85  # a speed that is expected is this share of the true one at worst, or its inverse
_MOST_MEASURED = 7
_AS_FAST = 0.95  # of the fastest point's speed
NOT_REACHABLE, DO_NOT_ENHANCE, REACHED = "not reachable on this machine", "do not enhance", "reachable"


@dataclass(frozen=True)
class Target:
    """What is asked for: so many frames a second of each of `cameras`, or a score of at least `f1`, a share of the best
    one's if `of_best`; neither: the front, and on it the best score. InputError for what cannot be asked.
    """

    fps: float | None = None
    cameras: int = 1
    f1: float | None = None
    of_best: bool = False

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps < 1e6:
            raise InputError(f"--target_fps {self.fps:g}: expected frames a second, above 0")
        if self.f1 is not None and not 0 < self.f1 <= 1:
            given = f"{100 * self.f1:g}%" if self.of_best else f"{self.f1:g}"
            raise InputError(f"--target_f1 {given}: expected a score above 0, at most 1, or a share as 95%")
        if not 1 <= self.cameras <= 1000:
            raise InputError(f"--cameras {self.cameras}: expected a number from 1 to 1000")


class Search:
    """Tries plans, from coarse to fine: what is found for one setting holds for the next ones.

    trial: runs a plan. value: its score. budgets: to choose from. exact_px: the halo with which regions are enhanced as
    in the whole frame; None for an upscaler of whole frames alone. finds_boxes: whether there may be feedback.
    """

    def __init__(
        self,
        trial: Callable[[Plan], Trial],
        value: Callable[[Trial], float],
        budgets: Sequence[float],
        exact_px: int | None,
        finds_boxes: bool,
    ) -> None:
        self._trial, self._value, self._budgets, self._exact_px = trial, value, sorted(set(budgets)), exact_px
        self._finds_boxes = finds_boxes

    def run(self) -> list[Trial]:
        """Try all that may be on the front; those of it that a plan may be."""
        found = [self._trial(NONE), self._trial(WHOLE)]
        if self._exact_px is not None:
            found += self._of_regions(self._exact_px)
        found += self._predicted_rarely(found)
        for trial in self._front(found):
            found += [self._trial(replace(trial.plan, detect_every=every)) for every in DETECT_EVERY]
        return [trial for trial in found if self._keeps_soundly(trial)]

    def _keeps_soundly(self, trial: Trial) -> bool:
        """Whether a trial is not worse than the same without a cache."""
        fresh = self._trial(replace(trial.plan, cache=NO_CACHE))
        return self._value(trial) >= self._value(fresh) - TIE

    def _of_regions(self, exact_px: int) -> list[Trial]:
        middle = len(self._budgets) // 2
        exact = Plan(self._budgets[middle], mode="regions", halo_px=exact_px, cache=NO_CACHE)
        halo_px = self.least_halo(exact)
        fresh = [self._trial(replace(exact, halo_px=halo_px))]
        for budget in self._budgets[middle + 1 :]:  # more as long as it brings more
            fresh.append(self._trial(replace(fresh[0].plan, budget=budget)))
            if self._value(fresh[-1]) <= self._value(fresh[-2]) + TIE:
                break
        fresh += [self._trial(replace(fresh[0].plan, budget=budget)) for budget in self._budgets[:middle]]
        if self._finds_boxes:
            fresh += self._fed(fresh, exact.budget)
        return fresh + self._cached(fresh)

    def _fed(self, fresh: Sequence[Trial], budget: float) -> list[Trial]:
        """Trials of the front in which what was found last has a part, with the weight that is best at a budget, where
        that is better there than none.
        """
        weights = [0.0, *FEEDBACK]
        (plan,) = (trial.plan for trial in fresh if trial.plan.budget == budget)
        values = [self._value(self._trial(replace(plan, feedback=weight))) for weight in weights]
        if max(values) <= values[0] + TIE:
            return []
        weight = weights[int(np.argmax(values))]
        return [self._trial(replace(trial.plan, feedback=weight)) for trial in self._front(fresh)]

    def least_halo(self, exact: Plan) -> int:
        """The smallest halo whose score equals that of the exact one, found by bisection."""
        smaller = [px for px in HALOS if px < (exact.halo_px or 0)]
        enough = self._value(self._trial(exact)) - TIE
        low, high = 0, len(smaller)
        while low < high:
            middle = (low + high) // 2
            if self._value(self._trial(replace(exact, halo_px=smaller[middle]))) >= enough:
                high = middle
            else:
                low = middle + 1
        return smaller[low] if low < len(smaller) else exact.halo_px or 0

    def _cached(self, fresh: Sequence[Trial]) -> list[Trial]:
        """Trials with a cache that are not worse than those without; its threshold is the largest such one."""
        best = max(fresh, key=self._value)
        for threshold in THRESHOLDS:
            cache = CachePolicy(threshold)
            first = self._trial(replace(best.plan, cache=cache))
            if first.kept < _LEAST_KEPT:
                return []
            if self._value(first) >= self._value(best) - TIE:
                pairs = [(one, self._trial(replace(one.plan, cache=cache))) for one in self._front(fresh)]
                return [kept for one, kept in pairs if self._value(kept) >= self._value(one) - TIE]
        return []

    def _predicted_rarely(self, found: Sequence[Trial]) -> list[Trial]:
        """Trials of the front in which importance is predicted for some frames only, where that saves time."""
        more = []
        for trial in self._front(found):
            if trial.ms.get("predict", 0.0) >= _LEAST_SAVING * sum(trial.ms.values()):
                more += [self._trial(replace(trial.plan, reuse=ReusePolicy(every))) for every in PREDICT_EVERY]
        return more

    def _front(self, found: Sequence[Trial]) -> list[Trial]:
        return front_of(found, self._value)


def front_of(trials: Sequence[Trial], value: Callable[[Trial], float]) -> list[Trial]:
    """The trials that score better than all faster ones, by more than TIE, from the fastest on."""
    return pareto_front(trials, lambda trial: trial.frame_ms, value, TIE)


def to_measure(
    trials: Sequence[Trial], value: Callable[[Trial], float], target: Target, speedup: float = 1.0
) -> list[Trial]:
    """The trials whose speed is worth a measurement, at most _MOST_MEASURED: the ends of the front, those of it that
    come first where the target is met, or evenly spaced ones without a target, and nothing enhanced.

    speedup: of whole runs, whose stages overlap, over one stage after the other.
    """
    front = front_of(trials, value)
    plain = front_of([trial for trial in trials if trial.plan.mode == "none"], value)
    if target.fps is not None:
        enough_ms = 1000 * speedup / (target.fps * target.cameras)
        near = [trial for trial in front[::-1] if _UNSURE * trial.frame_ms <= enough_ms]
        slower = [trial for trial in front if _UNSURE * trial.frame_ms > enough_ms][:1]
        without = [trial for trial in plain[::-1] if trial.frame_ms <= _UNSURE * enough_ms]
    elif target.f1 is not None:
        least = target.f1 * (value(front[-1]) if target.of_best else 1.0)
        near = [trial for trial in front if value(trial) >= least]
        slower = [trial for trial in front[::-1] if value(trial) < least][:1]
        without = [trial for trial in plain if value(trial) >= least]
    else:
        near, slower, without = front[:: -(-len(front) // (_MOST_MEASURED - 4))], [], plain[::-1]
    wanted = [front[-1], front[0], *without[:1], *plain[:1], *slower, *near]
    of_plan = {trial.plan: trial for trial in trials}
    # what was found last is in no plan whose enhancement and detection overlap: the same without it may be faster
    pairs = [(trial.plan, replace(trial.plan, feedback=0.0)) for trial in wanted]
    return [of_plan[plan] for plan in dict.fromkeys(chain(*pairs)) if plan in of_plan][:_MOST_MEASURED]


@dataclass(frozen=True)
class Measured:
    """A trial whose speed was measured: frames a second of all cameras together, (slowest, median, fastest) turn."""

    trial: Trial
    value: float
    fps: tuple[float, float, float]


@dataclass(frozen=True)
class Choice:
    """The point that is chosen. answer: REACHED, NOT_REACHABLE or DO_NOT_ENHANCE. verdict: whether enhancement is worth
    it there.
    """

    point: Measured
    answer: str
    verdict: Verdict


def choose(points: Sequence[Measured], target: Target, scores: FrameScores) -> Choice:
    """The point that meets the target: for a score the fastest, else the best score, of equal ones the fastest.

    Where nothing enhanced is as good, or as fast, that is chosen. Where no point meets the target, the one that is
    nearest to it.
    """
    meeting = [point for point in points if _meets(point, target, points)]
    if not meeting:
        best = max(points, key=lambda point: point.fps[1] if target.fps else point.value)
        return Choice(best, NOT_REACHABLE, Verdict(CANNOT_TELL, "no setting meets the target"))
    plain = [point for point in meeting if point.trial.plan.mode == "none"]
    if target.f1 is not None:
        best = max(meeting, key=lambda point: point.fps[1])
        fast = [point for point in plain if point.fps[1] >= _AS_FAST * best.fps[1]]
        if fast:
            none = max(fast, key=lambda point: point.fps[1])
            text = f"{scores.metric.name} {none.value:.3f} with nothing enhanced is enough"
            return Choice(none, DO_NOT_ENHANCE, Verdict(NOT_WORTH_IT, text))
        text = "with nothing enhanced the target is not met, or not as fast"
        reason = _too_little(best, scores)
        return Choice(best, REACHED, Verdict(CANNOT_TELL, f"{reason}; {text}") if reason else Verdict(WORTH_IT, text))
    most = max(point.value for point in meeting)
    best = max((point for point in meeting if point.value >= most - TIE), key=lambda point: point.fps[1])
    if not plain:
        return Choice(best, REACHED, Verdict(WORTH_IT, "with nothing enhanced the target is not met"))
    none = max(plain, key=lambda point: point.value)
    verdict = _verdict(none, best, scores)
    is_as_good = verdict.answer == NOT_WORTH_IT
    return Choice(none if is_as_good else best, DO_NOT_ENHANCE if is_as_good else REACHED, verdict)


def _meets(point: Measured, target: Target, points: Sequence[Measured]) -> bool:
    if target.fps is not None:
        # a slow turn must not make a setting that does more look like the only one that is fast enough
        turn = 1 if point.trial.plan.mode == "none" else 0
        return point.fps[turn] >= target.fps * target.cameras
    if target.f1 is None:
        return True
    most = max(other.value for other in points) if target.of_best else 1.0
    return point.value >= target.f1 * most


def _too_little(point: Measured, scores: FrameScores) -> str | None:
    return too_little([{ALL_ENHANCED: counts} for counts in point.trial.counts], scores.metric.name)


def _verdict(none: Measured, best: Measured, scores: FrameScores) -> Verdict:
    """Whether a point is better than the one with nothing enhanced, as `side_of` tells."""
    metric = scores.metric.name
    text = f"{metric} {none.value:.3f} with nothing enhanced"
    is_none = best.trial.plan.mode == "none"
    if reason := _too_little(best, scores):
        plans = "" if is_none else f", {best.value:.3f} with the plan"
        return Verdict(CANNOT_TELL, f"{reason}; {text}{plans}", "use more frames")
    if is_none:
        return Verdict(NOT_WORTH_IT, f"no enhancement at this speed is better than {text}")
    answer, helps = helping({"it": scores.lead(best.trial.counts, none.trial.counts)})
    text += f", {best.value:.3f} with {'the best setting' if answer == NOT_WORTH_IT else 'the plan'}"
    return Verdict(answer, f"{text}: {helps}", "use more frames" if answer == CANNOT_TELL else "")
