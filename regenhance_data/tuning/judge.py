"""An upscaler judged by the detector: its results on upscaled frames against those on the originals."""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from regenhance_data.detectors.base import Detector
from regenhance_data.evaluation.bootstrap import (
    ALL_ENHANCED,
    NOTHING_ENHANCED,
    CurvePoint,
    bootstrap_scores,
    objects_of,
)
from regenhance_data.evaluation.record import Scores
from regenhance_data.importance.frame_pairs import FramePair
from regenhance_data.metrics.metric import metric_of

_TIMED = 10  # runs, of which the median counts
Upscale = Callable[[np.ndarray], np.ndarray]  # uint8 [N, h, w, 3] RGB → uint8 [N, h·scale, w·scale, 3]


class Judge:
    """Scores upscalers on the frames of some pairs by F1, for segmentation by mIoU. metric: which, a key of
    METRIC_NAMES. objects: the detections on the originals (for segmentation, pixels).
    """

    def __init__(self, detector: Detector, pairs: Sequence[FramePair]) -> None:
        self._detector, self._pairs = detector, pairs
        self._metric = metric_of(detector.task, detector.counted_classes())
        self.metric = self._metric.key
        self._reference = [detector.detect(pair.hr[None])[0] for pair in pairs]
        self._of_reference = [self._metric.count(found, found) for found in self._reference]
        self.objects = int(sum(map(objects_of, self._of_reference)))

    def score(self, upscale: Upscale) -> float:
        """The score of an upscaler, in [0, 1]; NaN where the originals have no object."""
        return float(self._metric.score(np.sum(self._counts(upscale), 0))) if self.objects else math.nan

    def psnr(self, upscale: Upscale) -> float:
        """The mean PSNR against the originals, in dB."""
        return float(np.mean([cv2.PSNR(pair.hr, upscale(pair.lr[None])[0]) for pair in self._pairs]))

    def compare(self, upscalers: Mapping[str, Upscale]) -> Scores | None:
        """The scores of upscalers by name, each a curve with the budget 1, of the upsampled frame (`none`) and of the
        originals (`all`); None without frames.
        """
        if not self._pairs:
            return None
        upsampled = iter([pair.upsampled for pair in self._pairs])
        of_each = {
            NOTHING_ENHANCED: self._counts(lambda _: next(upsampled)[None]),
            **{CurvePoint(name, 1.0): self._counts(upscale) for name, upscale in upscalers.items()},
            ALL_ENHANCED: self._of_reference,
        }
        frames = [dict(zip(of_each, counts, strict=True)) for counts in zip(*of_each.values(), strict=True)]
        return bootstrap_scores(frames, self._metric.score)

    def _counts(self, upscale: Upscale) -> list[np.ndarray]:
        """The counts of each frame."""
        made = (self._detector.detect(upscale(pair.lr[None]))[0] for pair in self._pairs)
        return [self._metric.count(found, wanted) for found, wanted in zip(made, self._reference, strict=True)]


def median_ms(upscale: Upscale, lr: np.ndarray) -> float:
    """The median time of an LR frame uint8 [h, w, 3], in milliseconds, after one run that is not counted."""
    times = []
    for _ in range(_TIMED + 1):
        began = time.perf_counter()
        upscale(lr[None])
        times.append(1000 * (time.perf_counter() - began))
    return float(np.median(times[1:]))
