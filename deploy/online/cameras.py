"""Cameras: what they are called, where their frames come from, and one frame of each in turn."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from deploy.backends.base import Predictor, fit_frame, refuse_other_aspect
from deploy.online.ports import LISTENS, port_of
from regenhance_data.console import tell
from regenhance_data.dataset.folder import clip_id
from regenhance_data.errors import InputError, redacted
from regenhance_data.io.files import read_yaml
from regenhance_data.io.manifests import refuse_unknown
from regenhance_data.io.video import read_timed
from regenhance_data.regions.masks import Polygon, has_area

_LIVE = re.compile(r"(rtsps?|rtmp|https?)://|/dev/video", re.IGNORECASE)
_LEAST = 1e-6  # importance that decides only among macroblocks that are alike
_EXPLORED = 0.1  # of the macroblocks: those that come first in a frame
_REDACTED_VALUE = re.compile(r"[/_;&]?[^/_;&]*=\*\*\*")


@dataclass(frozen=True)
class Camera:
    """A source of frames.

    id: its name in all results and of its files. source: a file, the URL of a stream or a device; `shown` is the same
    without credentials. fps: so many frames a second at most are taken. masks: parts of its own frames that are never
    enhanced. weight: multiplies its importance in the selection. floor: the share of its macroblocks that it gets at
    least; None: what the plan says.
    """

    id: str
    source: str = field(repr=False)
    fps: float | None = None
    masks: tuple[Polygon, ...] = ()
    weight: float = 1.0
    floor: float | None = None

    @property
    def is_live(self) -> bool:
        """Whether the source is live: frames that are not read in time are lost."""
        return bool(_LIVE.match(self.source))

    @property
    def shown(self) -> str:
        """The source, as messages and files may show it."""
        return redacted(self.source)


@dataclass(frozen=True)
class CameraFrame:
    """One frame of a camera.

    number: counted from 0 in its source. time_s: since its first frame. rgb: as the camera gives it, uint8 [h, w, 3].
    lr: at the predictor's size, uint8 [H, W, 3]. masks (in pixels of `rgb`), weight, floor: of its camera. captured_s:
    when it came from a live camera, in seconds as time.time() has them. shot: nothing is kept of one for another, as
    between blocks of a split (see `shots_of`).
    """

    camera: str
    number: int
    time_s: float
    rgb: np.ndarray
    lr: np.ndarray
    masks: tuple[Polygon, ...] = ()
    weight: float = 1.0
    floor: float | None = None
    captured_s: float | None = None
    shot: int = 0


def frame_of(
    camera: Camera,
    number: int,
    time_s: float,
    rgb: np.ndarray,
    size_hw: tuple[int, int],
    captured_s: float | None = None,
    shot: int = 0,
) -> CameraFrame:
    """A frame of a camera, uint8 [h, w, 3], for a predictor of a size. InputError for another aspect ratio, and for
    masks that are not inside of the frame.
    """
    refuse_masks_outside(camera, (rgb.shape[0], rgb.shape[1]))
    lr = fit_frame(rgb, size_hw, camera.shown)
    return CameraFrame(camera.id, number, time_s, rgb, lr, camera.masks, camera.weight, camera.floor, captured_s, shot)


def refuse_masks_outside(camera: Camera, frame_hw: tuple[int, int]) -> None:
    """InputError for masks that are not inside of a camera's frames, (height, width)."""
    height, width = frame_hw
    for number_of_mask, polygon in enumerate(camera.masks, 1):
        for x, y in polygon:
            if not (0 <= x <= width and 0 <= y <= height):
                raise InputError(
                    f"{camera.shown}: mask {number_of_mask} of camera {camera.id} has a corner at {x:g}, {y:g}, "
                    f"outside of its {width}x{height} frames; give corners in pixels of these frames"
                )


def refuse_unfit(cameras: Sequence[Camera], frame_hws: Mapping[str, tuple[int, int]], size_hw: tuple[int, int]) -> None:
    """InputError for what is seen before the first frame, from the (height, width) of cameras' frames, by their ids: a
    file of another aspect ratio than the predictor's, or whose masks are outside of it; or when no camera at all fits.
    A live camera may come back with another size.
    """
    problems: dict[str, InputError] = {}
    for camera in cameras:
        if camera.id not in frame_hws:
            continue
        try:
            refuse_masks_outside(camera, frame_hws[camera.id])
            refuse_other_aspect(frame_hws[camera.id], size_hw, camera.shown)
        except InputError as error:
            problems[camera.id] = error
    refused = [camera.id for camera in cameras if camera.id in problems and not camera.is_live]
    if refused or len(problems) == len(cameras):
        raise InputError("; ".join(str(problems[key]) for key in refused or problems))


