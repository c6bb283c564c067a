"""Cameras: what they are called, where their frames come from, and one frame of each in turn."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deploy.backends.base import Predictor, fit_frame
from regenhance_data.dataset.folder import clip_id
from regenhance_data.errors import InputError
from regenhance_data.io.files import read_yaml
from regenhance_data.io.video import read_timed

_KEYS = {"id", "source"}


@dataclass(frozen=True)
class Camera:
    """A source of frames. id: its name in all results and of its files."""

    id: str
    source: Path


@dataclass(frozen=True)
class CameraFrame:
    """One frame of a camera.

    number: counted from 0 in its source. time_s: since its first frame. rgb: as the camera gives it, uint8 [h, w, 3].
    lr: at the predictor's size, uint8 [H, W, 3].
    """

    camera: str
    number: int
    time_s: float
    rgb: np.ndarray
    lr: np.ndarray


def cameras_of_videos(videos: Sequence[Path]) -> list[Camera]:
    """A camera for each file, named after it. InputError for two of one name."""
    return _distinct([Camera(clip_id(video.stem), video) for video in videos], "--video")


def read_cameras(path: Path) -> list[Camera]:
    """The cameras of a YAML file: `cameras: [{source: gate.mp4, id: gate}, …]`; paths are relative to the file.

    InputError for anything else.
    """
    entries = read_yaml(path).get("cameras")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: has no cameras; write cameras: [{{source: gate.mp4, id: gate}}, …]")
    return _distinct([_camera(path, number, entry) for number, entry in enumerate(entries, 1)], str(path))


def _camera(path: Path, number: int, entry: Any) -> Camera:
    if not isinstance(entry, dict) or not isinstance(entry.get("source"), str):
        raise InputError(f"{path}: camera {number} has no source; give source: and the path of a video")
    unknown = sorted(map(str, entry.keys() - _KEYS))
    if unknown:
        raise InputError(f"{path}: camera {number} has the key {unknown[0]!r}; there are: {', '.join(sorted(_KEYS))}")
    source = path.parent / entry["source"]
    return Camera(clip_id(str(entry.get("id", source.stem))), source)


def _distinct(cameras: list[Camera], where: str) -> list[Camera]:
    names = [camera.id for camera in cameras]
    if len(set(names)) < len(names):
        raise InputError(f"{where}: two cameras are called {max(names, key=names.count)}; give each its own name")
    return cameras


def rounds(
    cameras: Sequence[Camera],
    size_hw: tuple[int, int],
    every: int,
    max_frames: int | None,
    failed: dict[str, InputError],
) -> Iterator[list[CameraFrame]]:
    """The next frame of every camera that has one left, again and again: every `every`-th of its first `max_frames`.

    failed: gets what is wrong with a camera whose frames end in an error, by its id; the others go on.
    """
    running = {camera: _frames(camera, size_hw, every, max_frames) for camera in cameras}
    while running:
        found = []
        for camera, frames in list(running.items()):
            try:
                frame = next(frames, None)
            except InputError as error:
                failed[camera.id], frame = error, None
            if frame is None:
                del running[camera]
            else:
                found.append(frame)
        if found:
            yield found


def _frames(camera: Camera, size_hw: tuple[int, int], every: int, max_frames: int | None) -> Iterator[CameraFrame]:
    timed = enumerate(islice(read_timed(camera.source), max_frames))
    for number, (time_s, rgb) in islice(timed, 0, None, every):
        yield CameraFrame(camera.id, number, time_s, rgb, fit_frame(rgb, size_hw, camera.source))


def importance_by(predictor: Predictor) -> Callable[[Sequence[CameraFrame]], np.ndarray]:
    """Importance of frames of its size, float32 [N, rows, cols], by a predictor."""
    return lambda frames: predictor.predict(np.stack([frame.lr[..., ::-1] for frame in frames]))
