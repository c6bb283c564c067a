"""Which stream of a file is read, how its pictures are turned, and which frames are taken."""

import os
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import av.filter
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given, settings
from hypothesis import strategies as st

from regenhance_data.errors import InputError
from regenhance_data.io.video import (
    CutShort,
    VideoWriter,
    frame_rate,
    inspect_video,
    read_timed,
    read_video,
    sample_frames,
)
from tests.support.files import ROOT, noise
from tests.support.videos import ORIENTATIONS, encode_as, encode_tracks, encode_with_cover, has_encoder, joined

PLAIN, DEFAULT, ATTACHED = Disposition(0), Disposition.default, Disposition.attached_pic
B_FRAMES = {"bf": "2"}
# (codec, file name, format, options, what is true of it)
SAMPLED = [
    ("libx264", "raw.h264", None, {}),  # no time stamps
    ("libx265", "raw.hevc", None, {"x265-params": "log-level=none:pools=none:frame-threads=1"}),
    ("mpeg4", "raw.m4v", "m4v", B_FRAMES),
    ("mpeg2video", "raw.m2v", None, B_FRAMES),
    ("libx264", "b.avi", None, B_FRAMES),  # decoding times alone
    ("mpeg4", "b.avi", None, B_FRAMES),
    ("wmv2", "p.avi", None, {}),
    ("msmpeg4", "vfw.mkv", None, {}),
    ("mpeg4", "b.mkv", None, B_FRAMES),
    ("libx264", "b.mkv", None, B_FRAMES),  # time stamps rounded to a thousandth of a second
    ("libx264", "b.flv", None, B_FRAMES),
    ("wmv2", "p.wmv", None, {}),
    ("libx264", "b.ts", None, B_FRAMES),  # time stamps that begin above 0
    ("mpeg2video", "b.mpg", None, B_FRAMES),
    ("libx264", "b.mov", None, B_FRAMES),
    ("libvpx", "p.webm", None, {}),
]


CASES = ROOT.parent / "shared" / "cases"