# --- which cameras -------------------------------------------------------------------------------------------------
def cameras_of_videos(videos: Sequence[str]) -> list[Camera]:
    """A camera for each file, URL or device, named after it. InputError for two of one name or port."""
    sources = [_known(video, "--video") for video in videos]
    return _distinct([Camera(_name_of(source), source) for source in sources], "--video")


def read_cameras(path: Path) -> list[Camera]:
    """The cameras of a YAML file: `cameras: [{source: gate.mp4, id: gate}, …]`; paths are relative to the file.

    InputError for anything else.
    """
    content = read_yaml(path)
    refuse_unknown(path, "the file", content, ("cameras",))
    entries = content.get("cameras")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: has no cameras; write cameras: [{{source: gate.mp4, id: gate}}, …]")
    return _distinct([_camera(path, f"{path}: camera {n}", entry) for n, entry in enumerate(entries, 1)], str(path))


def refuse_high_floors(cameras: Sequence[Camera], budget: float, floor: float) -> None:
    """InputError where what cameras get at least, `floor` of those that have no own one, is more than the budget."""
    floors = [floor if camera.floor is None else camera.floor for camera in cameras]
    if sum(floors) > budget * len(cameras) + 1e-9:
        raise InputError(
            f"the floors of the cameras are {sum(floors) / len(cameras):.3g} in the mean, more than the budget "
            f"({budget:g}); lower them, or raise --budget"
        )


def _camera(path: Path, where: str, entry: Any) -> Camera:
    if not isinstance(entry, dict) or not isinstance(entry.get("source"), str) or not entry["source"]:
        raise InputError(f"{where} has no source; give source: and a path, a URL or a device")
    known = [one.name for one in fields(Camera)]
    unknown = sorted(map(str, entry.keys() - set(known)))
    if unknown:
        raise InputError(f"{where} has the key {unknown[0]!r}; there are: {', '.join(sorted(known))}")
    source = _known(entry["source"], where)
    if not _LIVE.match(source):
        source = str(path.parent / source)
    floor = None if entry.get("floor") is None else _number(entry, "floor", where, "a share", 0, 1)
    fps = None if entry.get("fps") is None else _number(entry, "fps", where, "frames a second", 1e-6)
    weight = 1.0 if entry.get("weight") is None else _number(entry, "weight", where, "a factor", 0)
    name = str(entry["id"]) if entry.get("id") is not None else _name_of(source)
    if (known_as := clip_id(name)) != name:
        tell(f"{where}: is {known_as} in all results; an id of the letters A to Z, digits, . _ and - stays as it is")
    return Camera(known_as, source, fps, _masks(entry.get("masks") or [], where), weight, floor)


def _number(entry: dict[str, Any], key: str, where: str, expected: str, least: float, most: float = 1e6) -> float:
    value = entry[key]
    if not _is_number(value) or not least <= value <= most:
        given = redacted(str(value))[:40] + (" (a text)" if isinstance(value, str) else "")
        raise InputError(f"{where}: {key} {given}: expected {expected}, {least:g} to {most:g}")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _masks(value: Any, where: str) -> tuple[Polygon, ...]:
    def is_corner(one: Any) -> bool:
        return isinstance(one, list) and len(one) == 2 and all(map(_is_number, one))

    is_right = isinstance(value, list) and all(
        isinstance(polygon, list) and len(polygon) >= 3 and all(map(is_corner, polygon)) for polygon in value
    )
    if not is_right:
        raise InputError(
            f"{where}: masks are lists of at least 3 corners each: [[[x, y], [x, y], [x, y]], …], in pixels"
        )
    polygons = tuple(tuple((float(x), float(y)) for x, y in polygon) for polygon in value)
    for number, polygon in enumerate(polygons, 1):
        if not has_area(polygon):
            raise InputError(f"{where}: mask {number} has its corners on one line, so no area; mend or remove it")
    return polygons


def _known(source: str, where: str) -> str:
    """The source. InputError for a URL that is none of a live camera, has no host, or hides where its password ends."""
    if "://" in source and not _LIVE.match(source):
        raise InputError(
            f"{where}: {redacted(source)}: begins with none of rtsp://, rtsps://, rtmp://, http://, https://"
        )
    if "://" in source and len(source.split()) > 1:
        raise InputError(f"{where}: there is a space in the URL; write it as %20")
    if "://" in source and "@" in re.split("[/?#]", source.split("://", 1)[1], maxsplit=1)[-1]:
        raise InputError(
            f"{where}: {redacted(source)}: has @ behind the host; write / of a password as %2F, ? as %3F, # as %23, "
            "and @ as %40"
        )
    try:
        if "://" in source and (not urlsplit(source).hostname or urlsplit(source).port == 0):
            raise ValueError
    except ValueError:
        raise InputError(
            f"{where}: {redacted(source)}: has no host, or no port that is a number; mend the URL"
        ) from None
    return source


