"""Ways to get detections from LR frames: nothing enhanced, everything, or some of it, chosen in different ways."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from deploy.online.cameras import CameraFrame, random_importance
from deploy.online.loop import Detects, Enhances, Importance, Loop, Round
from deploy.online.plan import Plan
from regenhance_data.detections import Detections
from regenhance_data.detectors.filtering import not_suppressed
from regenhance_data.errors import InputError
from regenhance_data.evaluation.bootstrap import ALL_ENHANCED, NOTHING_ENHANCED, CurvePoint
from regenhance_data.grid import MacroblockGrid
from regenhance_data.importance.static_map import STATIC
from regenhance_data.regions.cache import NO_CACHE
from regenhance_data.regions.composite import upsample_frame
from regenhance_data.regions.coverage import box_coverage

SLICE_SHARE = 0.6  # of the frame's sides: 2 × 2 slices that overlap by a fifth of the frame
MERGE_IOU = 0.5
ORACLE, DIFFERENCE, RANDOM = "oracle", "difference", "random"
BOXES, SLICES, EVERY_NTH = "boxes, two passes", "slices", "every n-th frame whole"
FOUND_LAST = "boxes of the last frame"
REGIONS, CACHED = "predictor", "predictor + cache"
FED, FED_CACHED = "predictor + feedback", "predictor + feedback + cache"
OURS = (REGIONS, CACHED, FED, FED_CACHED)


@dataclass(frozen=True)
class KnownFrame(CameraFrame):
    """A frame with what some strategies know of it: its original HR frame, and its importance; None where unknown."""

    original: np.ndarray | None = None
    importance: np.ndarray | None = None


class Outcome(NamedTuple):
    """What a strategy found in a frame, the milliseconds of its stages, and the shares of the frame's macroblocks that
    it enhanced and that it kept from earlier frames, and of its pixels that super-resolution saw.
    """

    found: Any
    ms: Mapping[str, float]
    enhanced: float
    kept: float
    seen: float


class Strategy(Protocol):
    """Called with each frame of a clip in order; one object for each clip."""

    def __call__(self, frame: CameraFrame) -> Outcome: ...


@dataclass(frozen=True)
class Parts:
    """What strategies are made of.

    plan: for those that select macroblocks. regions: enhances as the plan says; whole: whole frames. predict: the
    predictor's importance, None without one; is_flat: it chooses at random. static: the static map of each clip, {}
    without.
    """

    plan: Plan
    grid: MacroblockGrid
    regions: Enhances
    whole: Enhances
    detector: Detects
    predict: Importance | None
    static: Mapping[str, np.ndarray] = field(default_factory=dict)
    is_flat: bool = False

    def loop(self, importance: Importance, enhancer: Enhances | None = None, **changes: Any) -> "LoopStrategy":
        """The loop with another plan."""
        plan = replace(self.plan, **changes)
        return LoopStrategy(Loop(plan, self.grid, importance, enhancer or self.regions, self.detector), self.grid)


def strategies(parts: Parts, budgets: Sequence[float], knows: Sequence[str], boxes: bool) -> dict[CurvePoint, Strategy]:
    """New strategies, for one clip. knows: which of ORACLE and DIFFERENCE the frames allow. boxes: whether the detector
    finds boxes.
    """
    found: dict[CurvePoint, Strategy] = {
        NOTHING_ENHANCED: parts.loop(_nothing, mode="none"),
        ALL_ENHANCED: parts.loop(_nothing, parts.whole, mode="whole"),
    }
    ways: dict[str, Importance] = {RANDOM: random_importance(parts.grid.shape)}
    if boxes:
        found[CurvePoint(SLICES, 0.0)] = Slices(parts)
        ways[BOXES] = _boxes(parts)
    if DIFFERENCE in knows:
        ways[DIFFERENCE] = _difference(parts)
    if ORACLE in knows:
        ways[ORACLE] = _oracle
    if parts.static:
        ways[STATIC] = lambda frames: np.stack([parts.static[frame.camera] for frame in frames])
    if parts.predict and not parts.is_flat:  # which is the same as random
        ways[REGIONS] = parts.predict
    for budget in budgets:
        found[CurvePoint(EVERY_NTH, budget)] = EveryNth(parts, budget)
        for name, importance in ways.items():
            found[CurvePoint(name, budget)] = parts.loop(importance, budget=budget, cache=NO_CACHE, feedback=0.0)
        if boxes:
            known = parts.loop(_zeros(parts.grid), budget=budget, cache=NO_CACHE, feedback=1.0)
            found[CurvePoint(FOUND_LAST, budget)] = known
        if not parts.predict:
            continue
        if parts.plan.cache.threshold and not parts.is_flat:
            found[CurvePoint(CACHED, budget)] = parts.loop(parts.predict, budget=budget, feedback=0.0)
        if boxes and parts.plan.feedback:
            found[CurvePoint(FED, budget)] = parts.loop(parts.predict, budget=budget, cache=NO_CACHE)
            if parts.plan.cache.threshold:
                found[CurvePoint(FED_CACHED, budget)] = parts.loop(parts.predict, budget=budget)
    return found


class LoopStrategy:
    """The loop, one round after the other."""

    def __init__(self, loop: Loop, grid: MacroblockGrid) -> None:
        self._loop, self._grid = loop, grid

    def __call__(self, frame: CameraFrame) -> Outcome:
        one = self._loop.step([frame])
        (item,) = one.done
        seen = item.area / (self._grid.height * self._grid.width)
        return Outcome(item.found, one.ms, float(item.selected.mean()), float(item.cached.mean()), seen)


class EveryNth:
    """Whole-frame super-resolution on so many frames as the budget allows, evenly spread; nothing on the others."""

    def __init__(self, parts: Parts, budget: float) -> None:
        self._whole = parts.loop(_nothing, parts.whole, mode="whole")
        self._none = parts.loop(_nothing, mode="none")
        self._budget, self._count = budget, 0

    def __call__(self, frame: CameraFrame) -> Outcome:
        before, self._count = self._count, self._count + 1
        is_due = ceil(self._count * self._budget) > ceil(before * self._budget)
        return (self._whole if is_due else self._none)(frame)


class Slices:
    """Sliced inference (Akyon et al., "Slicing Aided Hyper Inference", ICIP 2022) on the upsampled frame.

    The detector runs on the frame and on 2 × 2 overlapping slices of it, each interpolated to the frame's size; its
    results are merged by NMS within each class.
    """

    def __init__(self, parts: Parts) -> None:
        self._detector, self._scale = parts.detector, parts.whole.scale

    def __call__(self, frame: CameraFrame) -> Outcome:
        one = Round([frame])
        with one.timed("upsample"):
            image = upsample_frame(frame.lr, self._scale)
            height, width = image.shape[:2]
            tall, wide = round(height * SLICE_SHARE), round(width * SLICE_SHARE)
            corners = [(top, left) for top in (0, height - tall) for left in (0, width - wide)]
            parts = [image[top : top + tall, left : left + wide] for top, left in corners]
            views = [image, *(cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR) for part in parts)]
        with one.timed("detect"):
            whole, *sliced = [self._detector.detect(view[None])[0] for view in views]
            shrink = np.array([wide / width, tall / height] * 2, np.float32)
            moved = [
                replace(found, boxes=found.boxes * shrink + np.array([left, top] * 2, np.float32))
                for found, (top, left) in zip(sliced, corners, strict=True)
            ]
            found = merged([whole, *moved])
        return Outcome(found, one.ms, 0.0, 0.0, 0.0)


def merged(several: Sequence[Detections]) -> Detections:
    """Detections of one frame from several, without those that overlap a better one of their class by MERGE_IOU."""
    boxes, scores, labels = (
        np.concatenate([vars(one)[name] for one in several]) for name in ("boxes", "scores", "labels")
    )
    kept = not_suppressed(boxes, scores, labels, MERGE_IOU)
    return Detections(boxes[kept], scores[kept], labels[kept])


def _nothing(frames: Sequence[CameraFrame]) -> np.ndarray:
    raise AssertionError("importance of frames that need none")


def _zeros(grid: MacroblockGrid) -> Importance:
    return lambda frames: np.zeros((len(frames), *grid.shape), np.float32)


def _oracle(frames: Sequence[CameraFrame]) -> np.ndarray:
    (frame,) = frames
    if not isinstance(frame, KnownFrame) or frame.importance is None:
        raise InputError(f"frame {frame.number} of {frame.camera} has no importance; run tools/make_importance.py")
    return frame.importance[None]


def _difference(parts: Parts) -> Importance:
    hr_grid = parts.grid.scaled(parts.whole.scale)

    def difference(frames: Sequence[CameraFrame]) -> np.ndarray:
        (frame,) = frames
        assert isinstance(frame, KnownFrame)
        assert frame.original is not None
        apart = cv2.absdiff(frame.original, upsample_frame(frame.lr, parts.whole.scale))
        return hr_grid.mean(apart.astype(np.float32).mean(-1))[None]

    return difference


def _boxes(parts: Parts) -> Importance:
    """Boxes found on the upsampled frame: two passes, as DDS (Du et al., SIGCOMM 2020)."""
    hr_grid = parts.grid.scaled(parts.whole.scale)

    def coverage(frames: Sequence[CameraFrame]) -> np.ndarray:
        images = np.stack([upsample_frame(frame.lr, parts.whole.scale) for frame in frames])
        return np.stack([box_coverage(found, hr_grid) for found in parts.detector.detect(images)])

    return coverage
