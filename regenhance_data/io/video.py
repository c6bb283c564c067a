"""Video files in and out: frames are streamed, one at a time, whatever the length of the clip."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, suppress
from fractions import Fraction
from math import ceil, inf
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from regenhance_data.console import warn
from regenhance_data.errors import NO_MEMORY, InputError, lacks_memory, one_line
from regenhance_data.io.files import atomic_write
from regenhance_data.io.video_streams import (
    Orientation,
    VideoInfo,
    described,
    has_decoding_times_only,
    is_picture,
    measured_rate,
    nominal_rate,
    open_video,
)

_MOST_BACKWARDS_S = 1.0  # time stamps that run back further start anew, as in recordings that were joined
_BT709, _BT601, _HD_HEIGHT = 1, 6, 720  # by H.273: matrix, primaries and transfer have these numbers
# what H.273 calls the ways from RGB to YUV that FFmpeg decodes and does not convert
_MATRICES = {8: "YCgCo", 10: "BT.2020-CL", 11: "YDzDx", 12: "chroma-derived NCL", 13: "chroma-derived CL", 14: "ICtCp"}


class CutShort(InputError):
    """A video of which some frames decode, but not all that it should have."""


def inspect_video(path: Path) -> VideoInfo:
    """What a file is taken for: which stream, its codec, size, frame rate and orientation.

    InputError for a file that is no video, or has no frame that decodes.
    """
    frames = _decode(path, allow_cut=True)
    _, first = next(frames)
    frames.close()
    container, stream = open_video(path)
    with container:
        return described(container, stream, first, measured_rate(path, stream))


def has_moving_pictures(path: Path) -> bool:
    """Whether a file is a video of at least two frames that decode. InputError for a file that is no video."""
    container, _ = open_video(path)
    with container:
        if is_picture(container):
            return False
    frames = _decode(path, allow_cut=True)
    next(frames)
    try:
        return next(frames, None) is not None
    finally:
        frames.close()


def promised_frames(videos: Sequence[Path], max_frames: int | None) -> int | None:
    """The frames of all videos, at most `max_frames` of each, by their headers; None where one does not say."""
    counts = [_promised_by_header(video) for video in videos]
    if not all(counts):
        return None
    return sum(min(count, max_frames or count) for count in counts)


def _promised_by_header(video: Path) -> int:
    container, stream = open_video(video)
    with container:
        seconds = (container.duration or 0) / av.time_base
        return int(stream.frames or round(seconds * float(stream.average_rate or 0)))


def frame_rate(path: Path) -> float:
    """The average frame rate of a video in frames a second (25 if the file does not record one)."""
    container, stream = open_video(path)
    with container:
        return measured_rate(path, stream)


def read_video(path: Path, fps: float | None = None, every: int = 1, allow_cut: bool = True) -> Iterator[np.ndarray]:
    """The frames of a video as RGB, uint8 [H, W, 3], upright (the file's display matrix is applied).

    With `fps`, the pictures on the screen at 0, 1/fps, 2/fps … seconds, by the frames' own time stamps (so a
    variable frame rate becomes constant; no picture is repeated); then every `every`-th of those. A damaged or
    truncated video yields the frames that decode, and a warning; without `allow_cut` it raises CutShort after them.
    Of losses in a transport stream there is only a warning.
    InputError for files that are no video or have no frame that decodes.
    """
    for _, image in read_timed(path, fps, every, allow_cut):
        yield image


def read_timed(
    path: Path, fps: float | None = None, every: int = 1, allow_cut: bool = True
) -> Iterator[tuple[float, np.ndarray]]:
    """The frames of `read_video`, each with its time in seconds since the first."""
    decoded: Iterator[tuple[float, av.VideoFrame]] = _decode(path, allow_cut)
    for index, (time_s, frame) in enumerate(decoded if fps is None else _resample(decoded, fps)):
        if index % every == 0:
            yield time_s, upright(frame, str(path))


def upright(frame: av.VideoFrame, shown: str) -> np.ndarray:
    """A decoded frame as RGB uint8 [H, W, 3], with the display matrix applied.

    shown: its source, in an InputError for colours that FFmpeg does not convert.
    """
    try:
        return Orientation.of(frame).apply(frame.to_ndarray(format="rgb24"))
    except av.FFmpegError as error:
        if lacks_memory(error):
            raise
        matrix = _MATRICES.get(frame.colorspace, f"matrix {int(frame.colorspace)}")
        raise InputError(
            f"{shown}: has colours ({frame.format.name}, {matrix}) that FFmpeg does not convert to RGB; "
            "re-encode it with those of BT.709"
        ) from None


def _decode(path: Path, allow_cut: bool) -> Generator[tuple[float, av.VideoFrame], None, None]:
    """Decoded frames in display order, each with its time. Packets that do not decode are skipped; a warning says that
    there was damage. Frames behind losses are kept, so that the numbers of later ones stay as they are.
    """
    container, stream = open_video(path)
    promised, promised_s = stream.frames, _promised_s(container, stream)  # before FFmpeg reads on, and says otherwise
    count, last_dts, last_s, damaged = 0, -1, 0.0, 0
    errors: list[Exception] = []
    losses = _Losses(stream.time_base or Fraction(1))
    rate = nominal_rate(stream)
    clock = _Clock(rate, stream.time_base, has_decoding_times_only(path, container, stream))
    with container:
        for packet in _packets(container, stream, errors):
            if packet is not None and packet.dts is not None:
                last_dts = packet.dts
            losses.add(packet)
            try:
                frames = packet.decode() if packet is not None else stream.codec_context.decode(None)
            except av.FFmpegError as error:
                errors.append(error)
                continue
            for frame in frames:
                count += 1
                damaged += frame.is_corrupt
                shown_s = float((frame.duration or 0) * (frame.time_base or 0))
                last_s = max(last_s, (frame.time or 0.0) + shown_s)
                yield clock.time_s(frame), frame
        missing_s = promised_s - last_s
        if container.format.name == "avi":  # with its end, it loses the index that its length is taken from
            # its times count all chunks, as its header does: also those without a picture
            missing_s = max(missing_s, float((promised - last_dts - 1) * (stream.time_base or 1 / rate)))
        tolerated_s = 3 / float(rate) + 0.02 * last_s
        is_webp = container.format.name == "webp_pipe"
    if count == 0:
        how = "is it an animated WebP? convert it to a video" if is_webp else "record or copy it again"
        raise InputError(f"{path}: no frame of it decodes; {how}")
    if errors or missing_s > tolerated_s:
        of = f" of {promised}" if promised > count else ""
        if not allow_cut:
            raise CutShort(f"{path}: damaged or cut short, {count}{of} frames decode; copy it again")
        warn(f"{path}: damaged or cut short; the {count}{of} frames that decode are kept")
    elif losses.count or damaged:  # copied again, it would have them too
        warn(f"{path}: parts of its stream were lost; pictures after them may be damaged")


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


class _Losses:
    """Counts the losses in a stream, as transport streams tell: of one of the two packets before the lost ones.

    They tell so too where another recording was joined: time begins anew or jumps, and nothing builds on what was lost.
    """

    def __init__(self, time_base: Fraction) -> None:
        self.count = 0
        self._most_ahead = _MOST_BACKWARDS_S / time_base
        self._last = 0  # time of decoding
        self._awaited = 0  # packets of which one may begin the next recording

    def add(self, packet: Any) -> None:
        """The next packet; None, or an empty one without a time, at the end."""
        if packet is None or packet.dts is None:
            self.count += self._awaited > 0
            self._awaited = 0
            return
        if self._awaited:
            self._awaited -= 1
            if packet.is_keyframe and not 0 < packet.dts - self._last <= self._most_ahead:
                self._awaited = 0
            elif not self._awaited:
                self.count += 1
        self._last = packet.dts
        if packet.is_corrupt:
            self._awaited = 2


class _Clock:
    """Seconds since the first frame, for frames in display order; it never runs backwards.

    A frame without a time stamp comes one duration after the one before it. Where the file's time base cannot hold the
    times of an even frame rate, their rounding is undone.
    """

    def __init__(self, rate: Fraction, time_base: Fraction | None, decoding_only: bool) -> None:
        self._duration_s = self._even_s = float(1 / rate)
        is_rounded = time_base is not None and (1 / rate / time_base).denominator > 1
        self._rounding_s = min(float(time_base or 0), self._even_s / 4) if is_rounded else 0.0
        self._decoding_only = decoding_only
        self._start_s = 0.0
        self._now_s: float | None = None
        self._last = {"pts": -inf, "dts": -inf}
        self._faulty = {"pts": 0, "dts": 0}

    def time_s(self, frame: av.VideoFrame) -> float:
        """The time of the next frame."""
        stamp = self._best_stamp(frame)
        stamp_s = None if stamp is None or frame.time_base is None else float(stamp * frame.time_base)
        if self._now_s is None:
            self._start_s, self._now_s = stamp_s or 0.0, 0.0
            return self._now_s
        expected_s = self._now_s + self._duration_s
        time_s = expected_s if stamp_s is None else stamp_s - self._start_s
        if time_s < self._now_s - _MOST_BACKWARDS_S:
            self._start_s += time_s - expected_s
            time_s = expected_s
        even_s = round(time_s / self._even_s) * self._even_s
        if abs(even_s - time_s) <= self._rounding_s and even_s > self._now_s:
            time_s = even_s
        if time_s > self._now_s:
            self._duration_s, self._now_s = time_s - self._now_s, time_s
        return self._now_s

    def _best_stamp(self, frame: av.VideoFrame) -> int | None:
        """The frame's presentation time, or its decoding time where that has been wrong less often (as FFmpeg does)."""
        if self._decoding_only:
            return frame.dts
        for name, stamp in (("pts", frame.pts), ("dts", frame.dts)):
            if stamp is not None:
                self._faulty[name] += stamp <= self._last[name]
                self._last[name] = stamp
        trusts_pts = frame.dts is None or self._faulty["pts"] <= self._faulty["dts"]
        return frame.pts if frame.pts is not None and trusts_pts else frame.dts