def _name_of(source: str) -> str:
    """A name for a source: that of a file or device, the host and path of a URL without key=value, as passwords are."""
    if not _LIVE.match(source) or source.startswith("/"):
        return clip_id(Path(source).stem)
    url = urlsplit(redacted(source))
    return clip_id(f"{url.hostname}{_REDACTED_VALUE.sub('', url.path).rstrip('/')}")


def _distinct(cameras: list[Camera], where: str) -> list[Camera]:
    names = [camera.id for camera in cameras]
    if len(set(names)) < len(names):
        raise InputError(f"{where}: two cameras are called {max(names, key=names.count)}; give each its own name")
    ports: dict[int, str] = {}
    for camera in cameras:
        if "://" in camera.source and camera.source.endswith(LISTENS):
            port = port_of(camera.source)
            other = ports.setdefault(port, camera.id)
            if other != camera.id:
                raise InputError(
                    f"{where}: the cameras {other} and {camera.id} listen on one port, {port}; give each its own port"
                )
    return cameras


# --- frames of files -----------------------------------------------------------------------------------------------
def rounds(
    cameras: Sequence[Camera],
    size_hw: tuple[int, int],
    every: int,
    max_frames: int | None,
    failed: dict[str, InputError],
) -> Iterator[list[CameraFrame]]:
    """The next frame of every camera that has one left, again and again: every `every`-th of its first `max_frames`.

    All cameras are files. failed: gets what is wrong with a camera whose frames end in an error, by its id; the others
    go on.
    """
    running = {camera.id: _frames(camera, size_hw, every, max_frames) for camera in cameras}
    while running:
        found = []
        for camera, frames in list(running.items()):
            try:
                frame = next(frames, None)
            except InputError as error:
                failed[camera], frame = error, None
            if frame is None:
                del running[camera]
            else:
                found.append(frame)
        if found:
            yield found


def _frames(camera: Camera, size_hw: tuple[int, int], every: int, max_frames: int | None) -> Iterator[CameraFrame]:
    for number, time_s, rgb in file_frames(camera, every, max_frames):
        yield frame_of(camera, number, time_s, rgb, size_hw)


def file_frames(camera: Camera, every: int, max_frames: int | None) -> Iterator[tuple[int, float, np.ndarray]]:
    """(number, time in seconds, uint8 [h, w, 3]) of every `every`-th of the first `max_frames` frames of a file.
    InputError at the end of one that is damaged or cut short.
    """
    timed = enumerate(islice(read_timed(Path(camera.source), camera.fps, allow_cut=False), max_frames))
    for number, (time_s, rgb) in islice(timed, 0, None, every):
        yield number, time_s, rgb


def random_importance(shape: tuple[int, int]) -> Callable[[Sequence[CameraFrame]], np.ndarray]:
    """Importance [N, rows, cols] from 0 to 1 by chance, another one in each frame; the same for the same frame."""
    return lambda frames: np.stack(
        [np.random.default_rng([frame.number, *frame.camera.encode()]).random(shape) for frame in frames]
    )


def flat_importance(shape: tuple[int, int]) -> Callable[[Sequence[CameraFrame]], np.ndarray]:
    """Importance [N, rows, cols] of a flat map: next to 0, in one order, but for a few macroblocks that come first.

    These are others in each frame, since what is never enhanced is never found; the order is one, so that of what
    --feedback raises, as much is enhanced in the next frame again.
    """
    drawn, order = random_importance(shape), np.random.default_rng(0).random(shape)

    def importance(frames: Sequence[CameraFrame]) -> np.ndarray:
        draws = drawn(frames)
        return _LEAST * np.where(draws < _EXPLORED, 1 + draws, order)

    return importance


def importance_by(predictor: Predictor) -> Callable[[Sequence[CameraFrame]], np.ndarray]:
    """Importance of frames of its size, float32 [N, rows, cols], by a predictor."""
    if predictor.is_flat:
        return flat_importance(predictor.grid.shape)
    return lambda frames: predictor.predict(np.stack([frame.lr[..., ::-1] for frame in frames]))
