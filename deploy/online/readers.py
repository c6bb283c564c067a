"""One camera, read in threads of its own.

A live camera has a mailbox of one slot: the newest frame takes the place of the one before it, so that no frame is old
when it is taken. A file beside it waits for its turn, and loses nothing.
"""

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from deploy.online.cameras import Camera, file_frames
from deploy.online.ports import LISTENS, ListeningPort
from deploy.online.streams import PasswordRefused, Patience, RecordingEnded
from regenhance_data.console import tell, warn
from regenhance_data.errors import InputError, one_line, redacted
from regenhance_data.io.video import inspect_video, upright
from regenhance_data.io.video_streams import VideoInfo

_FILE_AHEAD = 2  # frames of a file that wait
_MOST_HANGING = 3  # connections of one camera that never returned; then it is not asked again before one does
_LOOKS_EVERY_S = 0.2

Connect = Callable[[str, Patience, Callable[[], None], float | None], Iterator[tuple[VideoInfo, av.VideoFrame]]]


@dataclass
class CameraCounts:
    """Of a live camera: frames that came, those that nobody took, and how often it came back."""

    seen: int = 0
    dropped: int = 0
    reconnects: int = 0


class Taken(NamedTuple):
    """A frame as its reader left it; `rgb` makes uint8 [h, w, 3] of it."""

    number: int
    time_s: float
    rgb: Callable[[], np.ndarray]
    captured_s: float | None


class Reader:
    """One camera, read in threads of its own from `start` to `close`.

    news: notified when there is something to take; all that threads share is guarded by it. shot: of its frames.
    """

    shot = 0

    def __init__(self, camera: Camera, every: int, max_frames: int | None, news: threading.Condition) -> None:
        self.camera = camera
        self.info: VideoInfo | None = None
        self.problem: InputError | None = None  # why nothing comes, while nothing comes
        self.left_out: InputError | None = None  # why what comes is not taken
        self.is_over = self._has_begun = False
        self._every, self._most, self._news = every, max_frames, news
        self._waiting: deque[Taken] = deque()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=camera.id, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        raise NotImplementedError

    def begin(self) -> None:
        """The rounds begin: what comes from now on counts, and changes are printed."""
        self._has_begun = True

    def take(self) -> Taken | None:
        """The next frame, if there is a new one."""
        with self._news:
            if not self._waiting:
                return None
            self._news.notify_all()
            return self._waiting.popleft()

    @property
    def has_news(self) -> bool:
        return bool(self._waiting)

    @property
    def is_settled(self) -> bool:
        """Whether it is known what the camera is, or why not."""
        return self.info is not None or self.problem is not None

    def close(self) -> None:
        self._closed.set()

    def join(self, seconds: float) -> None:
        """Wait for its threads, which may wait for a camera."""
        self._thread.join(seconds)


class FileReader(Reader):
    """A file beside live cameras."""

    def _run(self) -> None:
        try:
            info = inspect_video(Path(self.camera.source))
            with self._news:
                self.info = info
                self._news.notify_all()
            for number, time_s, rgb in file_frames(self.camera, self._every, self._most):
                with self._news:
                    self._news.wait_for(lambda: len(self._waiting) < _FILE_AHEAD or self._closed.is_set())
                    if self._closed.is_set():
                        return
                    self._waiting.append(Taken(number, time_s, partial(_same, rgb), None))
                    self._news.notify_all()
        except Exception as error:
            self.problem = as_input_error(self.camera, error)
            if self._has_begun:
                warn(f"{self.camera.id}: {self.problem}; the others go on without it")
        finally:
            with self._news:
                self.is_over = True
                self._news.notify_all()


class _Connection:
    """One connection to a live camera, in a thread that may never return."""

    def __init__(
        self, source: str, connect: Connect, patience: Patience, known_rate: float | None, give: Callable[..., bool]
    ) -> None:
        self.frames = 0
        self.problem: Exception | None = None
        self.beat_s = time.monotonic()  # when a library last returned
        self._arguments = source, connect, patience, known_rate, give
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _beat(self) -> None:
        self.beat_s = time.monotonic()

    def _run(self) -> None:
        source, connect, patience, known_rate, give = self._arguments
        try:
            for info, frame in connect(source, patience, self._beat, known_rate):
                self._beat()
                if not give(self, info, frame):
                    return
                self.frames += 1
        except Exception as error:
            # its traceback holds decoder and pictures in a cycle, which Python collects late: megabytes a connection
            error.__traceback__ = error.__context__ = error.__cause__ = None
            self.problem = error


