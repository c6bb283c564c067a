"""Whether enhancement is worth it: a verdict in one line, from the counts of the frames.

An answer is given where the whole 95 % interval (bootstrap over blocks of neighbouring frames) is on one side of the
threshold; otherwise the verdict is that one cannot tell. docs/results.md explains the thresholds.
"""

from collections.abc import Mapping, Sequence

from regenhance_data.dataset.statistics import FEWEST_TEST_FRAMES
from regenhance_data.evaluation.bootstrap import (
    ALL_ENHANCED,
    NOTHING_ENHANCED,
    Counts,
    CurvePoint,
    FrameScores,
    objects_of,
)
from regenhance_data.evaluation.record import CANNOT_TELL, NOT_WORTH_IT, WORTH_IT, Estimate, Verdict
from regenhance_data.importance.static_map import STATIC

VERDICT_BUDGET = 0.1  # the verdict is about the evaluated budget that is nearest to it
LEAST_GAIN = 0.05  # of the score, by enhancing everything: the paper's cameras gain 0.10 to 0.19
LEAST_SHARE = 0.5  # of that gain, by enhancing the macroblocks within the budget
FEWEST_FRAMES = FEWEST_TEST_FRAMES
FEWEST_FRAMES_WITH_OBJECTS = 10


def judge(frames: Sequence[Counts], scores: FrameScores, curve: str) -> Verdict:
    """The verdict on a curve from the counts of each frame."""
    reason = too_little(frames, scores.metric.name)
    if reason:
        return Verdict(CANNOT_TELL, reason, "use a smaller --every or more video")
    budget = verdict_budget([point.budget for point in frames[0] if point.curve == curve])
    gain, share = scores.gain_and_share(frames, CurvePoint(curve, budget))
    none = scores.value([frame[NOTHING_ENHANCED] for frame in frames])
    answer = side_of(gain, LEAST_GAIN)
    if answer != WORTH_IT:
        return Verdict(answer, gain_text(none, gain, answer), "use more frames" if answer == CANNOT_TELL else "")
    answer = side_of(share, LEAST_SHARE)
    only = "only " if answer == NOT_WORTH_IT else ""
    low, high = share.interval_95
    brings = f"bring {only}{100 * share.value:.0f} % of the gain ({low:.2f}–{high:.2f})"
    text = f"{100 * budget:g} % of the macroblocks {brings}"
    text += against_static(frames, scores, curve, budget)
    return Verdict(answer, text, "use more frames" if answer == CANNOT_TELL else "")


def against_static(frames: Sequence[Counts], scores: FrameScores, curve: str, budget: float) -> str:
    """Whether a predictor's curve is above the static map's at a budget, to end a verdict; "" where neither is there.

    It is above where the whole interval of the paired difference is.
    """
    point, static = CurvePoint(curve, budget), CurvePoint(STATIC, budget)
    if curve in ("oracle", STATIC) or not {point, static} <= frames[0].keys():
        return ""
    lead = scores.lead_at(frames, point, static)
    low, high = lead.interval_95
    text = f"{lead.value:+.3f} ({lead.signed_interval})"
    if low > 0:
        return f"; its score is {text} above that of the static map"
    answer = "is not worth its time" if high < 0 else "is not shown to be worth its time"
    return (
        f"; but this predictor {answer}: its score is {text} beside that of the static map, the mean importance of the "
        "training frames, which costs nothing (deploy/export_static_map.py makes it a predictor)"
    )


def verdict_budget(budgets: Sequence[float]) -> float:
    """The evaluated budget that the verdict is about."""
    return min(budgets, key=lambda budget: abs(budget - VERDICT_BUDGET))


def too_little(frames: Sequence[Counts], metric_name: str) -> str | None:
    """Why these frames are too few, or have too few objects, for any verdict; None where they are not."""
    with_objects = sum(objects_of(frame[ALL_ENHANCED]) > 0 for frame in frames)
    if not with_objects:
        return f"none of the {len(frames)} frames has a reference object, so {metric_name} says nothing"
    if len(frames) < FEWEST_FRAMES:
        return f"{len(frames)} frames, fewer than {FEWEST_FRAMES}"
    if with_objects < FEWEST_FRAMES_WITH_OBJECTS:
        return f"only {with_objects} of {len(frames)} frames have an object, fewer than {FEWEST_FRAMES_WITH_OBJECTS}"
    return None


def side_of(estimate: Estimate, threshold: float) -> str:
    """WORTH_IT where the whole interval is at or above the threshold, NOT_WORTH_IT where it is below."""
    low, high = estimate.interval_95
    return WORTH_IT if low >= threshold else NOT_WORTH_IT if high < threshold else CANNOT_TELL


_ENOUGH = {
    WORTH_IT: "",
    NOT_WORTH_IT: f", less than the {LEAST_GAIN:g} that count",
    CANNOT_TELL: f", perhaps less than the {LEAST_GAIN:g} that count",
}


def helping(gains: Mapping[str, Estimate]) -> tuple[str, str]:
    """(the answer, a text) on ways to enhance, from how much more each scores than nothing enhanced.

    One helps where its gain is at least LEAST_GAIN, and does not where it is less, as `side_of` says. Enhancement is
    worth it where one of them helps, and not where none may.
    """
    answers = {name: side_of(gain, LEAST_GAIN) for name, gain in gains.items()}
    text = "; ".join(
        f"{name} gains {gain.value:+.3f} ({gain.signed_interval}){_ENOUGH[answers[name]]}"
        for name, gain in gains.items()
    )
    return next(one for one in (WORTH_IT, CANNOT_TELL, NOT_WORTH_IT) if one in answers.values()), text


def gain_text(none: float, gain: Estimate, answer: str) -> str:
    """Why the gain by enhancing everything is too small, or uncertain. none: the score with nothing enhanced."""
    if answer == NOT_WORTH_IT:
        return f"{none:.3f} with nothing enhanced"
    low, high = gain.interval_95
    return (
        f"{none:.3f} with nothing enhanced, and enhancing everything gains {gain.value:.3f} ({low:.2f}–{high:.2f}), "
        f"which may be less than {LEAST_GAIN}"
    )
