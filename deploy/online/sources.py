"""Cameras of which some are live: a round takes what is new of each, and none waits for another."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from deploy.online.cameras import Camera, CameraFrame, frame_of
from deploy.online.ports import LISTENS
from deploy.online.rates import USUAL_RATE
from deploy.online.readers import CameraCounts, Connect, FileReader, LiveReader, Reader, Taken, as_input_error
from deploy.online.streams import NobodyPushed, Patience, read_stream
from regenhance_data.console import tell, warn
from regenhance_data.errors import InputError, one_line
from regenhance_data.io.video_streams import VideoInfo

_LOOKS_EVERY_S = 0.2
_CLOSING_S = 1.0


class Sources:
    """Cameras of which some are live, from the first connection to the last round.

    with Sources(cameras) as sources:
        infos = sources.connect()
        for frames in sources.rounds((height, width)): ...

    every: only every n-th frame of a camera is taken. max_frames: of each camera. watched, read: a file, and what reads
    the cameras from it, which is done again when the file changes. stamp: `stamp_of` the file before these cameras were
    read from it (default: as it is now). connect: makes a connection to a live camera. looks_every_s: how often the
    file is looked at.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        every: int = 1,
        max_frames: int | None = None,
        watched: Path | None = None,
        read: Callable[[], list[Camera]] | None = None,
        patience: Patience | None = None,
        connect: Connect = read_stream,
        looks_every_s: float = 1.0,
        stamp: Any = None,
    ) -> None:
        self._news = threading.Condition()
        self._limits, self._patience, self._connect = (every, max_frames), patience or Patience(), connect
        self._counts: dict[str, CameraCounts] = {}
        self._infos: dict[str, VideoInfo] = {}
        self._closed = threading.Event()
        self._shots = count()  # what was seen at another place says nothing of this one
        self._file = _Watched(watched, read, looks_every_s, stamp) if watched and read else None
        self._removed: list[str] = []
        self._sources = {camera.id: self._source_of(camera) for camera in cameras}
        self._has_begun = False

    def _source_of(self, camera: Camera) -> Reader:
        source: Reader
        if camera.is_live:
            counts = self._counts.setdefault(camera.id, CameraCounts())
            source = LiveReader(camera, *self._limits, self._news, counts, self._patience, self._connect)
        else:
            source = FileReader(camera, *self._limits, self._news)
        source.shot = next(self._shots)
        return source

    def __enter__(self) -> "Sources":
        for source in self._sources.values():
            source.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
        until = time.monotonic() + _CLOSING_S
        for source in self._sources.values():
            source.join(max(until - time.monotonic(), 0))

    def close(self) -> None:
        """End the rounds, also from another thread."""
        self._closed.set()
        for source in list(self._sources.values()):
            source.close()
        with self._news:
            self._news.notify_all()

    def connect(self) -> dict[str, VideoInfo]:
        """What each camera is taken for that answers; a warning for each other one, which is asked again and again.

        InputError where none does, nor listens for somebody who will push to it.
        """
        sources = list(self._sources.values())
        for one in sources:
            _tell_listening(one.camera)
        limit_s = self._patience.open_s + self._patience.read_s + 2 * self._patience.hang_s
        with self._news:
            self._news.wait_for(lambda: all(one.is_settled for one in sources), limit_s)
        found = {one.camera.id: one.info for one in sources if one.info is not None}
        problems = {one.camera.id: one.problem for one in sources if one.info is None}
        is_awaited = any(isinstance(problem, NobodyPushed) for problem in problems.values())
        if not found and not is_awaited:
            raise InputError("; ".join(str(problem or "no answer") for problem in problems.values()))
        others = "; the others go on without it" if found else ""
        for camera, problem in problems.items():
            warn(f"{camera}: {problem or 'no answer yet'}{others}")
        return found

    def rounds(self, size_hw: tuple[int, int], seconds: float | None = None) -> Iterator[list[CameraFrame]]:
        """The newest frame of every camera that has a new one, for a predictor of this size, for so many seconds.

        A frame that does not fit is left out, with a warning for the first. Ends when no camera has anything left, and
        with an InputError where no frame of any camera fits.
        """
        end_s = None if seconds is None else time.monotonic() + seconds
        for source in self._sources.values():
            source.begin()
        while not self._closed.is_set() and (end_s is None or time.monotonic() < end_s):
            if self._file is not None:
                self._change_to(self._file.changed())
            sources = list(self._sources.values())
            taken = [(source, some) for source in sources if (some := source.take()) is not None]
            frames = [frame for source, some in taken if (frame := self._fitted(source, some, size_hw)) is not None]
            if frames:
                self._has_begun = True
                yield frames
            elif not self._has_begun and all(source.left_out for source in sources):
                raise InputError("; ".join(str(source.left_out) for source in sources))
            elif all(source.is_over and not source.has_news for source in sources):
                return
            with self._news:
                if not any(source.has_news for source in sources):
                    self._news.wait(_LOOKS_EVERY_S)

    def _fitted(self, source: Reader, taken: Taken, size_hw: tuple[int, int]) -> CameraFrame | None:
        camera, before = source.camera, source.left_out
        try:
            about = taken.number, taken.time_s, taken.rgb(), size_hw, taken.captured_s
            frame = frame_of(camera, *about, source.shot)
        except Exception as error:
            source.left_out = as_input_error(camera, error)
            if str(before) != str(source.left_out) and (self._has_begun or len(self._sources) > 1):
                warn(f"{camera.id}: {source.left_out}; this camera is left out")
            return None
        if before is not None:
            source.left_out = None
            tell(f"{camera.id}: its frames fit again")
        return frame

    def _change_to(self, cameras: list[Camera] | None) -> None:
        """Start, end and change cameras, so that these are left; nothing for None."""
        if cameras is None:
            return
        wanted, before = {camera.id: camera for camera in cameras}, list(self._sources)
        self.infos()  # of those that go too
        for key, source in list(self._sources.items()):
            if key not in wanted or wanted[key].source != source.camera.source:
                source.close()
                del self._sources[key]
                if key in wanted:  # from elsewhere, which may be something else
                    self._infos.pop(key, None)
            else:
                if not source.camera.is_live and wanted[key].fps != source.camera.fps:
                    warn(f"{key}: is a file, which keeps its fps; remove it and add it again to begin it with another")
                source.camera = wanted[key]
        for key, camera in wanted.items():
            if key not in self._sources:
                self._sources[key] = self._source_of(camera)
                self._sources[key].begin()
                self._sources[key].start()
                _tell_listening(camera)
        removed = [key for key in before if key not in wanted]
        self._removed += removed
        tell(f"cameras now: {', '.join(wanted)}" + (f" (removed: {', '.join(removed)})" if removed else ""))

    def removed(self) -> list[str]:
        """The cameras that were removed since this was last asked; for the thread that takes the rounds."""
        removed, self._removed = self._removed, []
        return removed

    def infos(self) -> dict[str, VideoInfo]:
        """What each camera that there has been was last taken for."""
        self._infos |= {key: one.info for key, one in list(self._sources.items()) if one.info is not None}
        return dict(self._infos)

    def counts(self) -> dict[str, dict[str, int]]:
        """Of each live camera that there has been: frames that were dropped, and reconnects."""
        return {key: {"dropped": one.dropped, "reconnects": one.reconnects} for key, one in list(self._counts.items())}

    def frame_rate(self, camera: str) -> float:
        """Frames a second of a camera, of which its `fps` may take fewer; a usual rate for one that is not there."""
        source = self._sources.get(camera)
        rate = source.info.frame_rate if source and source.info else USUAL_RATE
        return min(rate, (source and source.camera.fps) or rate)

    @property
    def round_rate(self) -> float:
        """How many rounds a second the fastest camera has frames for; infinity for files, which wait for rounds."""
        cameras = [one.camera for one in list(self._sources.values())]
        rates = [self.frame_rate(one.id) if one.is_live else float("inf") for one in cameras]
        return max(rates, default=float("inf")) / self._limits[0]

    def failed(self) -> dict[str, InputError]:
        """What is wrong with each camera now."""
        found = {key: source.problem or source.left_out for key, source in list(self._sources.items())}
        return {key: problem for key, problem in found.items() if problem is not None}


def stamp_of(path: Path) -> Any:
    """What differs after a change of the file (time, size, inode); None where there is no file."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino


class _Watched:
    """A file of cameras, read again after a change that has been there for a look: editors write in parts."""

    def __init__(self, path: Path, read: Callable[[], list[Camera]], every_s: float, stamp: Any) -> None:
        self._path, self._read, self._every_s = path, read, every_s
        self._known = self._last = stamp or stamp_of(path)
        self._next_s = 0.0

    def changed(self) -> list[Camera] | None:
        """The cameras of a changed file, once; a warning where it is broken."""
        if time.monotonic() < self._next_s:
            return None
        self._next_s = time.monotonic() + self._every_s
        last, self._last = self._last, stamp_of(self._path)
        if self._last == self._known or self._last != last:
            return None
        self._known = self._last
        try:
            return self._read()
        except (InputError, OSError, UnicodeError) as error:
            warn(f"{one_line(error, 400)}; the cameras stay as they were")
            return None


def _tell_listening(camera: Camera) -> None:
    if camera.source.endswith(LISTENS):
        tell(f"{camera.id}: listens for a stream that is pushed to {camera.shown.removesuffix(LISTENS)}")
