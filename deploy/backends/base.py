"""What all backends share: BGR frames in, importance of the macroblocks out, for any number of threads."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Any, Generic, TypeVar

import cv2
import numpy as np

from deploy.backends.settings import Backend
from deploy.contract import FLAT
from regenhance_data.errors import InputError, one_line, refuse_below_one
from regenhance_data.grid import MacroblockGrid

# uint8 [n, H, W, 3] BGR, n the batch or, of a graph that leaves it open, less → float [n, rows, cols] or [n, H, W]
BatchRunner = Callable[[np.ndarray], np.ndarray]
Outputs = dict[str, np.ndarray]  # of a graph, by name
Runner = TypeVar("Runner")
_ROUNDING = 0.01  # of importance: in 8 and 16 bits it passes 0 and 1 a little


class Pool(Generic[Runner]):
    """Runners that any number of threads use, each one thread at a time."""

    def __init__(self) -> None:
        self._idle: LifoQueue[Runner] = LifoQueue()

    @contextmanager
    def leased(self, make: Callable[[], Runner]) -> Iterator[Runner]:
        """One of them, for this thread alone. make: a new one; not kept, so that what has the pool is freed at once."""
        try:
            runner = self._idle.get_nowait()
        except Empty:
            runner = make()
        yield runner
        self._idle.put(runner)  # not after an error, which may leave it in any state


class Predictor:
    """An exported predictor, ready to run. Made by deploy.runtime.load_predictor.

    backend: its name in the table of backends. source: its file, folder or URL; messages begin with it. input_hw:
    (height, width) of its frames. batch: frames that go through at once; `predict` takes any number. is_dynamic: the
    batch may be smaller as well. metadata: what the export wrote (model, head, levels, mb_size, scale, precision,
    kit_version …), all strings. Threads may share one: each gets a batch runner of its own.
    """

    def __init__(
        self,
        backend: Backend,
        source: Path | str,
        input_hw: tuple[int, int],
        batch: int,
        is_dynamic: bool,
        metadata: dict[str, str],
    ) -> None:
        self.backend, self.source = backend.name, source
        self.input_hw, self.batch, self.is_dynamic = input_hw, batch, is_dynamic
        self.metadata = metadata
        self.grid = MacroblockGrid(*input_hw, int(metadata["mb_size"]))
        self._runners: Pool[BatchRunner] = Pool()

    @property
    def is_flat(self) -> bool:
        """Whether it is a flat map, to which all macroblocks are alike."""
        return self.metadata.get("weights") == FLAT

    @property
    def out_hw(self) -> tuple[int, int]:
        """(rows, cols) of the graph's output: macroblocks, or with the pixels head the frame's pixels."""
        return self.input_hw if self.metadata["head"] == "pixels" else self.grid.shape

    def _batch_runner(self) -> BatchRunner:
        """A new function that runs one batch, for one thread at a time."""
        raise NotImplementedError

    def bound(self, frames: np.ndarray) -> Callable[[], Any]:
        """The engine call alone, on one batch that is bound before, for measurements: uint8 BGR [batch, H, W, 3]."""
        raise NotImplementedError

    def predict(self, frames_bgr: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, 3] BGR → importance float32 [N, rows, cols] in [0, 1].

        InputError for another frame size, and where the predictor gives something else.
        """
        done = [np.zeros((0, *self.grid.shape))]
        for full, count in batches_of(frames_bgr, self.input_hw, self.batch, self.source, self.is_dynamic):
            with self._runners.leased(self._batch_runner) as run:
                importance = run(full)[:count]
            done.append(self.grid.mean(importance) if self.metadata["head"] == "pixels" else importance)
        made = np.concatenate(done).astype(np.float32)
        if made.size and not (made.min() >= -_ROUNDING and made.max() <= 1 + _ROUNDING):  # nor NaN
            found = f"importance from {made.min():.3g} to {made.max():.3g}"
            raise InputError(f"{self.source}: gives {found}, expected 0 to 1; export it again")
        return made.clip(0, 1)

    def predict_one(self, lr: np.ndarray) -> np.ndarray:
        """One LR frame, uint8 [H, W, 3] RGB → importance float32 [rows, cols] in [0, 1]."""
        return self.predict(lr[None, ..., ::-1])[0]

    def check(self) -> None:
        """Run a batch of black frames. InputError where it fails, or the output has another shape or is not finite."""
        with engine_errors(self.source, "run"), self._runners.leased(self._batch_runner) as run:
            found = run(np.zeros((self.batch, *self.input_hw, 3), np.uint8))
        expected = self.batch, *self.out_hw
        if found.shape != expected:
            raise InputError(f"{self.source}: gives {list(found.shape)}, expected {list(expected)}; export it again")
        if not np.isfinite(found).all():
            raise InputError(
                f"{self.source}: gives NaN or infinity on {self.backend}; export it with --precision fp32, or train it "
                "again with a smaller --learning_rate"
            )


