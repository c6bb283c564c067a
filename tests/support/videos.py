"""Videos of every kind: codecs, containers, display matrices, several tracks, attached pictures."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.stream import Disposition

# (a, b, c, d) of all display matrices without shear: a pixel at (x, y) is shown at (a·x + c·y, b·x + d·y)
ORIENTATIONS = [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]
_PIXEL_FORMATS = {"mjpeg": "yuvj420p", "gif": "rgb8", "apng": "rgb24", "png": "rgb24"}
_MILLISECOND = Fraction(1, 1000)


def has_encoder(codec: str) -> bool:
    """Whether this build of FFmpeg has an encoder."""
    return codec in av.codecs_available


def encode_as(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "libx264",
    rate: int | Fraction = 25,
    format: str | None = None,
    options: Mapping[str, str] | None = None,
    matrix: Sequence[float] | None = None,
    times_ms: Sequence[int] = (),
    matrix_of_colours: int | None = None,
) -> Path:
    """A video of RGB frames of one size. matrix: (a, b, c, d) of its display matrix. times_ms: of the frames.
    matrix_of_colours: what the file says that it is, by H.273.
    """
    with av.open(str(path), "w", format=format) as container:
        stream = _add_track(container, frames[0].shape[:2], codec, rate, options)
        if matrix is not None:
            a, b, c, d = (round(value * 65536) for value in matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        if matrix_of_colours is not None:
            stream.codec_context.colorspace = matrix_of_colours
        if times_ms:
            stream.codec_context.time_base = _MILLISECOND
        _encode(container, stream, frames, times_ms)
    return path


def encode_tracks(path: Path, tracks: Sequence[tuple[Sequence[np.ndarray], str, Disposition]]) -> Path:
    """A video of several tracks, each (RGB frames, codec, disposition), one after the other in the file."""
    with av.open(str(path), "w") as container:
        streams = []
        for frames, codec, disposition in tracks:
            streams.append(_add_track(container, frames[0].shape[:2], codec, 25, None))
            streams[-1].disposition = disposition
        for stream, (frames, _, _) in zip(streams, tracks, strict=True):
            _encode(container, stream, frames)
    return path


def encode_with_cover(path: Path, frames: Sequence[np.ndarray], cover: np.ndarray) -> Path:
    """A Matroska video with a cover: an attachment, which FFmpeg shows as a video stream."""
    with av.open(str(path), "w") as container:
        stream = _add_track(container, frames[0].shape[:2], "libx264", 25, None)
        container.add_attachment("cover.jpg", "image/jpeg", cv2.imencode(".jpg", cover)[1].tobytes())
        _encode(container, stream, frames)
    return path


def joined(path: Path, *parts: Path) -> Path:
    """Recordings joined byte by byte, as cameras and `cat` do: time stamps run back, sizes may change."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def _add_track(
    container: Any, hw: tuple[int, ...], codec: str, rate: int | Fraction, options: Mapping[str, str] | None
) -> Any:
    stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
    stream.height, stream.width = hw
    stream.pix_fmt = _PIXEL_FORMATS.get(codec, "yuv420p")
    return stream


def _encode(container: Any, stream: Any, frames: Sequence[np.ndarray], times_ms: Sequence[int] = ()) -> None:
    for index, image in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        if times_ms:
            picture.pts, picture.time_base = times_ms[index], _MILLISECOND
        container.mux(stream.encode(picture))
    container.mux(stream.encode(None))


def cut_in_the_middle(video: Path, path: Path) -> Path:
    """The first half of a video's bytes, as Matroska, which has no index that a cut would lose."""
    with av.open(str(video)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path
