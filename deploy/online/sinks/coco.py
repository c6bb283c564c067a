"""detections.coco.json: all frames and boxes, with scores."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from deploy.online.sinks.frame import FrameResult, Listing, left_top_size
from regenhance_data.io.files import atomic_write

COCO = "detections.coco.json"


class Coco:
    """The boxes of a run in `folder`, there after `finish`; memory does not grow with their number."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._path, self._names = folder / COCO, names
        # of a name that stands twice, the first
        self._categories = {name: number for number, name in reversed(list(enumerate(names, 1)))}
        self._frames = self._boxes = 0
        with ExitStack() as opened:
            # what COCO lists one after the other; of a killed run nothing is left
            self._images = opened.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder))
            self._annotations = opened.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder))
            self._opened = opened.pop_all()

    def take(self, result: FrameResult) -> Listing:
        return result.listing

    def write(self, found: Listing) -> None:
        if found.detections is None:
            return
        self._frames += 1
        name, (width, height) = f"{found.camera}/{found.frame:06d}", found.size
        image = {"id": self._frames, "file_name": name, "width": width, "height": height, "time_s": found.time_s}
        self._images.write((",\n" if self._frames > 1 else "\n") + json.dumps(image, ensure_ascii=False))
        for one in found.detections:
            self._boxes += 1
            left, top, across, down = left_top_size(one["box"])
            annotation = {
                "id": self._boxes,
                "image_id": self._frames,
                "category_id": self._categories[one["class"]],
                "bbox": [left, top, across, down],
                "area": round(across * down, 2),
                "iscrowd": 0,
                "score": one["score"],
                **({} if one["track"] is None else {"track_id": one["track"]}),
            }
            self._annotations.write((",\n" if self._boxes > 1 else "\n") + json.dumps(annotation))

    def finish(self) -> list[Path]:
        if not self._frames:
            return []
        with atomic_write(self._path) as temporary, temporary.open("w", encoding="utf-8") as file:
            categories = [{"id": number, "name": name} for number, name in enumerate(self._names, 1)]
            file.write(f'{{"categories": {json.dumps(categories, ensure_ascii=False)},\n"images": [')
            for part, end in ((self._images, '],\n"annotations": ['), (self._annotations, "]}\n")):
                part.seek(0)
                shutil.copyfileobj(part, file)
                file.write(end)
        return [self._path]

    def close(self) -> None:
        self._opened.close()