def batches_of(
    frames: np.ndarray, size_hw: tuple[int, int], batch: int, source: Path | str, is_dynamic: bool = False
) -> Iterator[tuple[np.ndarray, int]]:
    """Frames uint8 [N, H, W, 3] in batches, each with the number of its frames: uint8 [batch, H, W, 3], the last one
    filled with black frames, or smaller if `is_dynamic`. InputError for frames of another size.
    """
    height, width = size_hw
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (height, width, 3):
        raise InputError(
            f"{source}: takes uint8 frames of {width}x{height}, got {frames.dtype} {list(frames.shape)}; "
            "resize them or export for their size"
        )
    for start in range(0, len(frames), batch):
        part = frames[start : start + batch]
        missing = 0 if is_dynamic else batch - len(part)
        full = np.concatenate([part, np.zeros((missing, height, width, 3), np.uint8)]) if missing else part
        yield np.ascontiguousarray(full), len(part)


@contextmanager
def engine_errors(source: Path | str, action: str) -> Iterator[None]:
    """Turn whatever an engine raises inside into an InputError: the model does not `action` ('load', 'run')."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the engines' own errors have no base in common
        raise InputError(f"{source}: does not {action} ({one_line(error)}); export it again") from None


def batch_size_of(path: Path | str, fixed: int, asked: int | None) -> int:
    """Frames at once: `fixed` by the graph (0: not fixed), else `asked`, else 1. InputError where the two differ."""
    refuse_below_one(batch_size=asked)
    if fixed and asked not in (None, fixed):
        raise InputError(f"{path}: takes {fixed} frames at once, not {asked}; export it with --dynamic_batch")
    return fixed or asked or 1


def refuse_other_aspect(frame_hw: tuple[int, int], size_hw: tuple[int, int], video: Path | str) -> None:
    """InputError for frames, (height, width), of another aspect ratio than a predictor's."""
    height, width = size_hw
    # the height that goes with the model's width, to the pixel that rounding may cost
    if abs(frame_hw[0] * width / frame_hw[1] - height) > 1:
        raise InputError(
            f"{video}: has {frame_hw[1]}x{frame_hw[0]} frames, the model takes {width}x{height}, which is "
            "another aspect ratio; frames of this shape need a model (--input_size, of a flat map --flat) and a run of "
            "their own"
        )


def fit_frame(frame: np.ndarray, size_hw: tuple[int, int], video: Path | str) -> np.ndarray:
    """A frame [h, w, 3], resized to a predictor's size [H, W, 3]. InputError for another aspect ratio."""
    refuse_other_aspect((frame.shape[0], frame.shape[1]), size_hw, video)
    return resized(frame, size_hw)


def resized(frame: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """A frame [h, w, 3] at another size [H, W, 3]: shrunk by averaging, enlarged by linear interpolation."""
    if frame.shape[:2] == size_hw:
        return frame
    is_shrunk = frame.shape[0] > size_hw[0]
    return cv2.resize(frame, size_hw[::-1], interpolation=cv2.INTER_AREA if is_shrunk else cv2.INTER_LINEAR)
