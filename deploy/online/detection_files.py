"""Detections as JSON Lines while the loop runs, and from these as COCO and MOT text when it ends."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from deploy.online.rounds import EnhancedFrame
from regenhance_data.detections import Detections
from regenhance_data.io.files import atomic_write
from regenhance_data.io.leftovers import name_file

LINES, COCO, MOT = "detections.jsonl", "detections.coco.json", "mot"
Line = dict[str, Any]


class DetectionLines:
    """Appends what is found in each frame to a file of JSON Lines, whole lines only, from an empty file on.

    A line: {"camera", "frame" (from 0), "time_s", "size" [width, height], "detections": [{"box" [x1, y1, x2, y2],
    "score", "class", "track" or null}]}. Boxes and size are in pixels of the camera's own frames.
    """

    def __init__(self, path: Path, class_names: Sequence[str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.count = 0
        self._path, self._names = path, class_names
        self._file: IO[bytes] = path.open("wb", buffering=0)

    def add(self, item: EnhancedFrame, tracks: Sequence[int | None] | None = None) -> None:
        """One more frame. tracks: of each detection."""
        frame, found = item.frame, item.found
        listed = []
        if isinstance(found, Detections):
            ratio = frame.rgb.shape[1] / item.image.shape[1]
            listed = [
                {"box": [round(float(side) * ratio, 2) for side in box], "score": round(float(score), 4)}
                | {"class": self._names[label], "track": track}
                for box, score, label, track in zip(
                    found.boxes, found.scores, found.labels.tolist(), tracks or [None] * len(found.boxes), strict=True
                )
            ]
        height, width = frame.rgb.shape[:2]
        about = {"camera": frame.camera, "frame": frame.number, "time_s": round(frame.time_s, 3)}
        line = json.dumps({**about, "size": [width, height], "detections": listed}, ensure_ascii=False)
        try:
            self._file.write(line.encode() + b"\n")
        except OSError as error:
            name_file(error, self._path)
            raise
        self.count += 1

    def close(self) -> None:
        """No more frames follow."""
        self._file.close()


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of such a file, one at a time."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def write_coco(lines: Path, path: Path, class_names: Sequence[str]) -> None:
    """The detections as one COCO file, with their scores: images, annotations, categories (numbered from 1).

    It is written line by line, so that memory does not grow with the number of frames.
    """
    numbers = {name: number for number, name in reversed(list(enumerate(class_names, 1)))}
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        categories = [{"id": number, "name": name} for number, name in enumerate(class_names, 1)]
        file.write(f'{{"categories": {json.dumps(categories, ensure_ascii=False)},\n"images": [')
        _write_listed(file, map(_coco_image, _numbered(lines)))
        file.write('],\n"annotations": [')
        _write_listed(file, _coco_annotations(lines, numbers))
        file.write("]}\n")


def _numbered(lines: Path) -> Iterator[tuple[int, Line]]:
    return enumerate(read_lines(lines), 1)


def _coco_image(numbered: tuple[int, Line]) -> Line:
    number, line = numbered
    width, height = line["size"]
    name = f"{line['camera']}/{line['frame']:06d}"
    return {"id": number, "file_name": name, "width": width, "height": height, "time_s": line["time_s"]}


def _coco_annotations(lines: Path, numbers: dict[str, int]) -> Iterator[Line]:
    count = 0
    for image, line in _numbered(lines):
        for found in line["detections"]:
            count += 1
            left, top, width, height = _left_top_size(found["box"])
            yield {
                "id": count,
                "image_id": image,
                "category_id": numbers[found["class"]],
                "bbox": [left, top, width, height],
                "area": round(width * height, 2),
                "iscrowd": 0,
                "score": found["score"],
            }


def _write_listed(file: IO[str], values: Iterator[Line]) -> None:
    for number, value in enumerate(values):
        file.write((",\n" if number else "\n") + json.dumps(value, ensure_ascii=False))


def _left_top_size(box: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return left, top, round(right - left, 2), round(bottom - top, 2)


def write_mot(lines: Path, folder: Path) -> None:
    """The detections of each camera as a text file of MOTChallenge: frame (from 1), track (−1 without one), left, top,
    width, height, score, −1, −1, −1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for camera in dict.fromkeys(line["camera"] for line in read_lines(lines)):
        with atomic_write(folder / f"{camera}.txt") as temporary, temporary.open("w", encoding="utf-8") as file:
            for line in read_lines(lines):
                for found in line["detections"] if line["camera"] == camera else ():
                    track = -1 if found["track"] is None else found["track"]
                    values = [line["frame"] + 1, track, *_left_top_size(found["box"]), found["score"], -1, -1, -1]
                    file.write(",".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values))
                    file.write("\n")
