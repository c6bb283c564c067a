"""What a good figure of a validation is: against a random order, and against importance that never changes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from regenhance_data.importance.static_map import static_maps
from regenhance_data.metrics.ranking import TOP_SHARES, frame_agreement, mean_agreement, rankings
from regenhance_data.metrics.resampling import mean_difference
from regenhance_data.predictors.samples import Samples

RANDOM_RANKING = sum(TOP_SHARES) / (1 + len(TOP_SHARES))  # no correlation, and a top share holds that share of the top


class StaticMapAgreement(NamedTuple):
    """The agreement of the static map with the true importance. mean: as `mean_agreement`. rankings: of each frame,
    NaN where there is none. clips: that of each frame.
    """

    mean: dict[str, float]
    rankings: np.ndarray
    clips: list[str]


def static_map_agreement(validation: Samples) -> StaticMapAgreement | None:
    """That of the static map on these frames; None where there is none, and where nothing can be ranked."""
    clips = [frame.clip for frame in validation.frames]
    static = static_maps(validation.dataset, clips)
    rows = [
        frame_agreement(static[clip], truth) if static and static[clip].shape == truth.shape else None
        for clip, truth in zip(clips, validation.importance(), strict=True)
    ]
    mean = mean_agreement(rows)
    return StaticMapAgreement(mean, rankings(rows), clips) if mean["frames"] else None


def verdict(result: Mapping[str, Any], per_frame: np.ndarray, static: StaticMapAgreement | None) -> str:
    """One line on the `ranking` of a validation. per_frame: the ranking of each frame. static: that of the static map,
    None where there is none. The predictor is better where the whole 95 % interval of the paired difference says so.
    """
    if not result["frames"]:
        return "cannot tell: in none of these frames do macroblocks differ in importance; take frames with objects"
    known = f"1 is the order of the true importance, {RANDOM_RANKING:.2f} a random order"
    if static is None:
        return f"ranking {result['ranking']:.3f}: {known}"
    both = ~np.isnan(per_frame) & ~np.isnan(static.rankings)
    clips = [clip for clip, is_ranked in zip(static.clips, both, strict=True) if is_ranked]
    lead, (low, high) = mean_difference(per_frame[both], static.rankings[both], clips)
    says = "better than" if low > 0 else "worse than" if high < 0 else "not shown to be better than"
    answer = "is not" if high < 0 else "is not shown to be"
    cost = "" if low > 0 else f", which costs nothing: this predictor {answer} worth its time"
    return (
        f"ranking {result['ranking']:.3f}: {says} the static map ({static.mean['ranking']:.3f}, the mean importance of "
        f"the training frames){cost}; the difference is {lead:+.3f} (95 %: {low:+.3f} to {high:+.3f}); {known}"
    )
