"""A watch on the predictor: how much of the true importance it finds in what its cameras see now."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from deploy.online.cameras import CameraFrame
from deploy.online.loop import Importance, Round
from deploy.online.upscalers import load_online_upscaler
from regenhance_data.console import tell, warn
from regenhance_data.detectors.kinds import is_program
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError, one_line
from regenhance_data.grid import MacroblockGrid
from regenhance_data.importance.formula_spec import DEFAULT_FORMULA
from regenhance_data.importance.frame_pairs import FramePair
from regenhance_data.metrics.ranking import top_recall
from regenhance_data.regions.composite import upsample_frame
from regenhance_data.regions.masks import masked_macroblocks
from regenhance_data.upscalers.settings import UpscalerSettings

LATEST, LEAST = 20, 5  # frames of a camera in its mean; as many before it says anything
STALE, WELL = 0.75, 0.85  # of the recall in validation: below the first it is stale, above the second it has recovered
_STALE_CHANCE, _WELL_CHANCE = 0.1, 0.15  # without it: how far above a random choice, of the way to 1
_LAST_S = 10.0  # at the end of a run, for frames that wait
_LOWEST_PRIORITY = 19
Truth = Callable[[CameraFrame], np.ndarray]  # float32 [rows, cols]


def validation_recall(
    predict: Importance, truth: Truth, frames: Sequence[CameraFrame], budgets: Iterable[float]
) -> tuple[tuple[float, float], ...]:
    """(budget, mean recall of the predictor at it) for each budget; empty where no frame has importance to rank."""
    known = [(predict([one])[0], truth(one)) for one in frames]
    found = []
    for budget in sorted(budgets):
        recalls = [recall for predicted, true in known if (recall := top_recall(predicted, true, budget)) is not None]
        if recalls:
            found.append((budget, float(np.mean(recalls))))
    return tuple(found)


@dataclass(frozen=True)
class Expected:
    """What recall a predictor should have. budget: the share of the macroblocks at which it is taken. formula: of the
    true importance. validated: the recall in validation, None where it is not known.
    """

    budget: float
    formula: str = DEFAULT_FORMULA
    validated: float | None = None

    @property
    def limits(self) -> tuple[float, float]:
        """(below it a predictor is stale, above it has recovered)."""
        if self.validated is not None:
            return STALE * self.validated, WELL * self.validated
        missing = 1 - self.budget
        return self.budget + _STALE_CHANCE * missing, self.budget + _WELL_CHANCE * missing

    def __str__(self) -> str:
        if self.validated is not None:
            return f"was {self.validated:.2f} in validation"
        return f"a random choice has {self.budget:.2f}"


class Recall(NamedTuple):
    """Of the predictor on one camera: the mean of its latest frames, and of how many."""

    mean: float
    frames: int


class Watched:
    """The recall of one camera: the mean of its latest frames."""

    def __init__(self, camera: str, expected: Expected) -> None:
        self._camera, self._expected = camera, expected
        self._recalls: deque[float] = deque(maxlen=LATEST)
        self.is_stale = False

    @property
    def recall(self) -> Recall | None:
        """None before the first frame."""
        return Recall(float(np.mean(self._recalls)), len(self._recalls)) if self._recalls else None

    def add(self, recall: float) -> str:
        """One more frame. What changed, in words; "" for nothing."""
        self._recalls.append(recall)
        mean, (stale, well) = float(np.mean(self._recalls)), self._expected.limits
        was_stale = self.is_stale
        if len(self._recalls) >= LEAST:
            self.is_stale = mean < (well if was_stale else stale)
        if self.is_stale == was_stale:
            return ""
        said = f"the predictor of camera {self._camera} is {'stale' if self.is_stale else 'good again'}"
        retrain = "; retrain with frames of this camera (see docs/predictors.md)" if self.is_stale else ""
        return f"{said}: recall {mean:.2f}, {self._expected}{retrain}"


class Watch:
    """Takes the recall of the predictor on every n-th frame of each camera, in a thread of the lowest priority.

    load: called in that thread, so that what it starts has its priority too; makes what gives the true importance of a
    frame. predict: the predictor. One frame of each camera waits at most, the newest; a frame that is not watched is no
    loss. Where something fails, one line says that the watch is off.
    """

    def __init__(
        self, load: Callable[[], Truth], predict: Importance, grid: MacroblockGrid, every: int, expected: Expected
    ) -> None:
        self._load, self._predict, self._grid, self._every, self._expected = load, predict, grid, every, expected
        self._seen: dict[str, int] = {}
        self._measured: dict[str, int] = {}
        self._waiting: dict[str, CameraFrame] = {}
        self._watched: dict[str, Watched] = {}
        self._of_cameras: list[dict[str, Any]] = [self._seen, self._measured, self._waiting, self._watched]
        self._news, self._is_closed = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin, for what is added from now on."""
        self._thread.start()

    def add(self, one: Round) -> None:
        """One more round; never waits."""
        with self._news:
            for camera, of_camera in product(one.removed, self._of_cameras):
                of_camera.pop(camera, None)
            for frame in one.frames:
                number = self._seen.get(frame.camera, 0)
                self._seen[frame.camera] = number + 1
                if number % self._every == 0 and not self._is_closed:
                    self._waiting[frame.camera] = frame
                    self._news.notify_all()

    def recalls(self) -> dict[str, Recall]:
        """That of each camera that has one."""
        return {key: some.recall for key, some in list(self._watched.items()) if some.recall is not None}

    def close(self, at_once: bool = False) -> None:
        """No more frames. Those that wait are still measured for some seconds, unless it is to end `at_once`, which
        waits for nothing.
        """
        with self._news:
            self._is_closed = True
            if at_once:
                self._waiting.clear()
            self._news.notify_all()
        if not at_once:
            self._thread.join(_LAST_S)
            with self._news:
                self._waiting.clear()

    def _run(self) -> None:
        with suppress(OSError, AttributeError):  # of this thread alone, on Linux
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        try:
            truth = self._load()
            while (frame := self._next()) is not None:
                self._measure(frame, truth)
        except Exception as error:  # whatever it is, the loop goes on
            warn(f"--watch: the watch on the predictor is off: {one_line(error)}")
        with self._news:
            self._is_closed = True
            self._waiting.clear()

    def _next(self) -> CameraFrame | None:
        """A frame of the camera that was measured least; None at the end."""
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._is_closed)
            if not self._waiting:
                return None
            return self._waiting.pop(min(self._waiting, key=lambda camera: self._measured.get(camera, 0)))

    def _measure(self, frame: CameraFrame, truth: Truth) -> None:
        counts = ~masked_macroblocks(frame.masks, (frame.rgb.shape[0], frame.rgb.shape[1]), self._grid)
        predicted, true = self._predict([frame])[0][counts], truth(frame)[counts]
        recall = top_recall(predicted, true, self._expected.budget) if true.size else None
        with self._news:
            if frame.camera not in self._seen:  # it was removed meanwhile
                return
            self._measured[frame.camera] = self._measured.get(frame.camera, 0) + 1
            if recall is None:  # nothing there, so nothing to find
                return
            camera = self._watched.setdefault(frame.camera, Watched(frame.camera, self._expected))
        if said := camera.add(recall):
            (warn if camera.is_stale else tell)(said)


def truth_by(
    upscaler: UpscalerSettings, detector: DetectorSettings, named: str, grid: MacroblockGrid, formula: str
) -> Truth:
    """What gives the true importance of frames on the LR grid: the detector's gradients, which need PyTorch, between
    the upsampled frame and the whole super-resolved one. named: the spec that the user gave; an exported detector's
    file has another one. InputError where the detector has no gradient, and for a program that such a file names.
    """
    if detector.spec != named and is_program(detector.spec):
        raise InputError(f"{named}: was made of {detector.spec}, a program; give --detector {detector.spec} to use it")
    made = load_detector(detector)
    formulas = import_module("regenhance_data.importance.formulas")
    network = load_online_upscaler(upscaler, threads=1)
    scale = network.network.scale
    hr_grid = grid.scaled(scale)

    def truth(frame: CameraFrame) -> np.ndarray:
        hr = network(frame.lr[None])[0]
        pair = FramePair(frame.lr, hr, upsample_frame(frame.lr, scale), hr_grid)
        importance: np.ndarray = formulas.importance_map(made, pair, formula)[0]
        return importance

    return truth
