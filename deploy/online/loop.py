"""The loop: rounds of one frame of each camera through prediction, selection, enhancement and detection."""

import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from deploy.online.cameras import CameraFrame
from deploy.online.pacing import Pacing
from deploy.online.plan import Plan
from regenhance_data.detections import Detections
from regenhance_data.grid import MacroblockGrid
from regenhance_data.parallel.threads import ahead
from regenhance_data.regions.cache import MacroblockCache
from regenhance_data.regions.composite import paste_regions, upsample_frame
from regenhance_data.regions.coverage import found_coverage
from regenhance_data.regions.masks import masked_macroblocks
from regenhance_data.regions.rectangles import Region, cover
from regenhance_data.regions.selection import select_across

_ENHANCING = ("upsample", "select", "enhance", "paste")
STAGES = ("predict", *_ENHANCING, "detect")
_AHEAD = 2  # rounds that wait between two stages
T = TypeVar("T")
Importance = Callable[[Sequence[CameraFrame]], np.ndarray]  # of frames of one size, float32 [N, rows, cols]


def threads_of(plan: Plan) -> dict[str, tuple[str, ...]]:
    """The stages of each thread, which is named after one of them.

    With feedback, a frame is selected when the one before has been searched, so one thread does both.
    """
    if plan.feeds_back:
        return {"predict": ("predict",), "enhance": (*_ENHANCING, "detect")}
    return {"predict": ("predict",), "enhance": _ENHANCING, "detect": ("detect",)}


class Enhances(Protocol):
    """As RegionEnhancer (see regenhance_data/upscalers/enhancement.py)."""

    mode: str
    halo_px: int
    scale: int

    def enhance(self, lr: np.ndarray, regions: Sequence[Region]) -> list[np.ndarray]:
        """The HR pixels of each region's inner rectangle."""

    def pixels_seen(self, regions: Sequence[Region], lr_hw: tuple[int, int]) -> int:
        """How many LR pixels super-resolution sees for them."""


@dataclass
class NoEnhancer:
    """In place of an enhancer where a plan enhances nothing."""

    scale: int
    mode: str = "none"
    halo_px: int = 0

    def enhance(self, lr: np.ndarray, regions: Sequence[Region]) -> list[np.ndarray]:
        return []

    def pixels_seen(self, regions: Sequence[Region], lr_hw: tuple[int, int]) -> int:
        return 0


class Detects(Protocol):
    """As Detector: Detections, or class maps, of frames uint8 [N, H, W, 3] RGB."""

    def detect(self, frames: np.ndarray) -> list[Any]: ...


@dataclass
class EnhancedFrame:
    """What the loop made of one frame of a camera.

    importance: float32 [rows, cols]. selected, cached: macroblocks that were enhanced anew, and that were kept from
    earlier frames, bool [rows, cols]. image: what the detector sees, uint8 RGB [H, W, 3] of the HR size. area: LR
    pixels that super-resolution saw. found: what the detector found in it. plain, found_plain: the frame with nothing
    enhanced and what is found there, only where both are compared.
    """

    frame: CameraFrame
    importance: np.ndarray
    selected: np.ndarray
    cached: np.ndarray
    image: np.ndarray
    area: int = 0
    found: Any = None
    plain: np.ndarray | None = None
    found_plain: Any = None