class LiveReader(Reader):
    """A live camera: connected again and again, with a mailbox for its newest frame."""

    def __init__(
        self,
        camera: Camera,
        every: int,
        max_frames: int | None,
        news: threading.Condition,
        counts: CameraCounts,
        patience: Patience,
        connect: Connect,
    ) -> None:
        super().__init__(camera, every, max_frames, news)
        self.counts, self._patience, self._connect = counts, patience, connect
        self._connection: _Connection | None = None
        self._hanging: list[_Connection] = []
        self._due_s = 0.0  # of the next frame, by time.monotonic()
        self._first_s: float | None = None
        self._lost_s: float | None = None
        self._has_ended = self._begins_again = False  # a recording: a line says so once

    def begin(self) -> None:
        with self._news:
            super().begin()
            lost = self.problem if self.info is not None else None  # before the first round
            self._has_ended |= isinstance(lost, RecordingEnded)
        if lost is not None:
            self._warn_of_loss(lost)

    def _warn_of_loss(self, problem: InputError) -> None:
        then = "it begins again, each time" if isinstance(problem, RecordingEnded) else "trying again"
        warn(f"{self.camera.id}: {problem}; {then}")

    def _run(self) -> None:
        with ListeningPort(self.camera.source) as port:
            self._connect_again_and_again(port)

    def _connect_again_and_again(self, port: ListeningPort) -> None:
        patience = self._patience
        wait_s = patience.first_wait_s
        while not self._closed.is_set():
            self._hanging = [one for one in self._hanging if one.thread.is_alive()]
            if len(self._hanging) >= _MOST_HANGING:
                self._closed.wait(patience.longest_wait_s)
                continue
            if (refused := port.problem()) is not None:
                self._lose(refused)
                self._closed.wait(patience.longest_wait_s)
                continue
            rate = self.info.frame_rate if self.info else None
            self._connection = connection = _Connection(self.camera.source, self._connect, patience, rate, self._give)
            connection.thread.start()
            problem = self._watched(connection)
            if self._closed.is_set() or self.is_over:
                return
            self._lose(as_input_error(self.camera, problem))
            _trim_memory()
            if connection.frames or self.camera.source.endswith(LISTENS):  # whoever pushes must find it listening
                wait_s = patience.first_wait_s
            is_refused = isinstance(problem, PasswordRefused)
            self._closed.wait(patience.refused_wait_s if is_refused else wait_s)
            wait_s = min(2 * wait_s, patience.longest_wait_s)

    def _watched(self, connection: _Connection) -> Exception | None:
        """What ended a connection, or that it hangs."""
        limit_s = max(self._patience.open_s, self._patience.read_s) + self._patience.hang_s
        while True:
            connection.thread.join(_LOOKS_EVERY_S)
            if not connection.thread.is_alive() or self._closed.is_set():
                return connection.problem
            if time.monotonic() - connection.beat_s > limit_s:
                with self._news:
                    self._connection = None
                self._hanging.append(connection)
                return InputError(f"{self.camera.shown}: hangs for {limit_s:g} s; this connection is given up")

    def _lose(self, problem: InputError) -> None:
        with self._news:
            is_new = str(problem) != str(self.problem)
            self._begins_again = isinstance(problem, RecordingEnded)
            is_new &= not (self._begins_again and self._has_ended)
            self._has_ended |= self._begins_again and self._has_begun
            self.problem = problem
            self._lost_s = self._lost_s or time.monotonic()
            is_told = is_new and self._has_begun
            self._news.notify_all()
        if is_told:
            self._warn_of_loss(problem)

    def _give(self, connection: _Connection, info: VideoInfo, frame: av.VideoFrame) -> bool:
        """Put a frame in the mailbox; whether the connection should go on."""
        line = ""
        with self._news:
            if connection is not self._connection or self._closed.is_set():
                return False
            if not connection.frames or info is not self.info:
                is_again = self.info is not None and not connection.frames
                self.counts.reconnects += is_again
                if self._has_begun and not (is_again and self._begins_again):
                    lost_s = time.monotonic() - (self._lost_s or time.monotonic())
                    line = f"{self.camera.id}: {f'there again after {lost_s:.1f} s:' if is_again else 'read as'} {info}"
                self.info, self.problem, self._lost_s = info, None, None
                self._news.notify_all()
            self._put(frame)
            goes_on = not self.is_over
        if line:
            tell(line)
        return goes_on

    def _put(self, frame: av.VideoFrame) -> None:
        if not self._has_begun:
            return
        captured_s, now_s = time.time(), time.monotonic()  # the time of day may be set while a run goes on
        if self.camera.fps is not None:
            due_s = next_due(self._due_s, now_s, self.camera.fps)
            if due_s is None:
                return
            self._due_s = due_s
        number = self.counts.seen
        self.is_over = self._most is not None and number >= self._most
        if self.is_over:
            self._news.notify_all()
            return
        self.counts.seen += 1
        if number % self._every:
            return
        self._first_s = now_s if self._first_s is None else self._first_s
        self.counts.dropped += len(self._waiting)
        self._waiting.clear()
        rgb = partial(upright, frame, self.camera.shown)
        self._waiting.append(Taken(number, now_s - self._first_s, rgb, captured_s))
        self._news.notify_all()

    def join(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        super().join(seconds)
        if self._connection is not None:
            self._connection.thread.join(max(until - time.monotonic(), 0))


def _trim_memory() -> None:
    """Give back what a connection's threads had: the C library keeps it for later ones, some megabytes for each."""
    with suppress(AttributeError, OSError):  # another one than glibc
        ctypes.CDLL(None).malloc_trim(0)


def next_due(due_s: float, now_s: float, fps: float) -> float | None:
    """When the frame is due that follows one that came at `now_s` and was due at `due_s`; None: this one is too early
    for so many frames a second. Half a period early and a period late are on time, for frames come unevenly.
    """
    period_s = 1 / fps
    if abs(now_s - due_s) > 2 * period_s:  # the first, one after a gap, or fps was raised
        due_s = now_s
    return None if now_s < due_s - period_s / 2 else max(due_s, now_s - period_s) + period_s


def _same(rgb: np.ndarray) -> np.ndarray:
    return rgb


def as_input_error(camera: Camera, error: Exception | None) -> InputError:
    """Any problem of a camera in one line, without credentials."""
    if isinstance(error, InputError):
        return error
    said = one_line(RuntimeError(redacted(f"{type(error).__name__}: {error}"))) if error else "its stream has ended"
    return InputError(f"{camera.shown}: {said}")
