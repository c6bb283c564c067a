"""The annotated video of a camera, pushed to an RTSP server."""

import json
import signal
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from deploy.online.sinks import push_process
from deploy.online.sinks.addresses import CAMERA
from deploy.online.sinks.frame import FrameResult
from regenhance_data.errors import redacted

_CLOSING_S = 1.0  # for the server to take the last frames


class Push:
    """H.264 to `address`, with `camera` for its {camera}, encoded and sent by a process of its own.

    In this process, FFmpeg's RTSP would stop all threads while a server does not answer. shown: the address without
    credentials, which go through a pipe.
    """

    unconfirmed = 0  # RTSP confirms no frame

    def __init__(self, address: str, camera: str) -> None:
        self._address = address.replace(CAMERA, camera)
        self.shown = redacted(self._address)
        self._process: subprocess.Popen[bytes] | None = None
        self._began_s = 0.0

    def take(self, result: FrameResult) -> FrameResult:
        return result

    def write(self, result: FrameResult) -> None:
        picture = result.picture()
        process = self._process or self._start(picture.shape)
        try:
            _write(process, struct.pack(push_process.TIME, int(1e3 * (time.monotonic() - self._began_s))))
            _write(process, picture.tobytes())
        except OSError:
            raise ConnectionError(_last_word(process)) from None

    def _start(self, shape: tuple[int, ...]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", push_process.__file__]
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        # in a session of its own: Ctrl-C is for the loop, which then ends it; without buffers, whose locks would stop
        # Python's end where this thread hangs
        process = subprocess.Popen(command, 0, stdin=pipe, stdout=pipe, stderr=nothing, start_new_session=True)
        self._process, self._began_s = process, time.monotonic()
        with suppress(OSError):
            _write(process, json.dumps({"address": self._address, "size": shape[:2]}).encode() + b"\n")
        said = process.stdout.read(len(push_process.READY))  # type: ignore[union-attr]
        if said != push_process.READY:
            raise ConnectionError(_last_word(process, said))
        return process

    def finish(self) -> list[Path]:
        self.close()
        return []

    def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr]
        with suppress(subprocess.TimeoutExpired):
            process.wait(_CLOSING_S)
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def _write(process: subprocess.Popen[bytes], content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[process.stdin.write(rest) :]  # type: ignore[union-attr]


def _last_word(process: subprocess.Popen[bytes], said: bytes = b"") -> str:
    """Why a process ended, of which something was read already."""
    while more := process.stdout.read(1000):  # type: ignore[union-attr]
        said += more
    if process.wait() == -signal.SIGALRM:
        return f"no answer for {push_process.MOST_S} s"
    return said.decode(errors="replace").strip() or f"ended with {process.returncode}"
