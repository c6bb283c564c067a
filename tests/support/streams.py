"""Cameras on loopback: HTTP servers that send a stream in real time, hang, die and come back; RTSP pushed by PyAV."""

import io
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle, islice
from pathlib import Path

import av
import numpy as np

from regenhance_data.io.images import encode_jpeg

HEADER = b"HTTP/1.0 200 OK\r\nContent-Type: %s\r\n\r\n"
BOUNDARY = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"


class HttpCamera:
    """Sends frames, uint8 [h, w, 3], again and again, `fps` a second, to everybody who connects to `url`.

    kind: mpegts (H.264) or mjpeg. `frames`, `fps` and `is_hanging` may be changed at any time; `stop` kills it, `start`
    brings it back on the same port. `sent`: how many frames everybody together was sent.
    """

    def __init__(
        self, frames: Sequence[np.ndarray], fps: float = 25, kind: str = "mpegts", credentials: str = ""
    ) -> None:
        self.frames, self.fps, self.kind = frames, fps, kind
        self.is_hanging, self.sent = False, 0
        self._open: list[socket.socket] = []
        self.port = 0
        self.start()
        self.url = f"http://{credentials}127.0.0.1:{self.port}/stream"

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, av.FFmpegError):
            connection.recv(4096)
            content_type = b"video/mp2t" if self.kind == "mpegts" else b"multipart/x-mixed-replace; boundary=frame"
            connection.sendall(HEADER % content_type)
            for part in self._parts():
                connection.sendall(part)
                self.sent += 1
                while self.is_hanging:
                    time.sleep(0.02)

    def _parts(self) -> Iterator[bytes]:
        parts = ts_parts(self._paced()) if self.kind == "mpegts" else map(jpeg_part, self._paced())
        yield from parts

    def _paced(self) -> Iterator[np.ndarray]:
        due = time.monotonic()
        for frame in cycle(self.frames):
            yield frame
            due += 1 / self.fps
            time.sleep(max(due - time.monotonic(), 0))


def jpeg_part(frame: np.ndarray) -> bytes:
    jpeg = encode_jpeg(frame, 90)
    return BOUNDARY % len(jpeg) + jpeg + b"\r\n"


def ts_parts(frames: Iterator[np.ndarray]) -> Iterator[bytes]:
    """An MPEG-TS of frames of one size, a part for each, with a keyframe every fifth."""
    file = io.BytesIO()
    stream = None
    with av.open(file, "w", format="mpegts", options={"flush_packets": "1"}) as container:
        for frame in frames:
            if stream is None:
                options = {"preset": "ultrafast", "tune": "zerolatency", "g": "5"}
                stream = container.add_stream("libx264", rate=25, options=options)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            yield file.getvalue()
            file.seek(0)
            file.truncate()


class HlsCamera(BaseHTTPRequestHandler):
    """A live camera as web servers pass it on: segments of a second, of which the playlist has the last three."""

    segments: Sequence[bytes] = ()
    began_s = 0.0

    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        newest = min(2 + int(time.monotonic() - self.began_s), len(self.segments) - 1)
        listed = "".join(f"#EXTINF:1.0,\n{number}.ts\n" for number in range(newest - 2, newest + 1))
        playlist = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{newest - 2}\n{listed}"
        content = playlist.encode() if name == "live.m3u8" else self.segments[int(name.removesuffix(".ts"))]
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.apple.mpegurl" if name == "live.m3u8" else "video/mp2t")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@contextmanager
def hls_camera(folder: Path, frames: Sequence[np.ndarray], seconds: int) -> Iterator[str]:
    """The URL of a camera of 25 frames a second that sends frames again and again for some seconds."""
    with av.open(
        str(folder / "all.m3u8"), "w", format="hls", options={"hls_time": "1", "hls_list_size": "0"}
    ) as target:
        stream = target.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "25", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for frame in islice(cycle(frames), 25 * (seconds + 3)):
            target.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        target.mux(stream.encode(None))
    segments = [(folder / f"all{number}.ts").read_bytes() for number in range(seconds + 3)]
    camera = type("Camera", (HlsCamera,), {"segments": segments, "began_s": time.monotonic()})
    with ThreadingHTTPServer(("127.0.0.1", 0), camera) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/live.m3u8"
        server.shutdown()


@contextmanager
def answering(content: bytes) -> Iterator[str]:
    """The host and port of a server that answers everything with these bytes, twice on each connection if asked."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while connection.recv(4096):
                connection.sendall(content)
                if not content.startswith(b"RTSP"):
                    return

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def push_rtsp(url: str, frames: Sequence[np.ndarray], fps: float, log: Path | None = None) -> None:
    """Push frames, again and again, to whoever listens at a URL, until killed: for a process of its own.

    log: gets the time of each frame before it is encoded, as time.time() has it, one a line. Frames are then up to a
    fifth of their period uneven, so that who knows when some came finds out which they are.
    """
    uneven = 0.0 if log is None else 0.2
    rng = np.random.default_rng()
    while True:
        with suppress(OSError, av.FFmpegError), av.open(url, "w", format="rtsp") as container:
            options = {"preset": "ultrafast", "tune": "zerolatency", "g": "5"}
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            for frame in cycle(frames):
                now = time.time()
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                if log is not None:
                    with log.open("a") as lines:
                        lines.write(f"{now}\n")
                time.sleep(rng.uniform(1 - uneven, 1 + uneven) / fps)
        time.sleep(0.1)
