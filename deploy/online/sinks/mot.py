"""mot/CAMERA.txt: rows of MOTChallenge."""

from contextlib import ExitStack
from pathlib import Path
from typing import IO

from deploy.online.sinks.frame import FrameResult, Listing, left_top_size

MOT = "mot"


class Mot:
    """The boxes of each camera in `folder`: frame (from 1), track (−1 without one), left, top, width, height, score,
    −1, −1, −1.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._opened = folder / MOT, ExitStack()
        self._files: dict[str, IO[str]] = {}

    def take(self, result: FrameResult) -> Listing:
        return result.listing

    def write(self, found: Listing) -> None:
        if found.detections is None:
            return
        if found.camera not in self._files:
            self._folder.mkdir(exist_ok=True)
            path = self._folder / f"{found.camera}.txt"
            self._files[found.camera] = self._opened.enter_context(path.open("w", encoding="utf-8", buffering=1))
        for one in found.detections:
            track = -1 if one["track"] is None else one["track"]
            values = [found.frame + 1, track, *left_top_size(one["box"]), one["score"], -1, -1, -1]
            self._files[found.camera].write(",".join(f"{value:.10g}" for value in values) + "\n")

    def finish(self) -> list[Path]:
        self.close()  # may fail on a full disk
        return [self._folder] if self._files else []

    def close(self) -> None:
        self._opened.close()