@dataclass
class Round:
    """One frame of each camera, and the milliseconds that each stage took for all of them.

    found_s: when the detector was done, in seconds as time.time() has them. removed: cameras that were removed since
    the last round. Each stage first drops what it keeps of them; a camera of the same id in this round is a new one.
    """

    frames: list[CameraFrame]
    done: list[EnhancedFrame] = field(default_factory=list)
    ms: dict[str, float] = field(default_factory=dict)
    found_s: float = 0.0
    removed: Collection[str] = ()

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the time of the block to a stage."""
        started = time.perf_counter()
        yield
        self.ms[stage] = self.ms.get(stage, 0.0) + 1e3 * (time.perf_counter() - started)


def _read(
    rounds: Iterable[list[CameraFrame]],
    clock: Callable[[], float],
    removed: Callable[[], Collection[str]] = tuple,
) -> Iterator[Round]:
    """The rounds, each with the time that its frames took, as a clock measures it in seconds: the stage `read`."""
    began = clock()
    for frames in rounds:
        yield Round(frames, ms={"read": 1e3 * (clock() - began)}, removed=removed())
        began = clock()


class _OfShot(Generic[T]):
    """Something of each camera that holds for one shot. new: makes it, with nothing known."""

    def __init__(self, new: Callable[[], T]) -> None:
        self._new = new
        self._known: dict[str, tuple[int, T]] = {}

    def __call__(self, frame: CameraFrame) -> T:
        if frame.camera not in self._known or self._known[frame.camera][0] != frame.shot:
            self._known[frame.camera] = frame.shot, self._new()
        return self._known[frame.camera][1]

    def forget(self, cameras: Iterable[str]) -> None:
        for camera in cameras:
            self._known.pop(camera, None)


class Loop:
    """Detections in the frames of cameras, of which only some macroblocks are enhanced, by a plan.

    grid: of the LR frames. importance: predicts it; not called in the modes 'whole' and 'none'. compares: whether the
    detector also runs on the frames with nothing enhanced. A loop is for one run, and keeps what it knows of a camera
    until that is removed.
    """

    def __init__(
        self,
        plan: Plan,
        grid: MacroblockGrid,
        importance: Importance,
        enhancer: Enhances,
        detector: Detects,
        compares: bool = False,
    ) -> None:
        self._plan, self._grid, self._hr_grid = plan, grid, grid.scaled(enhancer.scale)
        self._importance, self._enhancer, self._detector, self._compares = importance, enhancer, detector, compares
        self._floor = plan.floor
        self._last_of: _OfShot[list[np.ndarray]] = _OfShot(list)
        self._found_of: _OfShot[list[Detections]] = _OfShot(list)
        self._reuse_of = _OfShot(lambda: plan.reuse.start())
        self._cache_of = _OfShot(lambda: MacroblockCache(grid, enhancer.scale, plan.cache))

    def run(self, rounds: Iterable[list[CameraFrame]]) -> Generator[Round, None, None]:
        """The rounds, in order, each stage in a thread of its own."""
        found: Iterable[Round] = _read(rounds, time.perf_counter)
        for stage in self._stages:
            found = map(stage, ahead(found, _AHEAD))
        return ahead(found, _AHEAD)

    def run_live(
        self,
        rounds: Iterable[list[CameraFrame]],
        close: Callable[[], None],
        removed: Callable[[], Collection[str]] = tuple,
    ) -> Generator[Round, None, None]:
        """As `run`, of frames that are lost or grow old while they wait: each round is taken just before the stages can
        go on with it. close: ends the rounds; called when no more of them are wanted. removed: called after each round
        of frames; the cameras that were removed before it.
        """
        stages = self._stages
        pacing = Pacing(len(stages) + 1)
        # the time that its thread works: else it waits for cameras
        found: Iterable[Round] = _read(pacing.admitted(rounds), time.thread_time, removed)
        for number, stage in enumerate(stages):
            found = map(pacing.timed(number, stage), ahead(found, 1))

        def end() -> None:
            pacing.close()
            close()

        for one in ahead(found, 1, end):
            with pacing.stage(len(stages)):  # whatever the caller does with it
                yield one

    @property
    def _stages(self) -> tuple[Callable[[Round], Round], ...]:
        """The work of each of `threads_of`."""
        if self._plan.feeds_back:
            return self.predict, lambda one: self.detect(self.enhance(one))
        return self.predict, self.enhance, self.detect

    @property
    def budget(self) -> float:
        """The share of the macroblocks that rounds spend now."""
        return self._plan.budget

    def spend(self, budget: float) -> None:
        """From the next round on, another budget, and no more than that as the floor."""
        self._plan = replace(self._plan, budget=budget, floor=min(self._floor, budget))

    def step(self, frames: list[CameraFrame]) -> Round:
        """One round after the other, each stage on its own: for measurements."""
        return self.detect(self.enhance(self.predict(Round(frames))))

    def predict(self, one: Round) -> Round:
        """Fill in the importance of frames that are due; others keep the last one of their camera."""
        self._last_of.forget(one.removed)
        self._reuse_of.forget(one.removed)
        with one.timed("predict"):
            due = [frame for frame in one.frames if self._is_due(frame)]
            for frame, importance in zip(due, self._importance(due) if due else (), strict=True):
                self._last_of(frame)[:] = [importance]
        nothing = np.zeros(self._grid.shape, np.float32)
        for frame in one.frames:
            empty = np.zeros(self._grid.shape, bool)
            importance = (self._last_of(frame) or [nothing])[0] * ~self._masked(frame)
            one.done.append(EnhancedFrame(frame, importance, empty, empty, frame.lr))
        return one

    def _masked(self, frame: CameraFrame) -> np.ndarray:
        return masked_macroblocks(frame.masks, (frame.rgb.shape[0], frame.rgb.shape[1]), self._grid)

    def _is_due(self, frame: CameraFrame) -> bool:
        if not self._plan.selects:
            return False
        return self._reuse_of(frame).is_due(frame.lr)

    def enhance(self, one: Round) -> Round:
        """Fill in the images, with the selected macroblocks enhanced and those pasted that are kept."""
        self._found_of.forget(one.removed)
        self._cache_of.forget(one.removed)
        with one.timed("upsample"):
            for item in one.done:
                item.image = upsample_frame(item.frame.lr, self._enhancer.scale)
                item.plain = item.image.copy() if self._compares else None
        with one.timed("select"):
            self._select(one)
        for item in one.done:
            with one.timed("select"):
                regions = cover(item.selected, self._grid, self._enhancer.halo_px)
                item.area = self._enhancer.pixels_seen(regions, (self._grid.height, self._grid.width))
            with one.timed("enhance"):
                pixels = self._enhancer.enhance(item.frame.lr, regions)
            with one.timed("paste"):
                adds = self._keeps and item.selected.any()
                upsampled = item.image.copy() if adds else item.image
                paste_regions(item.image, regions, pixels, item.selected, self._hr_grid.mb_size)
                if item.cached.any():
                    self._cache_of(item.frame).paste(item.image, item.cached)
                if adds:
                    self._cache_of(item.frame).add(item.frame.lr, upsampled, item.image, item.selected)
        return one

    def _select(self, one: Round) -> None:
        plan = self._plan  # `spend` may change it meanwhile
        masked = [self._masked(item.frame) for item in one.done]
        if not plan.selects:
            for item, some in zip(one.done, masked, strict=True):
                item.selected = ~some if plan.mode == "whole" else np.zeros(self._grid.shape, bool)
            return
        excluded = masked
        if self._keeps:
            for item, some in zip(one.done, masked, strict=True):
                item.cached = self._cache_of(item.frame).usable(item.frame.lr) & ~some
            excluded = [item.cached | some for item, some in zip(one.done, masked, strict=True)]
        maps, own = [self._wanted(item) for item in one.done], [item.frame.floor for item in one.done]
        weights = [item.frame.weight for item in one.done]
        floor: float | list[float] = plan.floor
        if any(share is not None for share in own):
            floor = [plan.floor if share is None else share for share in own]
        for item, some in zip(one.done, select_across(maps, plan.budget, floor, excluded, weights), strict=True):
            item.selected = some

    def _wanted(self, item: EnhancedFrame) -> np.ndarray:
        """How much each macroblock counts in the selection: float32 [rows, cols]."""
        last = self._found_of(item.frame)
        if not last:
            return item.importance
        return item.importance + self._plan.feedback * found_coverage(last[0], self._hr_grid)

    @property
    def _keeps(self) -> bool:
        return self._plan.cache.threshold > 0 and self._plan.selects

    def detect(self, one: Round) -> Round:
        """Fill in what the detector finds."""
        with one.timed("detect"):
            found = self._detector.detect(np.stack([item.image for item in one.done]))
        for item, some in zip(one.done, found, strict=True):
            item.found = some
            if self._plan.feeds_back:
                self._found_of(item.frame)[:] = [some]
        if self._compares:
            plain = [item.plain for item in one.done if item.plain is not None]
            for item, some in zip(one.done, self._detector.detect(np.stack(plain)), strict=True):
                item.found_plain = some
        one.found_s = time.time()
        return one
