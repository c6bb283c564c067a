"""The results of trt_infer: the importance of a video and the video that shows it, kept while they are made.

Importance is appended to a file as it is predicted, so that an interrupted or killed run loses none: the same command
goes on from there. A video that shows it cannot be continued and is drawn again.
"""

import json
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deploy.backends.base import Predictor
from deploy.online.video_frames import VideoFrame
from regenhance_data.dataset.importance_file import write_importance
from regenhance_data.errors import InputError
from regenhance_data.io.files import read_json, sha256, write_json
from regenhance_data.io.leftovers import name_file
from regenhance_data.io.video import VideoWriter
from regenhance_data.regions.overlay import draw_heatmap, draw_outline
from regenhance_data.regions.selection import select_macroblocks

IMPORTANCE, OVERLAY = "importance.npz", "overlay.mp4"
_KEPT, _JOB = ".kept-importance.f32", ".kept-importance.json"  # of an interrupted run; the second says of which


class VideoResult:
    """The result of one video in `folder`, from its first frame to `finish`.

    with VideoResult(folder, predictor, job) as result:
        result.kept                         # importance of an interrupted run of the same job, float32 [n, rows, cols]
        result.add(frame, importance)       # every frame from the first one, also those that are kept
        result.finish()                     # or nothing, where the video turned out to be broken

    The command holds the folder's lock. job: whatever importance depends on, a plain value; None where that is not
    known. overlay_fps: None for no overlay. After an error or an interrupt in the block, what was added is kept; with
    neither and without `finish`, or without a job, nothing is.
    """

    def __init__(
        self,
        folder: Path,
        predictor: Predictor,
        job: dict[str, Any] | None,
        budget: float = 0.1,
        overlay_fps: float | None = None,
    ) -> None:
        self._folder, self._job, self._budget, self._fps = folder, job, budget, overlay_fps
        self._shape = predictor.grid.shape
        # drawn as large as the HR frame, so that what is in a macroblock can be seen
        self._grid = predictor.grid.scaled(int(predictor.metadata["scale"]))
        self._is_flat = predictor.is_flat
        self.count = 0
        self._is_finished = False

    @property
    def is_kept(self) -> bool:
        """Whether the same command goes on with what an interrupt leaves."""
        return self._job is not None

    def __enter__(self) -> "VideoResult":
        with ExitStack() as opened:
            self.kept = self._read_kept()
            write_json(self._folder / _JOB, self._job)
            self._file = opened.enter_context((self._folder / _KEPT).open("ab", buffering=0))
            self._file.truncate(self.kept.nbytes)
            self._overlay = None
            if self._fps is not None:
                self._overlay = VideoWriter(self._folder / OVERLAY, self._fps)
                self._overlay.__enter__()
            self._opened = opened.pop_all()
        return self

    def _read_kept(self) -> np.ndarray:
        rows, cols = self._shape
        path = self._folder / _KEPT
        content = b""
        with suppress(InputError, OSError):  # there is none
            content = path.read_bytes() if self._job and read_json(self._folder / _JOB) == self._job else b""
        count = len(content) // (4 * rows * cols)  # a killed run may have written a part of the last one
        kept = np.frombuffer(content, np.float32, count * rows * cols).reshape(count, rows, cols)
        return kept if np.isfinite(kept).all() else kept[:0]

    def add(self, frame: VideoFrame, importance: np.ndarray) -> None:
        """The next frame of the video, with its importance, float32 [rows, cols]."""
        if self.count >= len(self.kept):
            try:
                self._file.write(importance.astype(np.float32).tobytes())
            except OSError as error:
                name_file(error, self._folder / IMPORTANCE)
                raise
        self.count += 1
        if self._overlay is not None and frame.rgb is not None:
            grid = self._grid
            picture = cv2.resize(frame.rgb, (grid.width, grid.height), interpolation=cv2.INTER_LINEAR)
            heatmap = draw_heatmap(picture, importance, grid)
            if not self._is_flat:  # which chooses none before others
                heatmap = draw_outline(heatmap, select_macroblocks(importance, self._budget), grid)
            self._overlay.write(heatmap)

    def finish(self) -> None:
        """Write the importance and the overlay; without one, remove an earlier one, which shows other importance."""
        importance = np.fromfile(self._folder / _KEPT, np.float32).reshape(-1, *self._shape)[: self.count]
        if self._overlay is not None:
            overlay, self._overlay = self._overlay, None
            overlay.__exit__(None, None, None)
        if self._fps is None:
            (self._folder / OVERLAY).unlink(missing_ok=True)
        write_importance(self._folder / IMPORTANCE, importance, np.arange(self.count))
        self._is_finished = True

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        with self._opened:
            if self._overlay is not None:  # it is not whole
                self._overlay.__exit__(kind or ValueError, *(error or (None, None)))
            if self._is_finished or kind is None or not kept_frames([self]):
                for name in (_KEPT, _JOB):
                    (self._folder / name).unlink(missing_ok=True)


def job_of(predictor: Predictor, video: Path, policy: Any) -> dict[str, Any] | None:
    """What the importance of a video depends on; None for a model that is no file and no folder: a server may change
    it between two runs.
    """
    model, about = Path(predictor.source), video.stat()
    if not model.exists():
        return None
    # of a folder, its hidden files may be those that this run keeps
    files = [file for file in model.iterdir() if file.is_file() and file.name[0] != "."] if model.is_dir() else [model]
    return json.loads(
        json.dumps(
            {
                "model": str(predictor.source),
                "model_sha256": {file.name: sha256(file) for file in files},
                "metadata": predictor.metadata,
                "backend": predictor.backend,
                "input_hw": predictor.input_hw,
                "video": [str(video.resolve()), about.st_size, about.st_mtime_ns],
                "reuse": [policy.every, policy.change],
            }
        )
    )


def kept_frames(results: Iterable[VideoResult]) -> int:
    """How many frames of the results would not be predicted again."""
    return sum(max(result.count, len(result.kept)) for result in results if result.is_kept)
