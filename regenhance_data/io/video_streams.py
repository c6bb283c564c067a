"""Which stream of a file is its video: opened, chosen, and described. `io/video.py` decodes it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from regenhance_data.errors import InputError

# A playlist can look like a video but name other files or hosts.
_PLAYLISTS = {"concat", "concatf", "dash", "hls", "image2", "imf", "sdp"}
_TEXTS = {"tty", "bin", "xbin", "adf", "idf"}  # FFmpeg renders text as a picture of a terminal
_PICTURES = {"ico", "alias_pix", "brender_pix", "fits"}  # and all formats that end in _pipe
_OPEN_OPTIONS = {"protocol_whitelist": "file"}
_CODECS = {"h264": "H.264", "mjpeg": "Motion JPEG", "mpeg4": "MPEG-4", "mpeg2video": "MPEG-2", "mpeg1video": "MPEG-1"}
_SCANNED_PACKETS = 300
_LEAST_JUMP_S, _LEAST_JUMP_STEPS = 10.0, 20  # a longer time between two frames is no part of their rate


@dataclass(frozen=True)
class Orientation:
    """How a decoded picture becomes upright: transposed, then mirrored left to right, then top to bottom.

    One of the eight that a display matrix without shear has.
    """

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "Orientation":
        """That of the frame's display matrix, as FFmpeg applies it; for other angles, the nearest right angle."""
        try:
            side_data: Any = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:  # PyAV reads none where one of them is of a type it does not know; the angle it does
            return _QUARTER_TURNS[round((frame.rotation or 0) / 90) % 4]
        if side_data is None:
            return cls()
        # (a b u, c d v, x y w), by rows: a pixel at (x, y) is shown at (a·x + c·y, b·x + d·y)
        a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(side_data), np.int32)[:5])
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """An image [H, W, 3] made upright: [W, H, 3] if transposed. A contiguous array."""
        image = image.swapaxes(0, 1) if self.transposed else image
        image = image[:, ::-1] if self.mirrored else image
        return np.ascontiguousarray(image[::-1] if self.flipped else image)

    @property
    def is_mirrored(self) -> bool:
        """Whether no rotation makes the picture upright."""
        return (self.transposed + self.mirrored + self.flipped) % 2 == 1

    def __str__(self) -> str:
        if not self.transposed:
            if self.mirrored:
                return "rotated 180°" if self.flipped else "mirrored left to right"
            return "mirrored top to bottom" if self.flipped else ""
        mirror = "" if self.mirrored != self.flipped else " and mirrored left to right"
        return f"rotated {270 if self.flipped else 90}°{mirror}"  # clockwise


# counter-clockwise, as PyAV counts
_QUARTER_TURNS = (
    Orientation(),
    Orientation(True, False, True),
    Orientation(False, True, True),
    Orientation(True, True),
)


@dataclass(frozen=True)
class VideoInfo:
    """What a file is taken for. stream: its index. coded_hw: before it is turned upright. frame_rate: in frames/s.

    frames: their number by the file's header, None where it does not say. left_aside: the other streams with pictures,
    each described.
    """

    stream: int
    codec: str
    coded_hw: tuple[int, int]
    frame_rate: float
    orientation: Orientation
    pixel_aspect: Fraction
    frames: int | None
    left_aside: tuple[str, ...]

    @property
    def upright_hw(self) -> tuple[int, int]:
        height, width = self.coded_hw
        return (width, height) if self.orientation.transposed else (height, width)

    def __str__(self) -> str:
        height, width = self.coded_hw
        words = [f"stream {self.stream}", f"{self.codec} {width}×{height}", f"{self.frame_rate:.5g} frames/s"]
        if str(self.orientation):
            words.append(f"{self.orientation}" + (f" to {height}×{width}" if self.orientation.transposed else ""))
        if self.pixel_aspect != 1:
            words.append(f"pixels of {self.pixel_aspect.numerator}:{self.pixel_aspect.denominator} kept as they are")
        return ", ".join(words) + (f"; not read: {', '.join(self.left_aside)}" if self.left_aside else "")


def open_video(path: Path) -> tuple[Any, Any]:
    """(container, video stream) of a file. InputError where it has none.

    Attached pictures (covers, thumbnails) are no video. Of several tracks, one with more than a single picture is
    taken, then the one marked as default, then the largest.
    """
    container = _open(path)
    try:
        candidates = _candidates(path, container)
    except InputError:
        container.close()
        raise
    stream = candidates[0]
    if len(candidates) > 1:
        seen = Counter(packet.stream_index for packet in _scanned_packets(path, [s.index for s in candidates]))

        def rank(s: Any) -> tuple[bool, bool, int]:
            is_moving = max(seen[s.index], s.frames) > 1
            return is_moving, bool(s.disposition & Disposition.default), s.width * s.height

        stream = max(candidates, key=rank)
    stream.thread_type = "AUTO"
    return container, stream


