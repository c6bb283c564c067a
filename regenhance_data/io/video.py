"""Video files in and out: frames are streamed, one at a time, whatever the length of the clip."""

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import av
import numpy as np

from regenhance_data.console import warn
from regenhance_data.errors import InputError
from regenhance_data.io.files import atomic_write

# A playlist can look like a video but name other files or hosts.
_PLAYLISTS = {"concat", "concatf", "dash", "hls", "image2", "imf", "sdp"}
_OPEN_OPTIONS = {"protocol_whitelist": "file"}


def _open(path: Path) -> tuple[Any, Any]:
    """(container, video stream) of a file. InputError when there is none."""
    if not path.is_file():
        raise InputError(f"{path}: no such video" if not path.exists() else f"{path}: is a folder, not a video")
    try:
        container = av.open(str(path), options=_OPEN_OPTIONS)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path}: not a video that can be read ({_reason(error)}); is it complete?") from None
    if _PLAYLISTS & set(container.format.name.split(",")):
        container.close()
        raise InputError(f"{path}: is a list of other files, not a video; give the videos themselves")
    if not container.streams.video:
        container.close()
        raise InputError(f"{path}: has no video stream; give a file with pictures")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return container, stream


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def frame_rate(path: Path) -> float:
    """The average frame rate of a video in frames a second (25 if the file does not record one)."""
    container, stream = _open(path)
    with container:
        return float(stream.average_rate or stream.guessed_rate or 25)


def read_video(path: Path, fps: float | None = None, every: int = 1, allow_cut: bool = True) -> Iterator[np.ndarray]:
    """The frames of a video as RGB, uint8 [H, W, 3], upright (the file's rotation flag is applied).

    With `fps`, the pictures on the screen at 0, 1/fps, 2/fps … seconds, by the frames' own time stamps (so a
    variable frame rate becomes constant; no picture is repeated); then every `every`-th of those. A damaged or
    truncated video yields the frames that decode, and a warning; without `allow_cut` it raises InputError. So do files
    that are no video or have no frame that decodes.
    """
    decoded = _decode(path, allow_cut)
    for index, frame in enumerate(decoded if fps is None else _resample(decoded, fps)):
        if index % every == 0:
            yield _upright(frame)


def _upright(frame: av.VideoFrame) -> np.ndarray:
    # Both count counter-clockwise: the display matrix's angle and np.rot90.
    image = frame.to_ndarray(format="rgb24")
    quarter_turns = round((frame.rotation or 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image


def _decode(path: Path, allow_cut: bool) -> Iterator[av.VideoFrame]:
    """Decoded frames in display order, each with its own time; damaged packets are skipped, with a warning."""
    container, stream = _open(path)
    count, last_s = 0, 0.0
    errors: list[Exception] = []
    with container:
        for packet in _packets(container, stream, errors):
            try:
                frames = packet.decode() if packet is not None else stream.codec_context.decode(None)
            except av.FFmpegError as error:
                errors.append(error)
                continue
            for frame in frames:
                count += 1
                last_s = max(last_s, frame.time or 0.0)
                yield frame
        missing_s = _promised_s(container, stream) - last_s
        tolerated_s = 3 / float(stream.average_rate or 25) + 0.02 * last_s
        promised = stream.frames
    if count == 0:
        raise InputError(f"{path}: no frame of it decodes; record or copy it again")
    if errors or missing_s > tolerated_s:
        of = f" of {promised}" if promised > count else ""
        if not allow_cut:
            raise InputError(f"{path}: damaged or cut short, {count}{of} frames decode; copy it again, or --allow_cut")
        warn(f"{path}: damaged or cut short; the {count}{of} frames that decode are kept")


def _packets(container: Any, stream: Any, errors: list[Exception]) -> Iterator[Any]:
    """The packets of a stream; where the file breaks off, a last None to flush the decoder."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            errors.append(error)
            yield None
            return
        if packet is None:
            return
        yield packet


def _promised_s(container: Any, stream: Any) -> float:
    """When the last picture should be over, by the file's header; 0 if it does not say."""
    if stream.duration is not None:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    alone = len(container.streams) == 1  # else the sound may be longer
    return float(container.duration or 0) / av.time_base if alone else 0.0


def _resample(frames: Iterator[av.VideoFrame], fps: float) -> Iterator[av.VideoFrame]:
    """The frames that are on the screen at a tick of 1/fps seconds, counted from the first frame, each once.

    A frame is shown until the next one; the last as long as the one before it.
    """
    start, shown, shown_at, duration = 0.0, None, 0.0, 0.0
    for frame in frames:
        time = frame.time if frame.time is not None else shown_at + duration
        if shown is None:
            start = time
        else:
            duration = time - shown_at
            if _has_tick(shown_at - start, time - start, fps):
                yield shown
        shown, shown_at = frame, time
    if shown is not None and _has_tick(shown_at - start, shown_at - start + duration, fps):
        yield shown


def _has_tick(begin: float, end: float, fps: float) -> bool:
    # a thousandth of a tick of tolerance: time stamps are rounded to the file's own time base
    first_tick = ceil(begin * fps - 1e-3)
    return first_tick == 0 or first_tick < end * fps - 1e-3


class VideoWriter:
    """An H.264 video (yuv420p, MP4, index in front: plays in browsers) of RGB frames, written whole or not at all.

    with VideoWriter(path, fps=25) as video:
        video.write(frame)          # uint8 [H, W, 3]; an odd row or column at the edge is left out

    `crf` is x264's constant rate factor (higher is smaller and worse). The file appears when the block ends well.
    """

    def __init__(self, path: Path, fps: float, crf: int = 20) -> None:
        self._path = path
        self._rate = Fraction(fps).limit_denominator(1001)
        self._crf = crf
        self._stream: Any = None

    def __enter__(self) -> "VideoWriter":
        with ExitStack() as opened:
            temporary = opened.enter_context(atomic_write(self._path))
            self._container = opened.enter_context(av.open(str(temporary), "w", options={"movflags": "faststart"}))
            # closed in reverse order: an error while flushing or closing, as on a full disk, leaves no file either
            opened.push(self._flush)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._opened.__exit__(*error)

    def _flush(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is None and self._stream is not None:
            self._container.mux(self._stream.encode(None))

    def write(self, frame: np.ndarray) -> None:
        height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
        if self._stream is None:
            # two threads on every machine: x264's output depends on their number
            self._stream = self._container.add_stream(
                "libx264", rate=self._rate, options={"crf": str(self._crf), "threads": "2"}
            )
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
        self._container.mux(self._stream.encode(picture))
