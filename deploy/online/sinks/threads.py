"""A sink in a thread of its own, fed by a bounded queue: files lose nothing, connections never slow the loop."""

import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from deploy.online.sinks.frame import FrameResult
from regenhance_data.console import tell, warn
from regenhance_data.errors import one_line

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0  # between two attempts to reach what is down
LAST_S = 2.0  # at the end of a run, for a connection to take what waits: less than a command has after Ctrl-C
_END = object()


class Sink(Protocol):
    """What takes results. `take` is called by the loop, everything else by the sink's own thread."""

    def take(self, result: FrameResult) -> Any:
        """What waits in the queue for `write`: as little as the sink needs. Quick."""

    def write(self, item: Any) -> None:
        """Write, or send, one item. After an error and `close` it opens again what it needs."""

    def finish(self) -> list[Path]:
        """Complete what was written; the files that are there now."""

    def close(self) -> None:
        """Let go of everything, complete or not."""


class Connection(Sink, Protocol):
    """A sink that sends. shown: its address, as messages give it. unconfirmed: how many items that were written the
    other side has not confirmed, if it does.
    """

    shown: str
    unconfirmed: int


class SinkThread:
    """A sink of files: a full queue blocks, and an error of the sink is raised by the next `put`, or by `finish`.

    name: (kind of sink, camera or ""). Results are written in the order of `put`. written, dropped: counts of
    frames. is_up: whether it works.
    """

    def __init__(self, name: tuple[str, str], sink: Sink, depth: int) -> None:
        self.kind, self.camera = name
        self.written = self.dropped = self._given = 0
        self.is_up = True
        self._sink, self._depth = sink, depth
        self._waiting: deque[Any] = deque()
        self._changed = threading.Condition()
        self._is_ending = self._is_finishing = False
        self._error: BaseException | None = None
        self._made: list[Path] = []
        self._thread = threading.Thread(target=self._run, name=f"sink {self.kind} {self.camera}", daemon=True)
        self._thread.start()

    def put(self, result: FrameResult) -> None:
        """Queue one more result."""
        item = self._sink.take(result)
        with self._changed:
            self._make_room()
            self._raise()
            self._waiting.append(item)
            self._given += 1
            self._changed.notify_all()

    def _make_room(self) -> None:
        self._changed.wait_for(lambda: self._error is not None or len(self._waiting) < self._depth)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def end(self, finish: bool) -> None:
        """Let the thread end: after what waits is written and completed, or at once. `join` waits for it."""
        with self._changed:
            self._is_ending, self._is_finishing = True, finish
            self._changed.notify_all()

    def join(self) -> list[Path]:
        """Wait for the thread; the files that are complete. Raises what the sink raised."""
        self._thread.join()
        if self._is_finishing:
            self._raise()
        return self._made

    def _run(self) -> None:
        try:
            while (item := self._next()) is not _END:
                self._write(item)
            if self._is_finishing:
                self._made = self._sink.finish()
        except BaseException as error:
            with self._changed:
                self._error, self.is_up = error, False
                self._changed.notify_all()
        finally:
            with suppress(Exception):  # after an error, as on a full disk, there may be more
                self._sink.close()

    def _next(self) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._is_ending)
            if not self._waiting or (self._is_ending and not self._is_finishing):
                return _END
            self._changed.notify_all()
            return self._waiting.popleft()

    def _write(self, item: Any) -> None:
        self._sink.write(item)
        self.written += 1


class ConnectionThread(SinkThread):
    """A sink of a connection: a full queue loses its oldest result, which is counted, and errors end nothing.

    A server that is down is reported once and tried again after pauses that grow; when it is back, that is reported
    and the results that wait are sent. problem: what was last wrong; "" for nothing.
    """

    def __init__(self, name: tuple[str, str], sink: Connection, depth: int) -> None:
        self.shown, self._deadline_s, self._connection = sink.shown, float("inf"), sink
        self.problem = ""
        self._told_slow = self._is_abandoned = False
        super().__init__(name, sink, depth)

    def _make_room(self) -> None:
        if len(self._waiting) < self._depth:
            return
        self._waiting.popleft()
        self.dropped += 1
        if self.written and self.is_up and not self._told_slow:  # before that it is being connected
            self._told_slow = True
            warn(f"{self.shown}: takes fewer frames than there are; the oldest are left out, and counted in run.json")

    def end(self, finish: bool) -> None:
        """As SinkThread's; what waits has LAST_S."""
        if not self._is_ending:
            self._deadline_s = time.monotonic() + LAST_S
        super().end(finish)

    def join(self) -> list[Path]:
        """Wait for the thread, but not for one that hangs; what it has not sent, or nobody confirmed, is dropped."""
        self._thread.join(max(self._deadline_s + LAST_S / 2 - time.monotonic(), 0))
        with self._changed:
            self._waiting.clear()
            if not self._is_abandoned:
                self.written -= self._connection.unconfirmed
            self._is_abandoned = True
            self.dropped = self._given - self.written
        return []

    @property
    def losses(self) -> str:
        """What it took of the frames so far, in words; "" where it took all of them."""
        if not self.dropped:
            return ""
        why = self.problem or ("" if self.written else "no answer")
        took = f"{self.shown}: took {self.written or 'none'} of {self.written + self.dropped} frames"
        return took + (f" ({why})" if why else "")

    def _next(self) -> Any:
        return super()._next() if time.monotonic() < self._deadline_s else _END

    def _write(self, item: Any) -> None:
        pause_s, began = FIRST_PAUSE_S, time.monotonic()
        while True:
            try:
                self._sink.write(item)
            except Exception as error:
                self._sink.close()
                self.problem = _reason(error)
                if self.is_up and not self._is_abandoned:
                    self.is_up = False
                    warn(f"{self.shown}: {self.problem}; trying again; frames that cannot wait are left out")
                with self._changed:
                    if self._changed.wait_for(lambda: self._is_ending, pause_s):
                        return
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            self.written += 1
            if not self.is_up:
                self.is_up, self._told_slow, self.problem = True, False, ""
                tell(f"{self.shown}: back after {time.monotonic() - began:.0f} s; {self.dropped} frames are left out")
            return


def _reason(error: Exception) -> str:
    """Without the address, which exceptions may quote."""
    return str(getattr(error, "strerror", None) or one_line(error))
