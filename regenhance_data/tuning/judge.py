"""An upscaler judged by the detector: its results on upscaled frames against those on the originals."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from regenhance_data.detectors.base import Detector
from regenhance_data.evaluation.bootstrap import (
    ALL_ENHANCED,
    NOTHING_ENHANCED,
    CurvePoint,
    FrameScores,
    bootstrap_scores,
    objects_of,
)
from regenhance_data.evaluation.record import Estimate, Scores
from regenhance_data.importance.frame_pairs import FramePair
from regenhance_data.metrics.metric import metric_of

_TIMED = 10  # runs, of which the median counts
NOTHING = "nothing (bilinear)"  # the name of the upsampled frame
Upscale = Callable[[np.ndarray], np.ndarray]  # uint8 [N, h, w, 3] RGB → uint8 [N, h·scale, w·scale, 3]


@dataclass(frozen=True)
class Compared:
    """Results of upscalers on the same frames. scores: each is a curve with the budget 1; `none` is the upsampled
    frame, `all` the originals. counts: of each frame, by the name of the upscaler or NOTHING.
    """

    scores: Scores
    counts: Mapping[str, Sequence[np.ndarray]]
    frame_scores: FrameScores

    def lead(self, name: str, over: str) -> Estimate:
        """How much more an upscaler scores than another one, or NOTHING (a paired bootstrap over blocks of frames)."""
        return self.frame_scores.lead(self.counts[name], self.counts[over])

    def verdict(self, name: str, others: Iterable[str]) -> str:
        """Whether an upscaler is better than NOTHING and than the others, in words, with how much it leads."""
        if not self.scores.none.is_known:
            return "has no object in the test frames to be judged by"
        leads = {other: self.lead(name, other) for other in (NOTHING, *others)}
        how = ", ".join(f"{lead.value:+.3f} ({lead.signed_interval}) over {other}" for other, lead in leads.items())
        if not all(lead.has_interval for lead in leads.values()):
            return f"has too few test frames to be judged by: {how}"
        if all(lead.interval_95[0] > 0 for lead in leads.values()):
            return f"is better on the test frames: {how}"
        return f"is not shown to be better than each of the others on the test frames: {how}"


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

    def compare(self, upscalers: Mapping[str, Upscale]) -> Compared | None:
        """The results of upscalers by name; None without frames."""
        if not self._pairs:
            return None
        upsampled = iter([pair.upsampled for pair in self._pairs])
        counts = {NOTHING: self._counts(lambda _: next(upsampled)[None])}
        counts |= {name: self._counts(upscale) for name, upscale in upscalers.items()}
        points = [NOTHING_ENHANCED, *(CurvePoint(name, 1.0) for name in upscalers), ALL_ENHANCED]
        of_frames = zip(*counts.values(), self._of_reference, strict=True)
        frames = [dict(zip(points, of_frame, strict=True)) for of_frame in of_frames]
        scores = bootstrap_scores(frames, self._metric.score)
        return Compared(scores, counts, FrameScores(self._metric, [""] * len(frames)))

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