def as_ffmpeg_shows(image: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """What `ffmpeg` inserts for a display matrix, by its own filters: see `autorotate` in fftools."""
    a, b, c, d = matrix
    degrees = -np.degrees(np.arctan2(b, a)) % 360  # of av_display_rotation_get, whose negative fftools takes
    turned = round(-degrees) % 360
    if turned == 90:
        filters = [("transpose", "cclock_flip" if c > 0 else "clock")]
    elif turned == 270:
        filters = [("transpose", "clock_flip" if c < 0 else "cclock")]
    elif turned == 180:
        filters = [(name, "") for name, value in (("hflip", a), ("vflip", d)) if value < 0]
    else:
        filters = [("vflip", "")] if d < 0 else []
    graph = av.filter.Graph()
    height, width = image.shape[:2]
    nodes = [graph.add_buffer(width=width, height=height, format="rgb24", time_base=Fraction(1, 25))]
    nodes += [graph.add(name, argument) for name, argument in filters]
    nodes.append(graph.add("buffersink"))
    for first, second in pairwise(nodes):
        first.link_to(second)
    graph.configure()
    graph.push(av.VideoFrame.from_ndarray(image, format="rgb24"))
    return graph.pull().to_ndarray(format="rgb24")


@pytest.mark.parametrize("matrix", ORIENTATIONS)
def test_every_display_matrix_is_applied_as_ffmpeg_does(tmp_path, matrix):
    frames = noise(2, 48, 80)
    stored = list(read_video(encode_as(tmp_path / "stored.mp4", frames)))
    shown = list(read_video(encode_as(tmp_path / "turned.mp4", frames, matrix=matrix)))
    for image, turned in zip(stored, shown, strict=True):
        np.testing.assert_array_equal(turned, as_ffmpeg_shows(image, matrix))


def test_each_of_the_eight_orientations_has_its_own_name(tmp_path):
    videos = [encode_as(tmp_path / f"{i}.mp4", noise(1, 48, 80), matrix=m) for i, m in enumerate(ORIENTATIONS)]
    names = [str(inspect_video(video)).partition("frames/s")[2] for video in videos]
    assert len(set(names)) == 8
    assert names[ORIENTATIONS.index((1, 0, 0, 1))] == ""
    assert names[ORIENTATIONS.index((0, 1, -1, 0))] == ", rotated 90° to 48×80"
    assert names[ORIENTATIONS.index((0, -1, 1, 0))] == ", rotated 270° to 48×80"
    assert names[ORIENTATIONS.index((-1, 0, 0, 1))] == ", mirrored left to right"


@pytest.mark.parametrize(
    ("matrix", "nearest"),
    [((0.98, 0.17, -0.17, 0.98), (1, 0, 0, 1)), ((0, 2, -2, 0), (0, 1, -1, 0)), ((0, 0, 0, 0), (1, 0, 0, 1))],
    ids=["askew", "scaled", "empty"],
)
def test_a_display_matrix_that_is_no_quarter_turn_becomes_the_nearest(tmp_path, matrix, nearest):
    frames = noise(1, 48, 80)
    (got,) = read_video(encode_as(tmp_path / "askew.mp4", frames, matrix=matrix))
    (expected,) = read_video(encode_as(tmp_path / "near.mp4", frames, matrix=nearest))
    np.testing.assert_array_equal(got, expected)


def test_side_data_that_the_reader_does_not_know_does_no_harm(tmp_path):
    (image,) = noise(1, 48, 80)
    cv2.imwrite(str(tmp_path / "exif.webp"), image)
    (frame,) = read_video(tmp_path / "exif.webp")
    assert frame.shape == (48, 80, 3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_an_attached_picture_is_no_video(tmp_path, suffix):
    frames, cover = noise(9, 48, 80), noise(1, 96, 128)
    path = tmp_path / f"v{suffix}"
    if suffix == ".mkv":
        encode_with_cover(path, frames, cover[0])
    else:
        encode_tracks(path, [(cover, "mjpeg", ATTACHED), (frames, "libx264", PLAIN)])
    assert [frame.shape for frame in read_video(path)] == [(48, 80, 3)] * 9
    info = inspect_video(path)
    assert "attached picture, Motion JPEG 128×96" in str(info)
    assert info.coded_hw == (48, 80)


def test_sound_with_a_cover_is_refused(tmp_path):
    with av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=8000)
        cover = container.add_stream("mjpeg", rate=25)
        cover.height, cover.width, cover.pix_fmt, cover.disposition = 48, 64, "yuvj420p", ATTACHED
        container.mux(cover.encode(av.VideoFrame.from_ndarray(noise(1, 48, 64)[0], format="rgb24")))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
    with pytest.raises(InputError, match="only an attached picture"):
        next(read_video(tmp_path / "song.m4a"))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    ("tracks", "chosen"),
    [
        ([(64, PLAIN, 9), (160, DEFAULT, 9)], 1),
        ([(160, PLAIN, 9), (64, DEFAULT, 9)], 1),
        ([(64, DEFAULT, 9), (160, DEFAULT, 9)], 1),
        ([(320, DEFAULT, 1), (64, PLAIN, 9)], 1),  # a single picture, whatever its flags, is no video
        ([(160, DEFAULT, 9), (64, PLAIN, 9)], 0),
    ],
    ids=["default", "default_though_smaller", "largest", "single_picture", "first"],
)
def test_the_default_track_is_taken_then_the_largest(tmp_path, suffix, tracks, chosen):
    path = tmp_path / f"v{suffix}"
    encode_tracks(path, [(noise(count, 48, width), "libx264", flags) for width, flags, count in tracks])
    frames = list(read_video(path))
    assert (len(frames), frames[0].shape[1]) == (9, tracks[chosen][0])
    told = str(inspect_video(path))
    assert told.startswith(f"stream {chosen}, H.264 {tracks[chosen][0]}×48")
    assert f"stream {1 - chosen} (other track" in told


