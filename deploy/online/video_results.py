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
from regenhance_data.io.files import read_json, write_json
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

    The command holds the folder's lock. job: whatever importance depends on, a plain value. overlay_fps: None for no
    overlay. After an error or an interrupt in the block, what was added is kept; with neither and without `finish`,
    nothing is.
    """

    def __init__(
        self,
        folder: Path,
        predictor: Predictor,
        job: dict[str, Any],
        budget: float = 0.1,
        overlay_fps: float | None = None,
    ) -> None:
        self._folder, self._job, self._budget, self._fps = folder, job, budget, overlay_fps
        self._shape = predictor.grid.shape
        # drawn as large as the HR frame, so that what is in a macroblock can be seen
        self._grid = predictor.grid.scaled(int(predictor.metadata["scale"]))
        self.count = 0
        self._is_finished = False

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
            content = path.read_bytes() if read_json(self._folder / _JOB) == self._job else b""
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
            self._overlay.write(draw_outline(heatmap, select_macroblocks(importance, self._budget), grid))

    def finish(self) -> None:
        """Write the importance and the overlay."""
        importance = np.fromfile(self._folder / _KEPT, np.float32).reshape(-1, *self._shape)[: self.count]
        if self._overlay is not None:
            overlay, self._overlay = self._overlay, None
            overlay.__exit__(None, None, None)
        write_importance(self._folder / IMPORTANCE, importance, np.arange(self.count))
        self._is_finished = True

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        with self._opened:
            if self._overlay is not None:  # it is not whole
                self._overlay.__exit__(kind or ValueError, *(error or (None, None)))
            if self._is_finished or kind is None or not (self.count or len(self.kept)):
                for name in (_KEPT, _JOB):
                    (self._folder / name).unlink(missing_ok=True)


def job_of(predictor: Predictor, video: Path, model_sha256: str, policy: Any) -> dict[str, Any]:
    """What the importance of a video depends on. model_sha256: of the file, or '' for a served model."""
    about = video.stat()
    return json.loads(
        json.dumps(
            {
                "model": str(predictor.source),
                "model_sha256": model_sha256,
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
    return sum(max(result.count, len(result.kept)) for result in results)
