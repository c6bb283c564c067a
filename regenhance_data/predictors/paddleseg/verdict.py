"""What a good figure of a validation is: against a random order, and against importance that never changes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from regenhance_data.dataset.learnt_frames import learnt_frames
from regenhance_data.dataset.statistics import FEWEST_TEST_FRAMES
from regenhance_data.importance.static_map import static_maps
from regenhance_data.metrics.ranking import TOP_SHARES, frame_agreement, mean_agreement, rankings
from regenhance_data.metrics.resampling import mean_difference
from regenhance_data.predictors.samples import Samples

RANDOM_RANKING = sum(TOP_SHARES) / (1 + len(TOP_SHARES))  # no correlation, and a top share holds that share of the top
_LEAST_LEAD = 0.01  # of the ranking; less is no reason to run a network


class StaticMapAgreement(NamedTuple):
    """The agreement of the static map with the true importance. mean: as `mean_agreement`. rankings: of each frame,
    float64 [frames], NaN where there is none. clips: that of each frame.
    """

    mean: dict[str, float]
    rankings: np.ndarray
    clips: list[str]


class Lead(NamedTuple):
    """How much higher the ranking of a predictor is than the static map's, in the mean over `frames` frames."""

    value: float
    interval_95: tuple[float, float]
    frames: int

    def to_dict(self) -> dict[str, Any]:
        """In plain values; an interval that so few frames do not give is None."""
        is_known = not np.isnan(self.interval_95).any()
        return {**self._asdict(), "interval_95": list(self.interval_95) if is_known else None}


def static_map_agreement(validation: Samples) -> StaticMapAgreement | None:
    """That of the static map on these frames; None where there is none, where it is made of some of these frames, and
    where nothing can be ranked.
    """
    if learnt_frames(validation.dataset, "train", validation.frames):
        return None
    clips = [frame.clip for frame in validation.frames]
    static = static_maps(validation.dataset, clips)
    rows = [
        frame_agreement(static[clip], truth) if static and static[clip].shape == truth.shape else None
        for clip, truth in zip(clips, validation.importance(), strict=True)
    ]
    mean = mean_agreement(rows)
    return StaticMapAgreement(mean, rankings(rows), clips) if mean["frames"] else None


def lead_over(static: StaticMapAgreement, per_frame: np.ndarray) -> Lead | None:
    """That of a predictor whose rankings are per_frame, float64 [frames]; None where no frame has both."""
    both = ~np.isnan(per_frame) & ~np.isnan(static.rankings)
    if not both.any():
        return None
    clips = [clip for clip, is_ranked in zip(static.clips, both, strict=True) if is_ranked]
    value, interval = mean_difference(per_frame[both], static.rankings[both], clips)
    return Lead(value, interval, len(clips))


def verdict(result: Mapping[str, Any], static: StaticMapAgreement | None, lead: Lead | None) -> str:
    """One line on the `ranking` of a validation. static, lead: of the static map, None where there is none.

    Better than the map is what leads by 0.01 or more with its whole 95 % interval above 0.
    """
    if not result["frames"]:
        return "cannot tell: in none of these frames do macroblocks differ in importance; take frames with objects"
    known = f"1 is the order of the true importance, {RANDOM_RANKING:.2f} a random order"
    if static is None or lead is None:
        return f"ranking {result['ranking']:.3f}: {known}"
    map_is = f"the static map ({static.mean['ranking']:.3f}, the mean importance of the training frames)"
    if lead.frames < FEWEST_TEST_FRAMES:
        return (
            f"ranking {result['ranking']:.3f}: cannot tell from {lead.frames} frames, fewer than {FEWEST_TEST_FRAMES}, "
            f"whether it is better than {map_is}; {known}"
        )
    low, high = lead.interval_95
    is_better = low > 0 and lead.value >= _LEAST_LEAD
    says = "better than" if is_better else "worse than" if high < 0 else "not shown to be better than"
    answer = "is not" if high < 0 else "is not shown to be"
    cost = "" if is_better else f", which costs nothing: this predictor {answer} worth its time"
    apart = f"the difference is {lead.value:+.3f} (95 %: {low:+.3f} to {high:+.3f})"
    f1 = "; whether F1 is higher too, tools/evaluate.py measures" if is_better else ""
    return f"ranking {result['ranking']:.3f}: {says} {map_is}{cost}; {apart}; {known}{f1}"