@pytest.mark.parametrize("rate", [25, 30, 10])
@pytest.mark.parametrize(("codec", "name", "format", "options"), SAMPLED, ids=[f"{c}-{n}" for c, n, _, _ in SAMPLED])
def test_every_nth_frame_is_sampled_whatever_the_time_stamps(tmp_path, codec, name, format, options, rate):
    if not has_encoder(codec):
        pytest.skip(f"this FFmpeg has no {codec}")
    video = encode_as(tmp_path / name, noise(40, 64, 96), codec, rate, format, options)
    everything = list(read_video(video))
    assert len(everything) == 40
    sampled = list(read_video(video, fps=5))
    np.testing.assert_array_equal(sampled, everything[:: rate // 5])
    assert frame_rate(video) == rate
    times = [time for time, _ in read_timed(video)]
    np.testing.assert_allclose(times, np.arange(40) / rate, atol=1e-6)


def test_times_of_decoding_are_not_taken_for_those_of_showing(tmp_path):
    """This MXF says that each packet is shown when it is decoded, though its frames are in another order."""
    video = encode_as(tmp_path / "b.mxf", noise(40, 64, 96), options=B_FRAMES)
    np.testing.assert_array_equal(list(read_video(video, fps=5)), list(read_video(video))[::5])


@pytest.mark.parametrize("skipped", [0, 1])
def test_time_stamps_that_begin_anew_are_no_end_of_sampling(tmp_path, skipped):
    """Two recordings in one file: the second part is sampled as the first."""
    parts = [encode_as(tmp_path / f"{n}.ts", noise(25 * 4 * n, 32, 48, seed=n)) for n in (2, 1)]
    video = joined(tmp_path / "both.ts", *parts[skipped:])
    count = len(list(read_video(video)))
    assert count == (300, 100)[skipped]
    assert abs(len(list(read_video(video, fps=5))) - count / 5) <= 1


@settings(max_examples=12)
@given(gaps=st.lists(st.integers(1, 900), min_size=1, max_size=12), fps=st.sampled_from([0.5, 1, 5, 25, 50]))
def test_a_variable_frame_rate_is_sampled_at_its_ticks(tmp_path_factory, gaps, fps):
    times_ms = [0, *np.cumsum(gaps).tolist()]
    video = tmp_path_factory.mktemp("vfr") / "v.mkv"
    encode_as(video, noise(len(times_ms), 32, 48), options={"bf": "0"}, times_ms=times_ms)
    taken = [round(time * 1000) for time, _ in read_timed(video, fps)]
    ticks_ms = np.arange(0, times_ms[-1], 1000 / fps)
    shown = [max(time for time in times_ms if time <= tick + 1) for tick in ticks_ms]
    # the file's times are in milliseconds, and one that is that near to a tick may be taken for it
    assert all(any(abs(time - at) <= 1 for at in times_ms) for time in taken)
    assert sorted(set(taken)) == taken
    for tick, at in zip(ticks_ms, shown, strict=True):
        near = any(abs(time - tick) <= 1.5 for time in times_ms)
        assert near or any(abs(time - at) <= 1 for time in taken)


def test_a_header_that_counts_empty_packets_does_not_raise_the_frame_rate(tmp_path):
    """x264 in AVI with time base 1/600: 600 by the header, of which 24 of 25 are empty."""
    with av.open(str(tmp_path / "v.avi"), "w") as container:
        stream = container.add_stream("libx264", rate=600, options={"bf": "2"})
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for index, image in enumerate(noise(50, 32, 48)):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = index * 24, Fraction(1, 600)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    assert frame_rate(tmp_path / "v.avi") == pytest.approx(25)
    assert len(list(read_video(tmp_path / "v.avi", fps=5))) == 10


def test_a_changing_frame_rate_is_averaged(tmp_path):
    times_ms = [*range(0, 1000, 40), *range(1000, 9000, 500)]
    video = encode_as(tmp_path / "v.mkv", noise(len(times_ms), 32, 48), times_ms=times_ms)
    assert frame_rate(video) == pytest.approx((len(times_ms) - 1) / 8.5, rel=0.02)


def test_a_frame_rate_that_changes_late_is_averaged(tmp_path):
    """Beyond the packets that are looked at, where the file has an index of all frames."""
    times_ms = [*range(0, 62_000, 200), *range(62_000, 72_000, 20)]
    video = encode_as(tmp_path / "v.mp4", [*noise(1, 16, 16)] * len(times_ms), times_ms=times_ms)
    assert frame_rate(video) == pytest.approx(len(times_ms) / 72, rel=0.01)


def test_an_hour_without_frames_is_no_part_of_the_frame_rate(tmp_path):
    """Beyond the packets that are looked at; the header's average has it."""
    times_ms = [*range(0, 18_000, 40), *range(3_600_000, 3_618_000, 40)]
    video = encode_as(tmp_path / "v.mp4", [*noise(1, 16, 16)] * len(times_ms), times_ms=times_ms)
    assert frame_rate(video) == pytest.approx(25, rel=0.01)


@pytest.mark.parametrize("later_s", [0, 3600])
def test_recordings_that_were_joined_have_the_frame_rate_of_one(tmp_path, later_s, capsys):
    parts = [encode_as(tmp_path / f"{n}.ts", noise(60, 32, 48, seed=n), options={"bf": "2"}) for n in range(2)]
    times_ms = [1000 * later_s + 40 * index for index in range(60)]
    parts.append(encode_as(tmp_path / "2.ts", noise(60, 32, 48, seed=2), times_ms=times_ms))
    video = joined(tmp_path / "all.ts", *parts)
    assert frame_rate(video) == 25
    assert len(list(read_video(video))) == 180
    assert capsys.readouterr().err == ""  # nothing is damaged


def avi_with_gaps(path: Path, frames: np.ndarray, step: int) -> Path:
    """An AVI of a frame each `step` 25ths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for index, image in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = index * step, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def lossy(video: Path, path: Path) -> Path:
    """A transport stream of which ten of each hundred packets from the 20th on were lost on the way."""
    packets = [video.read_bytes()[at : at + 188] for at in range(0, video.stat().st_size, 188)]
    path.write_bytes(b"".join(packet for n, packet in enumerate(packets) if not 20 <= n % 100 < 30))
    return path


def damaged(folder: Path, kind: str) -> Path:
    """A damaged video of 60 frames."""
    frames = noise(60, 96, 128)
    if kind == "overwritten":
        content = bytearray(encode_as(folder / "whole.mp4", frames).read_bytes())
        middle = len(content) // 2
        content[middle : middle + 400] = bytes(400)
        (folder / "v.mp4").write_bytes(content)
        return folder / "v.mp4"
    content = avi_with_gaps(folder / "whole.avi", frames, 2 if "gaps" in kind else 1).read_bytes()
    (folder / "v.avi").write_bytes(content[: len(content) * 8 // 10])
    return folder / "v.avi"


@pytest.mark.parametrize("kind", ["overwritten", "AVI without its end", "AVI with gaps without its end"])
def test_damage_is_told_and_refused_where_it_must_not_be(kind, tmp_path, capsys):
    video = damaged(tmp_path, kind)
    count = len(list(read_video(video)))
    assert 10 < count < 60
    assert f"{video}: damaged or cut short; the {count}" in capsys.readouterr().err
    with pytest.raises(CutShort, match="damaged or cut short"):
        list(read_video(video, allow_cut=False))


def test_an_avi_with_gaps_is_whole(tmp_path, capsys):
    """Its header counts the empty packets that stand for the frames left out."""
    video = avi_with_gaps(tmp_path / "v.avi", noise(60, 96, 128), 2)
    with av.open(str(video)) as container:
        assert container.streams.video[0].frames == 119
    assert len(list(read_video(video, allow_cut=False))) == 60
    assert capsys.readouterr().err == ""


def test_losses_on_the_way_are_told_and_every_frame_keeps_its_number(tmp_path, capsys):
    """A copy would have them too, so nothing is refused."""
    whole = encode_as(tmp_path / "whole.ts", noise(60, 96, 128), options={"g": "60", "bf": "2"})
    content, at = whole.read_bytes(), 188 * (whole.stat().st_size // 188 // 3)
    (tmp_path / "one.ts").write_bytes(content[:at] + content[at + 188 :])
    for video in (tmp_path / "one.ts", lossy(whole, tmp_path / "many.ts")):
        numbers = [round(25 * time_s) for time_s, _ in read_timed(video, allow_cut=False)]
        told = f"{video}: parts of its stream were lost; pictures after them may be damaged"
        assert told in capsys.readouterr().err
        assert numbers == sorted(set(numbers))
        assert video.stem == "many" or numbers == list(range(60))


def test_a_slow_video_is_whole(tmp_path, capsys):
    """FFmpeg finds out only while it reads on when the first frame of this file is shown."""
    (still,) = noise(1, 352, 640)
    video = encode_as(tmp_path / "v.mkv", [np.roll(still // 8, 8 * n, 1) for n in range(6)], rate=Fraction(1, 5))
    with av.open(str(video)) as container:
        assert container.streams.video[0].start_time is None
    assert len(list(read_video(video, allow_cut=False))) == 6
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("matrix", "words"), [(8, "YCgCo"), (10, "BT.2020-CL"), (14, "ICtCp")])
def test_colours_that_are_not_converted_are_one_line(matrix, words, tmp_path):
    video = encode_as(tmp_path / "v.mp4", noise(2, 32, 48), matrix_of_colours=matrix)
    for frames in (read_video(video), sample_frames(video, 1)):
        with pytest.raises(InputError, match=f"v.mp4: has colours .*{words}.* re-encode it with those of BT.709"):
            next(frames)


@pytest.mark.parametrize(("height", "matrix"), [(360, 6), (720, 1)])
def test_written_videos_have_the_colours_that_they_say(height, matrix, tmp_path):
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30)]
    frame = np.repeat(np.array([colours], np.uint8), height, 0).repeat(64, 1)
    with VideoWriter(tmp_path / "v.mp4", 25, crf=5) as video:
        video.write(frame)
    with av.open(str(tmp_path / "v.mp4")) as container:
        about = container.streams.video[0].codec_context
        assert (about.colorspace, about.color_primaries, about.color_trc, about.color_range) == (matrix,) * 3 + (1,)
    (read,) = read_video(tmp_path / "v.mp4")
    assert np.abs(read[:, 32::64].astype(int) - frame[:, 32::64]).max() < 6


@pytest.mark.parametrize("name", ["notes.txt", "readme.nfo", "art.ans", "data.bin"])
def test_a_text_is_no_video(tmp_path, name):
    (tmp_path / name).write_text("a line of text\n" * 200)
    with pytest.raises(InputError, match="not a video"):
        next(read_video(tmp_path / name))


def test_a_name_with_a_colon_is_a_file(tmp_path, monkeypatch):
    video = encode_as(tmp_path / "12:30.mp4", noise(3, 32, 48))
    monkeypatch.chdir(tmp_path)
    assert len(list(read_video(video.relative_to(tmp_path)))) == 3


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared videos are not here")
@pytest.mark.parametrize(
    ("name", "sampled", "told"),
    [
        ("10_mirrored_video/r_hflip.mp4", 10, "mirrored left to right"),
        ("10_mirrored_video/r_vflip.mp4", 10, "mirrored top to bottom"),
        ("11_cover_is_stream_0/th_skydio.mp4", 10, "stream 1, H.264 320×180, 25 frames/s"),
        ("11_cover_is_stream_0/two_tracks.mp4", 10, "stream 1, H.264 320×180, 25 frames/s"),
        ("12_raw_stream_fps/t_raw.h264", 10, "25 frames/s"),
        ("13_bframes_in_avi_fps/bgs_02.avi", 149, "25 frames/s"),
        ("13_bframes_in_avi_fps/t_h264_bf.avi", 20, "25 frames/s"),
    ],
)
def test_videos_that_were_read_wrongly_are_read_as_ffmpeg_does(name, sampled, told):
    assert abs(len(list(read_video(CASES / name, fps=5))) - sampled) <= (name.endswith("bgs_02.avi"))
    assert told in str(inspect_video(CASES / name))


def test_the_same_frames_make_the_same_file(tmp_path):
    """Also at sizes that are no multiple of 16, whatever is in the memory that x264 gets."""
    code = (
        "import sys; from pathlib import Path; from regenhance_data.io.video import VideoWriter\n"
        "from tests.support.files import noise\n"
        "with VideoWriter(Path(sys.argv[1]), 25) as video:\n"
        "    for frame in noise(40, 40, 52): video.write(frame)"
    )
    for fill in ("0", "85"):
        environment = {**os.environ, "MALLOC_PERTURB_": fill, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", code, tmp_path / f"{fill}.mp4"], check=True, env=environment)
    assert (tmp_path / "0.mp4").read_bytes() == (tmp_path / "85.mp4").read_bytes()
