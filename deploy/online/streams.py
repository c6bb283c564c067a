"""One connection to a live camera: opened and read with PyAV, so that what is wrong is one line and no call waits for
ever.
"""

import errno
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

import av

from deploy.online.ports import LISTENS, refuse_unusable
from deploy.online.rates import USUAL_RATE
from regenhance_data.errors import InputError, one_line, redacted
from regenhance_data.io.video_streams import VideoInfo, described, is_picture

_PROTOCOLS = "rtsp,rtsps,rtmp,http,https,httpproxy,tcp,udp,rtp,srtp,tls,crypto,data"  # none that reads files here
# a page or a picture is none of them, whatever it begins with
_FORMATS = "mpegts,mpjpeg,mjpeg,flv,live_flv,hls,matroska,webm,mov,mp4,avi,asf,nut,mpeg,h264,hevc,m4v,ogg,aac"
# what is not known of a stream after half a second of it, its first keyframe tells
_PROBED = {"probesize": "1000000", "analyzeduration": "500000", "fpsprobesize": "0"}
_BEATS_EVERY_S = 0.5
_MOST_PERIODS = 3.0  # of frames: more between two of them is a jump of the time stamps
# of a playlist, whose segments come late and are skipped: less than a segment of a second, which may be late too
_LEAST_SKIP_S, _LEAST_DELAY_S = 0.5, 1.0
_BUFFERED_S, _MEASURED_S = 0.2, 1.0  # frames that came before the stream was open come at once; then they are counted
_PASSWORD = av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError
_CREDENTIALS = "USER:PASSWORD@ before the host in the URL"
_WORDS: tuple[tuple[Any, str], ...] = (
    (av.error.HTTPNotFoundError, "there is no such stream (404); mend the path of the URL"),
    (
        av.error.HTTPClientError | av.error.HTTPServerError,
        "the answer is an error; does the camera show it in a browser?",
    ),
    (ConnectionRefusedError, "the connection is refused; is the camera on, and the port right?"),
    (
        av.error.EOFError | OSError,
        "the connection broke off without a stream; is the camera still starting, and is this the URL of its stream?",
    ),
)


@dataclass(frozen=True)
class Patience:
    """How long a camera is waited for, in seconds.

    open_s: for an answer. read_s: for the next packet, and twice that for the next frame. hang_s: when a call of a
    library has still not returned so long after that, it is given up. first_wait_s: before the camera is asked again,
    doubled up to longest_wait_s; refused_wait_s where it refuses the password: cameras lock those out who try often.
    """

    open_s: float = 10.0
    read_s: float = 5.0
    hang_s: float = 5.0
    first_wait_s: float = 0.2
    longest_wait_s: float = 1.0
    refused_wait_s: float = 30.0


class PasswordRefused(InputError):
    """The camera wants another user or password."""


class RecordingEnded(InputError):
    """The stream is a recording, and was read to its end."""


class NobodyPushed(InputError):
    """The stream is to be pushed, and has not been yet."""