def _open(path: Path) -> Any:
    if not path.is_file():
        what = "no such video" if not path.exists() else "is a folder, not a video"
        raise InputError(f"{path}: {what if path.is_dir() or not path.exists() else 'is no regular file'}")
    try:
        # absolute: FFmpeg takes what precedes a colon in a relative name for a protocol
        container = av.open(str(path.absolute()), options=_OPEN_OPTIONS, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: not a video that can be read ({reason}); is it complete?") from None
    formats = set(container.format.name.split(","))
    if formats & (_PLAYLISTS | _TEXTS):
        container.close()
        if formats & _TEXTS:
            raise InputError(f"{path}: is a text, not a video; give a file with pictures")
        what = "a picture" if "image2" in formats else "a list of other files"
        raise InputError(f"{path}: is {what}, not a video; give the videos themselves")
    return container


def _candidates(path: Path, container: Any) -> list[Any]:
    """The streams that can be its video, at least one."""
    if not container.streams.video:
        raise InputError(f"{path}: has no video stream; give a file with pictures")
    moving = [stream for stream in container.streams.video if not _is_attached(stream)]
    if not moving:
        raise InputError(f"{path}: has no video stream, only an attached picture; give a file with moving pictures")
    known = [stream for stream in moving if stream.codec_context is not None]
    if not known:
        raise InputError(f"{path}: its video has a codec that FFmpeg does not know; convert it to H.264")
    return known


def _is_attached(stream: Any) -> bool:
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def _scanned_packets(path: Path, streams: Sequence[int]) -> list[Any]:
    """The first packets of some streams, without those that hold no picture; from a container of its own."""
    packets = []
    with _open(path) as container:
        try:
            for packet in islice(container.demux([container.streams[i] for i in streams]), 4 * _SCANNED_PACKETS):
                if packet.size:
                    packets.append(packet)
                if len(packets) >= _SCANNED_PACKETS:
                    break
        except av.FFmpegError:  # decoding will say so
            pass
    return packets


def is_picture(container: Any) -> bool:
    """Whether a file is of a format for single pictures."""
    return any(name.endswith("_pipe") or name in _PICTURES for name in container.format.name.split(","))


def has_decoding_times_only(path: Path, container: Any, stream: Any) -> bool:
    """Whether frames come in another order than their packets, but the file says only when packets are decoded.

    So it is in AVI, where FFmpeg guesses the rest, and where all packets are shown equally long after they are decoded.
    """
    if not stream.codec_context.has_b_frames:
        return False
    packets = _scanned_packets(path, [stream.index])
    delays = {packet.pts - packet.dts for packet in packets if packet.pts is not None and packet.dts is not None}
    return container.format.name == "avi" or len(delays) == 1


def nominal_rate(stream: Any) -> Fraction:
    """The frame rate that a stream is said to have, in frames/s; 25 where it is not said."""
    # raw streams: the average is FFmpeg's default; the guess knows the codec's own rate
    return Fraction(stream.guessed_rate or stream.average_rate or 25)


def measured_rate(path: Path, stream: Any) -> float:
    """The average frame rate of a stream in frames/s, its header held against the time stamps of its first packets; of
    all of them where the file has an index of them.

    Where the time begins anew, and where it jumps, as in recordings that were joined, one frame follows the other.
    """
    said = [float(rate) for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate) if rate]
    packets = _scanned_packets(path, [stream.index])
    is_whole = len(packets) < _SCANNED_PACKETS
    steps = _steps(packets)
    # the index of an AVI has packets without a picture too
    if not is_whole and stream.container.format.name != "avi" and 0 < stream.frames == len(stream.index_entries):
        is_whole, steps = True, np.diff(np.sort([float(entry.timestamp) for entry in stream.index_entries]))
    steps_s = steps * float(stream.time_base)
    if len(steps_s):
        usual_s = np.median(steps_s)
        steps_s[steps_s > max(_LEAST_JUMP_S, _LEAST_JUMP_STEPS * usual_s)] = usual_s
    if not steps_s.any():
        return float(nominal_rate(stream))
    rate = float(1 / steps_s.mean())
    # the whole was measured: to one frame. Else the rest may be slower or faster
    tolerance = 1.0 / len(steps_s) if is_whole else 0.5
    return next((value for value in said if abs(value - rate) <= tolerance * rate), rate)


def _steps(packets: Sequence[Any]) -> np.ndarray:
    """The distances of packets in time, in units of their time base, float64 [n]; none where the time begins anew."""
    parts: list[list[int]] = [[]]
    last = -inf
    for packet in packets:
        if packet.dts is not None:
            if packet.dts < last:
                parts.append([])
            last = packet.dts
        time = packet.pts if packet.pts is not None else packet.dts
        if time is not None:
            parts[-1].append(time)
    return np.concatenate([np.diff(np.sort(np.array(part, np.float64))) for part in parts])


def described(container: Any, stream: Any, frame: av.VideoFrame, rate: float) -> VideoInfo:
    """What a file is taken for: `stream` of a frame rate in frames/s, whose first picture is `frame`."""
    others = [other for other in container.streams.video if other.index != stream.index]
    return VideoInfo(
        stream=stream.index,
        codec=_codec(stream),
        coded_hw=(frame.height, frame.width),
        frame_rate=rate,
        orientation=Orientation.of(frame),
        pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
        frames=stream.frames or None,
        left_aside=tuple(
            f"stream {other.index} ({'attached picture' if _is_attached(other) else 'other track'}, {_size(other)})"
            for other in others
        ),
    )


def _size(stream: Any) -> str:
    return f"{_codec(stream)} {stream.width}×{stream.height}" if stream.codec_context is not None else "unknown codec"


def _codec(stream: Any) -> str:
    name = stream.codec_context.codec.canonical_name
    return _CODECS.get(name, name.upper())
