"""The table of docs/dataset.md: each of its rows is what happens."""

import re
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from regenhance_data.errors import InputError
from regenhance_data.io.video import has_moving_pictures, inspect_video, read_video
from tests.support.files import ROOT, encode, noise
from tests.support.videos import ORIENTATIONS, encode_as, encode_tracks, encode_with_cover, joined

FRAMES = noise(10, 48, 80)


def any_container(folder: Path) -> None:
    for name, codec in (("a.mkv", "libx264"), ("b.webm", "libvpx"), ("c.avi", "mpeg4"), ("d.gif", "gif")):
        video = encode_as(folder / name, FRAMES, codec).rename(folder / f"{name[0]}.mp4")
        assert len(list(read_video(video))) == 10


def several_tracks(folder: Path) -> None:
    small, single = noise(10, 32, 48), noise(1, 96, 128)
    tracks = [(single, "mjpeg", Disposition.default), (small, "libx264", Disposition(0))]
    video = encode_tracks(folder / "v.mp4", [*tracks, (FRAMES, "libx264", Disposition(0))])
    assert str(inspect_video(video)).startswith("stream 2, H.264 80×48")
    video = encode_tracks(
        folder / "d.mp4", [(small, "libx264", Disposition.default), (FRAMES, "libx264", Disposition(0))]
    )
    assert str(inspect_video(video)).startswith("stream 0, H.264 48×32")


def beside_a_video(folder: Path) -> None:
    assert len(list(read_video(encode_with_cover(folder / "v.mkv", FRAMES, noise(1, 96, 128)[0])))) == 10


def attached_alone(folder: Path) -> None:
    """An MP3 file with nothing but a tag that has a cover, and some frames of silence."""
    picture = cv2.imencode(".jpg", FRAMES[0])[1].tobytes()
    body = b"\0image/jpeg\0\x03\0" + picture
    size = len(body) + 10
    tag = b"ID3\x03\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    frame = b"\xff\xfb\x90\xc4" + bytes(413)  # MPEG-1 layer 3, 128 kbit/s, 44.1 kHz
    (folder / "v.mp3").write_bytes(tag + b"APIC" + len(body).to_bytes(4, "big") + b"\0\0" + body + frame * 20)
    with pytest.raises(InputError, match="only an attached picture"):
        next(read_video(folder / "v.mp3"))


def display_matrix(folder: Path) -> None:
    shown = [encode_as(folder / f"{i}.mp4", FRAMES[:1], matrix=matrix) for i, matrix in enumerate(ORIENTATIONS)]
    assert len({next(read_video(video)).tobytes() for video in shown}) == 8


def pixels_not_square(folder: Path) -> None:
    with av.open(str(folder / "v.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 80, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 15)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(FRAMES[0], format="rgb24")))
        container.mux(stream.encode(None))
    assert next(read_video(folder / "v.mp4")).shape == (48, 80, 3)
    assert "pixels of 16:15 kept as they are" in str(inspect_video(folder / "v.mp4"))


def raw_stream(folder: Path) -> None:
    assert inspect_video(encode_as(folder / "v.h264", FRAMES, rate=15)).frame_rate == 15
    assert inspect_video(encode_as(folder / "v.mjpeg", FRAMES, "mjpeg", rate=15)).frame_rate == 25


def avi_with_b_frames(folder: Path) -> None:
    video = encode_as(folder / "v.avi", FRAMES, "mpeg4", options={"bf": "2"})
    np.testing.assert_array_equal(list(read_video(video, fps=5)), list(read_video(video))[::5])


def variable_rate(folder: Path) -> None:
    video = encode_as(folder / "v.mkv", FRAMES[:4], options={"bf": "0"}, times_ms=(0, 40, 2000, 2040))
    everything = list(read_video(video))
    assert len(everything) == 4
    np.testing.assert_array_equal(list(read_video(video, fps=1)), [everything[i] for i in (0, 1, 2)])


def joined_recordings(folder: Path) -> None:
    parts = [encode_as(folder / f"{n}.ts", noise(50, 48, 80, seed=n)) for n in (1, 2)]
    assert abs(len(list(read_video(joined(folder / "v.ts", *parts), fps=5))) - 20) <= 1


def size_changes(folder: Path) -> None:
    parts = [encode_as(folder / f"{n}.h264", noise(5, 48 * n, 80)) for n in (1, 2)]
    assert [frame.shape[0] for frame in read_video(joined(folder / "v.h264", *parts))] == [48] * 5 + [96] * 5


def cut_short(folder: Path) -> None:
    whole = encode(folder / "whole.mkv", noise(60, 96, 128))
    (folder / "v.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert 5 < len(list(read_video(folder / "v.mkv"))) < 60


def lost_on_the_way(folder: Path) -> None:
    content = encode_as(folder / "whole.ts", noise(20, 96, 128)).read_bytes()
    at = len(content) // 188 // 2 * 188
    (folder / "v.ts").write_bytes(content[:at] + content[at + 188 :])
    assert len(list(read_video(folder / "v.ts", allow_cut=False))) == 20


def odd_colours(folder: Path) -> None:
    for matrix in (8, 10, 14):
        with pytest.raises(InputError, match="re-encode it with those"):
            next(read_video(encode_as(folder / f"{matrix}.mp4", FRAMES[:1], matrix_of_colours=matrix)))


def single_picture(folder: Path) -> None:
    cv2.imwrite(str(folder / "v.png"), FRAMES[0])
    assert len(list(read_video(folder / "v.png"))) == 1
    assert not has_moving_pictures(folder / "v.png")


def no_pictures(folder: Path) -> None:
    (folder / "v.txt").write_text("a line\n" * 100)
    (folder / "v.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.ts\n#EXT-X-ENDLIST\n")
    for name in ("v.txt", "v.m3u8"):
        with pytest.raises(InputError):
            has_moving_pictures(folder / name)


ROWS = {
    "any container of FFmpeg, whatever its suffix": any_container,
    "several video tracks": several_tracks,
    "attached picture beside a video": beside_a_video,
    "attached picture alone, or with sound": attached_alone,
    "display matrix": display_matrix,
    "pixels that are not square": pixels_not_square,
    "raw stream without time stamps": raw_stream,
    "AVI with B-frames": avi_with_b_frames,
    "variable frame rate": variable_rate,
    "recordings joined byte by byte": joined_recordings,
    "picture size changes": size_changes,
    "damaged or cut short": cut_short,
    "packets of a transport stream lost on the way": lost_on_the_way,
    "colours that FFmpeg does not convert": odd_colours,
    "single picture": single_picture,
    "text, playlist or sound": no_pictures,
}


def test_every_row_of_the_table_has_a_test():
    section = (ROOT / "docs/dataset.md").read_text().partition("## What videos are taken for")[2].partition("\n## ")[0]
    assert re.findall(r"^\| ([^|]+?) \|", section, re.M)[2:] == [*ROWS]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_table_is_what_happens(tmp_path, row):
    ROWS[row](tmp_path)