def _resample(frames: Iterator[tuple[float, av.VideoFrame]], fps: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """The frames that are on the screen at a tick of 1/fps seconds, counted from the first frame, each once.

    A frame is shown until the next one; the last as long as the one before it.
    """
    shown, shown_s, duration_s, tick = None, 0.0, 0.0, 0
    for time_s, frame in frames:
        duration_s = time_s - shown_s
        if shown is not None and _is_before(tick, time_s, fps):
            yield shown_s, shown
            tick += 1
        # a thousandth of a tick of tolerance: time stamps are rounded to the file's own time base
        tick = max(tick, ceil(time_s * fps - 1e-3))
        shown, shown_s = frame, time_s
    if shown is not None and _is_before(tick, shown_s + duration_s, fps):
        yield shown_s, shown


def _is_before(tick: int, end_s: float, fps: float) -> bool:
    return tick == 0 or tick < end_s * fps - 1e-3


def tag_colours(stream: Any) -> None:
    """Say in an encoder's stream, yuv420p of a known size, what its colours mean: what players assume of that size."""
    about, matrix = stream.codec_context, _BT709 if stream.height >= _HD_HEIGHT else _BT601
    about.colorspace = about.color_primaries = about.color_trc = matrix
    about.color_range = ColorRange.MPEG


def as_tagged(rgb: np.ndarray, stream: Any) -> av.VideoFrame:
    """A frame, uint8 [H, W, 3], in the colours that `tag_colours` told of a stream."""
    about = stream.codec_context
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    space = Colorspace.ITU709 if about.colorspace == _BT709 else Colorspace.ITU601
    return picture.reformat(format=about.pix_fmt, dst_colorspace=space, dst_color_range=about.color_range)


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
            # The same frames make the same file: x264's output depends on the number of threads, and its tree of
            # macroblocks on memory that nobody has written, at sizes that are no multiple of 16.
            options = {"crf": str(self._crf), "threads": "2", "x264-params": "mbtree=0"}
            self._stream = self._container.add_stream("libx264", rate=self._rate, options=options)
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            tag_colours(self._stream)
        picture = as_tagged(frame[:height, :width], self._stream)
        try:
            self._container.mux(self._stream.encode(picture))
        except av.error.ExternalError as error:  # x264 begins with the first frame, and does not say what it lacks
            raise InputError(f"{self._path}: x264 does not start ({one_line(error, 80)}); {NO_MEMORY}") from None


# --- a sample of a video -------------------------------------------------------------------------------------------
_MOST_ERRORS = 1000  # of damaged packets in one stream before its sampling ends


def sample_frames(path: Path, count: int) -> Iterator[np.ndarray]:
    """About `count` frames, spread evenly over a video, in order, each as `read_video` gives it; fewer of a video that
    has fewer.

    Keyframes are taken where the file has them often enough, so that an hour of video need not be decoded. A file that
    cannot be searched by time is decoded. InputError as `read_video`.
    """
    is_empty = True
    for frame in _spread(path, count):
        is_empty = False
        yield upright(frame, str(path))
    if is_empty:
        container, stream = open_video(path)
        with container:
            packets = sum(packet.size > 0 for packet in _packets(container, stream, []) if packet is not None)
        yield from read_video(path, every=max(round(packets / count), 1))


def _spread(path: Path, count: int) -> Iterator[av.VideoFrame]:
    """A frame of each of `count` equal periods: the keyframe before its middle if that is within it. None of a file
    whose length or time stamps are not known.
    """
    with ExitStack() as opened:
        container, stream = open_video(path)
        opened.enter_context(container)
        begin_s = float((stream.start_time or 0) * stream.time_base)
        end_s = _promised_s(container, stream) or float(container.duration or 0) / av.time_base
        step_s = (end_s - begin_s) / count
        frames = _sound_frames(container, stream)
        position_s, number, can_seek = -inf, 0, step_s > 0
        while step_s > 0:
            first_s = begin_s + number * step_s
            seeks = bool(number) and can_seek and first_s > position_s + step_s / 2
            if seeks:
                with suppress(av.FFmpegError):
                    container.seek(int((first_s + step_s / 2) / stream.time_base), stream=stream)
                frames = _sound_frames(container, stream)
            frame = next(frames, None)
            if seeks and (frame is None or frame.time >= first_s + step_s):
                # without an index a seek can lead too far: all is decoded, from the beginning
                container, stream = open_video(path)
                opened.enter_context(container)
                frames = _sound_frames(container, stream)
                frame = next(frames, None)
            # with fewer keyframes than periods a seek leads back: what follows is decoded
            can_seek = can_seek and frame is not None and frame.time > position_s
            while frame is not None and (frame.time < first_s - 1e-6 or frame.time <= position_s):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame
            position_s = frame.time
            number = max(number, int((position_s - begin_s) / step_s)) + 1


def _sound_frames(container: Any, stream: Any) -> Iterator[av.VideoFrame]:
    """The frames from here on that have a time and are not damaged."""
    for _ in range(_MOST_ERRORS):
        try:
            for frame in container.decode(stream):
                if frame.time is not None and not frame.is_corrupt:
                    yield frame
            return
        except av.FFmpegError as error:
            if isinstance(error, EOFError):
                return
