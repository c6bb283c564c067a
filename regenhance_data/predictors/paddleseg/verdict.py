"""What a good figure of a validation is: against a random order, and against importance that never changes."""

from collections.abc import Mapping
from typing import Any

from regenhance_data.importance.static_map import static_maps
from regenhance_data.metrics.ranking import TOP_SHARES, agreement
from regenhance_data.predictors.samples import Samples

RANDOM_RANKING = sum(TOP_SHARES) / (1 + len(TOP_SHARES))  # no correlation, and a top share holds that share of the top
_LEAST_LEAD = 0.01


def static_map_agreement(validation: Samples) -> dict[str, float] | None:
    """The `agreement` of the static map on these frames; None where there is none, and where nothing can be ranked."""
    static = static_maps(validation.dataset, [frame.clip for frame in validation.frames])
    truths = zip(validation.frames, validation.importance(), strict=True)
    pairs = ((static[frame.clip], truth) for frame, truth in truths if static)
    result = agreement(pair for pair in pairs if pair[0].shape == pair[1].shape)
    return result if result["frames"] else None


def verdict(result: Mapping[str, Any], static: Mapping[str, float] | None) -> str:
    """One line on the `ranking` of a validation. static: the agreement of the static map, None where there is none."""
    if not result["frames"]:
        return "cannot tell: in none of these frames do macroblocks differ in importance; take frames with objects"
    known = f"1 is the order of the true importance, {RANDOM_RANKING:.2f} a random order"
    if static is None:
        return f"ranking {result['ranking']:.3f}: {known}"
    lead = result["ranking"] - static["ranking"]
    says = "better than" if lead > _LEAST_LEAD else "worse than" if lead < -_LEAST_LEAD else "no better than"
    cost = "" if lead > _LEAST_LEAD else ", which costs nothing: this predictor is not worth its time"
    return (
        f"ranking {result['ranking']:.3f}: {says} the static map ({static['ranking']:.3f}, the mean importance of the "
        f"training frames){cost}; {known}"
    )
