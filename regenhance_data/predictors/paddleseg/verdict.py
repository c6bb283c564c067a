"""What a good figure of a validation is: against a random order, and against importance that never changes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from regenhance_data.metrics.ranking import TOP_SHARES, agreement
from regenhance_data.predictors.samples import Samples

RANDOM_RANKING = sum(TOP_SHARES) / (1 + len(TOP_SHARES))  # no correlation, and a top share holds that share of the top
_LEAST_LEAD = 0.01


def fixed_map_ranking(validation: Samples) -> float | None:
    """The `ranking` of a map that is the same for every frame: the mean importance of the training frames.

    None where there is no train.txt or no importance of its frames, and where nothing can be ranked.
    """
    dataset, sums = validation.dataset, dict[tuple[int, ...], np.ndarray]()
    if not (dataset.root / "train.txt").is_file():
        return None
    frames = dataset.split_frames("train")
    for clip in {frame.clip for frame in frames}:
        if not dataset.importance_path(clip).is_file():
            continue
        known = dataset.importance(clip)
        for frame in frames:
            if frame.clip == clip and frame.number in known:
                cells = known[frame.number].astype(np.float64)
                sums[cells.shape] = sums.get(cells.shape, 0) + cells
    result = agreement((sums[truth.shape], truth) for truth in validation.importance() if truth.shape in sums)
    return result["ranking"] if result["frames"] else None


def verdict(result: Mapping[str, Any], fixed: float | None) -> str:
    """One line on the `ranking` of a validation; `fixed`: that of a map that never changes."""
    if not result["frames"]:
        return "cannot tell: in none of these frames do macroblocks differ in importance; take frames with objects"
    known = f"1 is the order of the true importance, {RANDOM_RANKING:.2f} a random order"
    if fixed is None:
        return f"ranking {result['ranking']:.3f}: {known}"
    lead = result["ranking"] - fixed
    says = "better than" if lead > _LEAST_LEAD else "worse than" if lead < -_LEAST_LEAD else "no better than"
    return (
        f"ranking {result['ranking']:.3f}: {says} a map that never changes ({fixed:.3f}, the mean importance of the "
        f"training frames); {known}"
    )
