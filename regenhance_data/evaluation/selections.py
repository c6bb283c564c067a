"""The selections of all curves on a frame, and the detector's results on their composites."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from regenhance_data.detectors.base import BATCH, Detector
from regenhance_data.evaluation.bootstrap import ALL_ENHANCED, NOTHING_ENHANCED, CurvePoint
from regenhance_data.importance.frame_pairs import FramePair
from regenhance_data.regions.composite import composite
from regenhance_data.regions.selection import select_macroblocks

Selections = dict[CurvePoint, list[np.ndarray]]  # selected macroblocks bool [rows, cols], one or several for a point


def select_for_curves(
    maps: Mapping[str, Sequence[np.ndarray]], budgets: Sequence[float], shape: tuple[int, int]
) -> Selections:
    """The selections at each point: of each curve's maps float [rows, cols] at each budget, of none, and of all."""
    selections: Selections = {NOTHING_ENHANCED: [np.zeros(shape, bool)], ALL_ENHANCED: [np.ones(shape, bool)]}
    for curve, scores in maps.items():
        for budget in budgets:
            selections[CurvePoint(curve, budget)] = [select_macroblocks(some, budget) for some in scores]
    return selections


def detect_composites(
    detector: Detector, pair: FramePair, selections: Sequence[np.ndarray], known: Mapping[bytes, Any] | None = None
) -> dict[bytes, Any]:
    """The detector's result on the composite of each selection, by the selection's bytes.

    The detector runs once for equal selections, and not at all for those whose results are `known`.
    """
    found: dict[bytes, Any] = dict(known or {})
    missing = [item for item in {some.tobytes(): some for some in selections}.items() if item[0] not in found]
    for start in range(0, len(missing), BATCH):
        keys, batch = zip(*missing[start : start + BATCH], strict=True)
        images = np.stack([composite(pair.hr, pair.upsampled, selected, pair.grid) for selected in batch])
        found.update(zip(keys, detector.detect(images), strict=True))
    return found