def read_stream(
    source: str, patience: Patience, beat: Callable[[], None], known_rate: float | None = None
) -> Iterator[tuple[VideoInfo, av.VideoFrame]]:
    """What a live camera is taken for and its next frame, again and again.

    source: a URL or a device. beat: called each time that a library has returned. known_rate: frames a second, as an
    earlier connection found; a camera that does not say its rate is then not measured again. Ends with an InputError
    alone, which names the source without its credentials.
    """
    shown, has_come, waited_s = redacted(source), False, patience.open_s
    try:
        _refuse_unknown_host(source)
        if source.endswith(LISTENS):
            refuse_unusable(source)
        beat()
        with _open(source, patience) as container:
            beat()
            waited_s = patience.read_s
            stream = _pictures_of(shown, container)
            info = None
            frames = _frames(shown, container, stream, patience, beat)
            is_recording = source.lower().startswith("http") and (container.duration or 0) > 0
            jump_s = _MOST_PERIODS / float(stream.average_rate or USUAL_RATE)
            if is_recording:
                jump_s = max(patience.read_s, jump_s)
                frames = in_real_time(frames, jump_s, jump_s, beat)
            elif container.format.name.startswith("hls"):  # seconds of it come at once, again and again
                frames = in_real_time(frames, max(_LEAST_SKIP_S, jump_s), max(_LEAST_DELAY_S, jump_s), beat)
            rate = _rate_of(stream) or known_rate
            if rate is None:
                rate, came = _rate_of_arrivals(frames)
                frames = chain(came, frames)
            for frame in frames:
                if info is None or info.coded_hw != (frame.height, frame.width):
                    info = described(container, stream, frame, rate)
                has_come = True
                yield info, frame
        if is_recording:
            raise RecordingEnded(f"{shown}: its recording has ended")
        raise InputError(f"{shown}: its stream has ended")
    except (av.FFmpegError, OSError, ValueError) as error:
        if has_come:
            raise InputError(f"{shown}: its stream broke off, or nothing came for {patience.read_s:g} s") from None
        raise _in_words(shown, source, error, waited_s) from None


def _refuse_unknown_host(source: str) -> None:
    """FFmpeg calls an unknown host an input/output error."""
    url = urlsplit(source)
    if not url.hostname:
        return
    try:
        socket.getaddrinfo(url.hostname, url.port)
    except OSError:
        raise InputError(
            f"{redacted(source)}: there is no host {url.hostname}; is its name right, and the network up?"
        ) from None


def _open(source: str, patience: Patience) -> Any:
    av.logging.set_level(None)  # FFmpeg's own lines show URLs
    if source.startswith("/"):
        return av.open(source, format="v4l2", timeout=(patience.open_s, patience.read_s))
    url, listens = (source[: -len(LISTENS)], True) if source.endswith(LISTENS) else (source, False)
    # FFmpeg has one limit for opening and reading, and calls it an input/output error: PyAV's, which are shorter, hold
    scheme, open_us = urlsplit(url).scheme.lower(), str(int(1e6 * (patience.open_s + 1)))
    options = {"protocol_whitelist": _PROTOCOLS, **_PROBED}
    if scheme in ("rtsp", "rtsps"):
        options |= {"rtsp_transport": "tcp", "timeout": open_us}
        if listens:
            options |= {"rtsp_flags": "listen", "listen_timeout": str(max(int(patience.open_s), 1))}
    else:
        options |= {"rw_timeout": open_us, "format_whitelist": _FORMATS, "max_redirects": "0"}
        options |= {"listen": "1"} if listens else {}
    timeout = patience.open_s, patience.read_s
    return av.open(url, options=options, timeout=timeout, metadata_errors="replace")


def _pictures_of(shown: str, container: Any) -> Any:
    """The stream with the pictures, ready to decode."""
    known = [stream for stream in container.streams.video if stream.codec_context is not None]
    if is_picture(container):
        raise InputError(f"{shown}: is a single picture; give the URL of the camera's stream")
    if not container.streams.video:
        what = "is sound alone, without pictures" if container.streams else "has no pictures"
        raise InputError(f"{shown}: {what}; give the URL of the camera's video stream")
    if not known:
        raise InputError(f"{shown}: has a codec that FFmpeg does not know; set the camera to H.264")
    stream = max(known, key=lambda one: one.width * one.height)
    stream.thread_type = "SLICE"  # threads that each decode a frame would hold frames back
    return stream


def _rate_of(stream: Any) -> float | None:
    """Frames a second, as the stream says; None where it says nothing that can be, as Motion JPEG over HTTP."""
    rate = float(stream.codec_context.framerate or stream.average_rate or 0)
    return rate if 0.1 <= rate <= 240 else None


