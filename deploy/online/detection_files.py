"""What the loop finds, as JSON Lines, MOT text and COCO, all written frame by frame."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np

from deploy.online.rounds import EnhancedFrame
from regenhance_data.detections import Detections
from regenhance_data.io.files import atomic_write
from regenhance_data.io.leftovers import name_file

LINES, COCO, MOT = "detections.jsonl", "detections.coco.json", "mot"


class DetectionFiles:
    """The detections of a run in `folder`, from its first frame to `finish`; `count` frames have a line so far.

    detections.jsonl has whole lines at any time: {"camera", "frame" (from 0), "time_s", "size" [width, height],
    "captured" (of live cameras, UTC in ISO 8601), "detections": [{"box" [x1, y1, x2, y2], "score", "class", "track" or
    null}]}. mot/CAMERA.txt has the rows of MOTChallenge: frame (from 1), track (−1 without one), left, top, width,
    height, score, −1, −1, −1.
    detections.coco.json, with the scores, is there after `finish`. Boxes and sizes are in pixels of the camera's own
    frames. Memory does not grow with the number of frames.
    """

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self.count = 0
        self._folder, self._names = folder, class_names
        # of a name that stands twice, the first
        self._categories = {name: number for number, name in reversed(list(enumerate(class_names, 1)))}
        self._found = 0
        with ExitStack() as opened:
            self._lines = opened.enter_context((folder / LINES).open("wb"))
            # what COCO lists one after the other; of a killed run nothing is left
            self._images = opened.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder))
            self._annotations = opened.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder))
            self._mot: dict[str, IO[str]] = {}
            self._opened = opened.pop_all()

    def add(self, item: EnhancedFrame, tracks: Sequence[int | None] | None = None) -> None:
        """One more frame. tracks: of each detection."""
        frame = item.frame
        size = frame.rgb.shape[1], frame.rgb.shape[0]
        listed = self._listed(item.found, size[0] / item.image.shape[1], tracks)
        about = {"camera": frame.camera, "frame": frame.number, "time_s": round(frame.time_s, 3), "size": size}
        came = {} if frame.captured_s is None else {"captured": _utc(frame.captured_s)}
        self._append({**about, **came, "detections": listed})
        self.count += 1
        if isinstance(item.found, Detections):
            self._append_mot(frame.camera, frame.number, listed)
            self._append_coco(about, listed)

    def _listed(self, found: Any, ratio: float, tracks: Sequence[int | None] | None) -> list[dict[str, Any]]:
        if not isinstance(found, Detections):
            return []
        boxes = (found.boxes.astype(np.float64) * ratio).round(2).tolist()
        scores, labels = found.scores.astype(np.float64).round(4).tolist(), found.labels.tolist()
        return [
            {"box": box, "score": score, "class": self._names[label], "track": track}
            for box, score, label, track in zip(boxes, scores, labels, tracks or [None] * len(boxes), strict=True)
        ]

    def _append(self, line: dict[str, Any]) -> None:
        end = self._lines.tell()
        try:
            self._lines.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            self._lines.flush()
        except OSError as error:
            with (self._folder / LINES).open("r+b") as file:
                file.truncate(end)
            name_file(error, self._folder / LINES)
            raise

    def _append_mot(self, camera: str, number: int, listed: Sequence[dict[str, Any]]) -> None:
        if camera not in self._mot:
            (self._folder / MOT).mkdir(exist_ok=True)
            path = self._folder / MOT / f"{camera}.txt"
            self._mot[camera] = self._opened.enter_context(path.open("w", encoding="utf-8"))
        for one in listed:
            track = -1 if one["track"] is None else one["track"]
            values = [number + 1, track, *_left_top_size(one["box"]), one["score"], -1, -1, -1]
            self._mot[camera].write(",".join(f"{value:.10g}" for value in values) + "\n")

    def _append_coco(self, about: dict[str, Any], listed: Sequence[dict[str, Any]]) -> None:
        width, height = about["size"]
        name = f"{about['camera']}/{about['frame']:06d}"
        image = {"id": self.count, "file_name": name, "width": width, "height": height, "time_s": about["time_s"]}
        self._images.write((",\n" if self.count > 1 else "\n") + json.dumps(image, ensure_ascii=False))
        for one in listed:
            self._found += 1
            left, top, across, down = _left_top_size(one["box"])
            annotation = {
                "id": self._found,
                "image_id": self.count,
                "category_id": self._categories[one["class"]],
                "bbox": [left, top, across, down],
                "area": round(across * down, 2),
                "iscrowd": 0,
                "score": one["score"],
            }
            self._annotations.write((",\n" if self._found > 1 else "\n") + json.dumps(annotation))

    def finish(self) -> list[Path]:
        """Write what is still to be written; the files and folders of all detections."""
        written = [self._folder / LINES]
        if self._mot:
            with atomic_write(self._folder / COCO) as temporary, temporary.open("w", encoding="utf-8") as file:
                categories = [{"id": number, "name": name} for number, name in enumerate(self._names, 1)]
                file.write(f'{{"categories": {json.dumps(categories, ensure_ascii=False)},\n"images": [')
                for part, end in ((self._images, '],\n"annotations": ['), (self._annotations, "]}\n")):
                    part.seek(0)
                    shutil.copyfileobj(part, file)
                    file.write(end)
            written += [self._folder / COCO, self._folder / MOT]
        self.close()
        return written

    def close(self) -> None:
        """Close the files, finished or not."""
        self._opened.close()


def remove_detections(folder: Path) -> None:
    """Remove what an earlier run wrote to a folder."""
    for path in (folder / LINES, folder / COCO):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / MOT, ignore_errors=True)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _left_top_size(box: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return left, top, round(right - left, 2), round(bottom - top, 2)
