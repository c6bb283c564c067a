"""What a run of the loop writes: detections, annotated videos, run.json."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deploy.online.detection_files import DetectionFiles, remove_detections
from deploy.online.rounds import EnhancedFrame, Round
from deploy.online.run_record import RunRecord
from deploy.online.tracking import Tracks
from regenhance_data.dataset.folder import clip_id
from regenhance_data.detections import Detections
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import locked, read_json, write_json
from regenhance_data.io.images import write_image
from regenhance_data.io.video import VideoWriter
from regenhance_data.regions.overlay import OUTLINE_RGB, draw_boxes, draw_outline

RUN, CLASS_MAPS = "run.json", "class_maps"
KEPT_RGB = (90, 160, 255)  # the outline of macroblocks that were enhanced in an earlier frame


class RunOutputs:
    """The files of a run in `folder`, from its first round to `finish`.

    with RunOutputs(folder, record, names, grid, rates) as outputs:
        outputs.add(one)                    # every round
        outputs.finish(failed)

    names: the detector's classes. hr_grid: of the HR frames. rates: frames a second of each camera's annotated video;
    none for no videos. tracks: follows objects, where wanted. What an earlier run wrote to the folder is removed first.
    Without `finish`, as after an error, the lines that were written are left, and no run.json.
    """

    def __init__(
        self,
        folder: Path,
        record: RunRecord,
        names: Sequence[str],
        hr_grid: MacroblockGrid,
        rates: Mapping[str, float],
        tracks: Tracks | None = None,
    ) -> None:
        self._tracks = tracks
        self._folder, self._record, self._names, self._grid = folder, record, names, hr_grid
        self._rates, self._videos = rates, dict[str, VideoWriter]()

    def __enter__(self) -> "RunOutputs":
        with ExitStack() as opened:
            opened.enter_context(locked(self._folder / ".run.lock"))
            _remove_earlier(self._folder)
            self._detections = DetectionFiles(self._folder, self._names)
            opened.callback(self._detections.close)
            self._opened = opened.enter_context(ExitStack())  # of the videos
            self._all = opened.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._all.__exit__(*error)

    @property
    def frames(self) -> int:
        """How many frames have a line."""
        return self._detections.count

    def add(self, one: Round) -> None:
        """Write one more round."""
        with one.timed("write"):
            for item in one.done:
                tracks = self._tracks.assign(item) if self._tracks else None
                self._detections.add(item, tracks)
                if not isinstance(item.found, Detections):
                    path = self._folder / CLASS_MAPS / item.frame.camera / f"{item.frame.number:06d}.png"
                    write_image(path, item.found[..., None].repeat(3, axis=-1))
                if self._rates:
                    self._video_of(item.frame.camera).write(self._picture(item, tracks))
        self._record.add(one)

    def _video_of(self, camera: str) -> VideoWriter:
        if camera not in self._videos:
            writer = VideoWriter(self._folder / f"{camera}.mp4", self._rates[camera])
            self._videos[camera] = self._opened.enter_context(writer)
        return self._videos[camera]

    def _picture(self, item: EnhancedFrame, tracks: Sequence[int | None] | None) -> np.ndarray:
        """Boxes, and outlines of what is enhanced; beside it the frame with nothing enhanced, where both are known."""
        outlined = draw_outline(item.image, item.cached, self._grid, KEPT_RGB)
        ours = self._with_boxes(draw_outline(outlined, item.selected, self._grid, OUTLINE_RGB), item.found, tracks)
        if item.plain is None:
            return ours
        pictures = [self._with_boxes(item.plain, item.found_plain), ours]
        for picture, title in zip(pictures, ("nothing enhanced", "enhanced where it matters"), strict=True):
            _write_title(picture, title)
        return np.hstack(pictures)

    def _with_boxes(self, picture: np.ndarray, found: Any, tracks: Sequence[int | None] | None = None) -> np.ndarray:
        return draw_boxes(picture, found, self._names, tracks) if isinstance(found, Detections) else picture.copy()

    def finish(self, failed: Mapping[str, Exception], interrupted: bool = False) -> list[Path]:
        """Write what is still to be written; the files and folders of the run."""
        self._opened.close()  # the videos first: what a run has most of
        write_json(self._folder / RUN, self._record.summary(failed, interrupted))
        class_maps = [path for path in [self._folder / CLASS_MAPS] if path.is_dir()]
        videos = [self._folder / f"{camera}.mp4" for camera in self._videos]
        return [*self._detections.finish(), *class_maps, *videos, self._folder / RUN]


def _remove_earlier(folder: Path) -> None:
    """Remove what an earlier run wrote, which its run.json names."""
    with suppress(InputError):  # there is none
        ran = read_json(folder / RUN)
        for camera in ran["cameras"] if isinstance(ran, dict) and isinstance(ran.get("cameras"), dict) else ():
            if clip_id(camera) == camera:
                (folder / f"{camera}.mp4").unlink(missing_ok=True)
    (folder / RUN).unlink(missing_ok=True)
    shutil.rmtree(folder / CLASS_MAPS, ignore_errors=True)
    remove_detections(folder)


def _write_title(picture: np.ndarray, title: str) -> None:
    size = max(0.5, picture.shape[0] / 1000)
    thickness = max(1, round(2 * size))
    (width, height), below = cv2.getTextSize(title, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)
    picture[: height + 2 * below, : width + 2 * below] //= 3
    where = (below, height + below // 2)
    cv2.putText(picture, title, where, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), thickness, cv2.LINE_AA)