def _rate_of_arrivals(frames: Iterator[av.VideoFrame]) -> tuple[float, list[av.VideoFrame]]:
    """Frames a second, as they come for some time, and the last one of these, if any; a usual rate where the stream
    ends or breaks off before.
    """
    came_s: list[float] = []
    first_s, last = None, None
    try:
        for last in frames:
            now_s = time.monotonic()
            first_s = first_s or now_s
            if now_s > first_s + _BUFFERED_S:
                came_s.append(now_s)
            if len(came_s) > 2 and came_s[-1] > came_s[0] + _MEASURED_S:
                return round((len(came_s) - 1) / (came_s[-1] - came_s[0]), 1) or 0.1, [last]
    except (av.FFmpegError, OSError):
        if last is None:
            raise
    return USUAL_RATE, [last] if last else []


def _frames(
    shown: str, container: Any, stream: Any, patience: Patience, beat: Callable[[], None]
) -> Iterator[av.VideoFrame]:
    """The frames that decode; damaged packets are passed over."""
    last = time.monotonic()
    for packet in container.demux(stream):
        beat()
        try:
            frames = packet.decode()
        except av.FFmpegError:
            frames = []
        for frame in frames:
            last = time.monotonic()
            yield frame
        if time.monotonic() - last > 2 * patience.read_s:
            raise InputError(f"{shown}: sends data, but no frame of it decodes; restart the camera, or set it to H.264")


def in_real_time(
    frames: Iterator[av.VideoFrame], early_s: float, late_s: float, beat: Callable[[], None]
) -> Iterator[av.VideoFrame]:
    """The frames of a recording, each when it is due: a web server gives the whole at once.

    A frame that is due more than early_s from now is one behind a jump of the time stamps, one that was due more than
    late_s ago too, or it came late: it is due now, and those after it follow it.
    """
    ahead_s = float("inf")  # of the recording's time before the clock's
    for frame in frames:
        if frame.time is not None:
            now = time.monotonic()
            if not -late_s < frame.time - ahead_s - now < early_s:  # the first one too
                ahead_s = frame.time - now
            due_s = frame.time - ahead_s
            while (left_s := due_s - time.monotonic()) > 0:
                time.sleep(min(left_s, _BEATS_EVERY_S))
                beat()
        yield frame


def _in_words(shown: str, source: str, error: Exception, waited_s: float) -> InputError:
    """What is wrong, in one line; a library's own words have the URL in them."""
    if isinstance(error, _PASSWORD):
        return PasswordRefused(f"{shown}: the user or the password is refused; write {_CREDENTIALS}")
    if isinstance(error, TimeoutError | av.error.ExitError):
        if source.endswith(LISTENS):
            return NobodyPushed(f"{shown}: nobody has pushed a stream to it; start the one that does")
        return InputError(f"{shown}: no answer for {waited_s:g} s; is the camera on, and the address right?")
    if source.startswith("/") and isinstance(error, OSError):
        return InputError(f"{shown}: {error.strerror}; is the device connected and free, and may this user read it?")
    is_unread = isinstance(error, av.error.InvalidDataError | av.error.ArgumentError)
    is_unread |= isinstance(error, OSError) and error.errno == errno.EIO  # of redirects too: none is followed
    if is_unread and source.lower().startswith("rtsp"):
        return InputError(
            f"{shown}: gives no answer that RTSP knows; is the camera up, the port right, and is it rtsp:// or rtsps://?"
        )
    if is_unread and source.lower().startswith("rtmp"):
        return InputError(f"{shown}: has no stream; does somebody publish to it, and is the path right?")
    if is_unread:
        return InputError(
            f"{shown}: is no video that can be read (a web page, or it sends to another address?); "
            "give the URL of the stream itself"
        )
    words = next((words for kind, words in _WORDS if isinstance(error, kind)), None)
    return InputError(
        f"{shown}: {words or one_line(Exception(getattr(error, 'strerror', None) or type(error).__name__))}"
    )
