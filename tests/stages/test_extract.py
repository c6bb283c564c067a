import resource
import struct
import subprocess
import sys

import av
import numpy as np
import pytest

from regenhance_data.dataset.folder import Dataset
from regenhance_data.io.images import read_image
from regenhance_data.io.video import VideoWriter, frame_rate, read_video
from tests.support.files import ROOT, encode, noise


def test_frames_come_at_the_height_asked_for_with_the_aspect_kept(run, tmp_path):
    video = encode(tmp_path / "clip one.mp4", noise(5, 240, 320))
    run("tools/extract.py", "--video", video, "--data", tmp_path / "d", "--height", 90)
    dataset = Dataset.open(tmp_path / "d")
    assert dataset.clips() == ["clip_one"]
    assert [frame.number for frame in dataset.frames("clip_one")] == [0, 1, 2, 3, 4]
    assert dataset.read("origin_images", dataset.frames("clip_one")[0]).shape == (90, 120, 3)
    record = dataset.record.content["clips"]["clip_one"]
    assert record["frames"] == 5
    assert record["frame_rate"] == 25
    assert record["origin_hw"] == [90, 120]


def test_originals_are_kept_at_a_whole_multiple_of_the_origin_size(run, tmp_path):
    video = encode(tmp_path / "v.mp4", noise(2, 181 * 2, 317 * 2), pixel_format="yuv444p")
    run("tools/extract.py", "--video", video, "--data", tmp_path / "d", "--height", 120, "--keep_hr")
    dataset = Dataset.open(tmp_path / "d")
    frame = dataset.frames("v")[0]
    height, width = dataset.read("origin_images", frame).shape[:2]
    assert (height, width, dataset.scale) == (120, 210, 3)
    assert dataset.read("hr_images", frame).shape == (360, 630, 3)


@pytest.mark.parametrize(("height", "width"), [(359, 637), (17, 1), (1, 33)])
def test_odd_sizes_are_kept_to_the_pixel(run, tmp_path, height, width):
    video = encode(tmp_path / "odd.mp4", noise(1, height, width), pixel_format="yuv444p")
    run("tools/extract.py", "--video", video, "--data", tmp_path / "d", "--height", 360)
    dataset = Dataset.open(tmp_path / "d")
    assert dataset.read("origin_images", dataset.frames("odd")[0]).shape == (height, width, 3)


def test_ten_bit_video_is_read(tmp_path):
    frames = noise(3, 64, 96)
    video = encode(tmp_path / "ten.mp4", frames, pixel_format="yuv420p10le")
    got = list(read_video(video))
    assert len(got) == 3
    assert abs(got[1].astype(int) - frames[1]).mean() < 6


def test_every_nth_frame_and_a_limit(run, tmp_path):
    video = encode(tmp_path / "v.mp4", noise(20, 32, 48))
    run("tools/extract.py", "--video", video, "--data", tmp_path / "d", "--every", 3, "--max_frames", 4)
    dataset = Dataset.open(tmp_path / "d")
    assert len(dataset.frames("v")) == 4
    everything = list(read_video(video))
    np.testing.assert_array_equal(dataset.read("origin_images", dataset.frames("v")[2]), everything[6])


def test_variable_frame_rate_is_sampled_by_time(tmp_path):
    frames = noise(8, 32, 48)
    times = [0, 4, 8, 100, 104, 108, 200, 204]  # hundredths of a second: three bursts
    video = encode(tmp_path / "vfr.mkv", frames, pixel_format="yuv444p", times=times)
    everything = list(read_video(video))
    assert len(everything) == 8
    taken = list(read_video(video, fps=1.0))
    shown_at_0_1_and_2_seconds = [everything[0], everything[3], everything[6]]
    for got, expected in zip(taken, shown_at_0_1_and_2_seconds, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("fps", "expected"), [(25, 50), (5, 10), (10, 20), (50, 50), (12.5, 25)])
def test_even_frame_rates_are_sampled_evenly(tmp_path, fps, expected):
    video = encode(tmp_path / "v.mp4", noise(50, 16, 16))
    assert len(list(read_video(video, fps=fps))) == expected


def test_the_rotation_flag_is_honoured(tmp_path):
    image = np.zeros((32, 64, 3), np.uint8)
    image[:, :32] = 255  # the left half is white
    video = encode(tmp_path / "turned.mp4", [image], pixel_format="yuv444p")
    content = video.read_bytes()
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    clockwise = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    track = content.index(b"tkhd")
    assert content.count(upright, track) == 1
    video.write_bytes(content[:track] + content[track:].replace(upright, clockwise))
    (frame,) = read_video(video)
    assert frame.shape == (64, 32, 3)
    assert frame[:30].mean() > 250  # turned clockwise, left becomes top
    assert frame[34:].mean() < 5


def test_a_second_run_leaves_a_clip_as_it_is_and_another_video_is_refused(run, refused, tmp_path):
    first = encode(tmp_path / "v.mp4", noise(3, 32, 48))
    flags = ["tools/extract.py", "--video", first, "--data", tmp_path / "d"]
    run(*flags)
    picture = tmp_path / "d" / "origin_images" / "v" / "000001.png"
    before = picture.stat().st_mtime_ns
    run(*flags)
    assert picture.stat().st_mtime_ns == before
    encode(first, noise(2, 32, 48, seed=1))
    assert "--overwrite" in refused(*flags)
    run(*flags, "--overwrite")
    assert len(Dataset.open(tmp_path / "d").frames("v")) == 2


def test_clips_of_one_name_get_their_folder_as_well(run, refused, tmp_path):
    for camera in ("cam1", "cam2"):
        (tmp_path / camera).mkdir()
        encode(tmp_path / camera / "0001.mp4", noise(1, 32, 48, seed=int(camera[-1])))
    videos = [tmp_path / "cam1" / "0001.mp4", tmp_path / "cam2" / "0001.mp4"]
    run("tools/extract.py", "--video", *videos, "--data", tmp_path / "d")
    assert Dataset.open(tmp_path / "d").clips() == ["cam1_0001", "cam2_0001"]
    assert "rename" in refused("tools/extract.py", "--video", videos[0], videos[0], "--data", tmp_path / "d")


@pytest.mark.parametrize("case", ["missing", "text", "empty", "folder", "playlist", "list", "sound"])
def test_what_is_no_video_is_refused_and_leaves_nothing(refused, tmp_path, case):
    video = tmp_path / "v.mp4"
    if case == "text":
        video.write_text("this is not a video\n" * 50)
    elif case == "empty":
        video.touch()
    elif case == "folder":
        video.mkdir()
    elif case == "playlist":
        video.write_text(
            "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n"
        )
    elif case == "list":
        encode(tmp_path / "other.mp4", noise(3, 32, 48))
        video.write_text("ffconcat version 1.0\nfile other.mp4\n")
    elif case == "sound":
        import wave

        with wave.open(str(video), "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
            sound.writeframes(bytes(16000))
    line = refused("tools/extract.py", "--video", video, "--data", tmp_path / "d")
    assert str(video) in line
    assert not (tmp_path / "d").exists() or not any((tmp_path / "d").iterdir())


def test_one_video_twice_is_refused_since_it_would_leak_between_splits(run, refused, tmp_path):
    video = encode(tmp_path / "v.mp4", noise(3, 32, 48))
    run("tools/extract.py", "--video", video, "--data", tmp_path / "d")
    video.rename(tmp_path / "copy.mp4")
    assert "as clip v" in refused("tools/extract.py", "--video", tmp_path / "copy.mp4", "--data", tmp_path / "d")


def test_a_failed_replacement_leaves_the_clip_as_it_was(run, refused, tmp_path):
    video = encode(tmp_path / "v.mp4", noise(3, 32, 48))
    flags = ["tools/extract.py", "--video", video, "--data", tmp_path / "d"]
    run(*flags)
    before = {path: path.read_bytes() for path in (tmp_path / "d").rglob("*") if path.is_file()}
    video.write_text("no video any more")
    refused(*flags, "--overwrite")
    assert {path: path.read_bytes() for path in (tmp_path / "d").rglob("*") if path.is_file()} == before


def test_a_run_that_was_cut_off_before_its_last_step_is_done_again_to_the_same_files(run, tmp_path):
    video = encode(tmp_path / "v.mp4", noise(3, 64, 96))
    flags = ["tools/extract.py", "--video", video, "--data", tmp_path / "d", "--height", 32, "--keep_hr"]
    run(*flags)
    before = {path: path.read_bytes() for path in (tmp_path / "d").rglob("*") if path.is_file()}
    # what a kill leaves at worst: the record and the originals, the LR frames under their temporary name
    images = tmp_path / "d" / "origin_images"
    (images / "v").rename(images / ".partial-v")
    run(*flags)
    assert {path: path.read_bytes() for path in (tmp_path / "d").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_what_decodes_of_a_truncated_video_is_kept_and_said(run, tmp_path, suffix):
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".mkv":
        encode(whole, noise(60, 96, 128))
    else:
        with VideoWriter(whole, 25) as video:
            for image in noise(60, 96, 128):
                video.write(image)
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    result = run("tools/extract.py", "--video", cut, "--data", tmp_path / "d")
    count = len(Dataset.open(tmp_path / "d").frames("cut"))
    assert 10 < count < 60
    told = f"the {count} of 60 frames" if suffix == ".mp4" else f"the {count} frames"  # Matroska does not count them
    assert f"cut short; {told} that decode are kept" in result.stderr


def test_a_whole_video_is_not_called_damaged(run, tmp_path):
    for video in (encode(tmp_path / "a.mp4", noise(9, 32, 48)), encode(tmp_path / "b.mkv", noise(9, 32, 48, seed=1))):
        assert "damaged" not in run("tools/extract.py", "--video", video, "--data", tmp_path / "d").stderr


def test_a_video_whose_frames_do_not_decode_is_refused(refused, tmp_path):
    whole = tmp_path / "whole.mp4"
    with VideoWriter(whole, 25) as video:
        video.write(noise(1, 64, 64)[0])
    content = whole.read_bytes()
    start = content.index(b"mdat") + 4
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content[:start] + bytes(len(content) - start))
    assert "no frame of it decodes" in refused("tools/extract.py", "--video", broken, "--data", tmp_path / "d")


def test_a_full_disk_is_one_line_and_leaves_no_clip(refused, tmp_path):
    video = encode(tmp_path / "v.mp4", noise(5, 240, 320))

    def small_files_only() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    line = refused("tools/extract.py", "--video", video, "--data", tmp_path / "d", preexec_fn=small_files_only)
    assert "full" in line
    assert Dataset(tmp_path / "d").clips() == []


@pytest.mark.parametrize(
    "flags", [["--height", "0"], ["--fps", "0"], ["--fps", "nan"], ["--every", "0"], ["--jpeg_quality", "0"]]
)
def test_senseless_numbers_are_refused(refused, tmp_path, flags):
    video = encode(tmp_path / "v.mp4", noise(1, 32, 48))
    assert flags[0] in refused("tools/extract.py", "--video", video, "--data", tmp_path / "d", *flags)


def test_compressing_frames_of_the_cameras_own_size_again_is_told(run, tmp_path):
    video = encode(tmp_path / "v.mp4", noise(1, 32, 48))
    words = ("tools/extract.py", "--video", video, "--jpeg_quality", 75, "--height")
    assert "compresses again what the camera compressed" in run(*words, 32, "--data", tmp_path / "own").stderr
    assert "compresses again" not in run(*words, 16, "--data", tmp_path / "half").stderr


def test_memory_does_not_grow_with_the_clip(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; from regenhance_data.io.video import read_video;"
        "n = sum(1 for _ in read_video(Path(sys.argv[1])));"
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for count in (60, 600):
        video = encode(tmp_path / f"{count}.mp4", [noise(1, 240, 320)[0]] * count)
        done = subprocess.run([sys.executable, "-c", code, video], capture_output=True, text=True, cwd=ROOT, check=True)
        frames, peak = map(int, done.stdout.split())
        assert frames == count
        peaks.append(peak)
    assert peaks[1] < peaks[0] * 1.15


def test_a_written_video_reads_back(tmp_path):
    frames = noise(7, 64, 96)
    with VideoWriter(tmp_path / "v.mp4", fps=12.5, crf=1) as video:
        for image in frames:
            video.write(image)
    got = list(read_video(tmp_path / "v.mp4"))
    assert len(got) == 7
    assert frame_rate(tmp_path / "v.mp4") == pytest.approx(12.5)
    assert abs(got[3].astype(int) - frames[3]).mean() < 6


def test_a_video_that_fails_half_way_leaves_no_file(tmp_path):
    def fail_half_way() -> None:
        with VideoWriter(tmp_path / "v.mp4", fps=25) as video:
            video.write(noise(1, 64, 96)[0])
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_cannot_be_finished_leaves_no_file(tmp_path):
    code = (
        "import resource, signal, sys; from pathlib import Path; import numpy as np;"
        "from regenhance_data.io.video import VideoWriter;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "video = VideoWriter(Path(sys.argv[1]), 25, crf=1).__enter__();"
        "[video.write(np.random.default_rng(i).integers(256, size=(64, 64, 3), dtype=np.uint8)) for i in range(30)];"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "video.__exit__(None, None, None)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "v.mp4"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_images_survive_png(tmp_path):
    from regenhance_data.io.images import write_image

    (image,) = noise(1, 37, 53)
    write_image(tmp_path / "i.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "i.png"), image)


def test_the_only_clip_may_come_back_at_another_scale_or_under_another_name(run, refused, tmp_path):
    video, data = encode(tmp_path / "v.mp4", noise(2, 96, 144)), tmp_path / "d"
    flags = ["tools/extract.py", "--data", data, "--keep_hr"]
    run(*flags, "--video", video, "--height", 48)
    run(*flags, "--video", video, "--height", 32, "--overwrite")
    assert Dataset.open(data).scale == 3
    other = encode(tmp_path / "w.mp4", noise(2, 96, 144, seed=1))
    assert "would have scale 2, the dataset has 3" in refused(*flags, "--video", other, "--height", 48)
    (data / "origin_images" / "v").rename(tmp_path / "away")
    video.rename(tmp_path / "renamed.mp4")
    run(*flags, "--video", tmp_path / "renamed.mp4", "--height", 32)
    assert Dataset.open(data).clips() == ["renamed"]


def test_a_clip_that_is_a_link_is_replaced_and_what_it_names_stays(run, tmp_path):
    video, data = encode(tmp_path / "v.mp4", noise(3, 96, 144)), tmp_path / "d"
    flags = ["tools/extract.py", "--data", data, "--keep_hr", "--video", video]
    run(*flags, "--height", 48)
    for folder in ("origin_images", "hr_images"):
        (data / folder / "v").rename(tmp_path / folder)
        (data / folder / "v").symlink_to(tmp_path / folder)
    run(*flags, "--height", 32, "--overwrite")
    for folder, height in (("origin_images", 32), ("hr_images", 96)):
        assert not (data / folder / "v").is_symlink()
        assert read_image(data / folder / "v" / "000002.png").shape[0] == height
        assert len(list((tmp_path / folder).iterdir())) == 3


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_video_that_ends_with_a_still_picture_is_whole(tmp_path, capsys, suffix):
    path = tmp_path / f"slides.{suffix}"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        packets = [p for i in noise(9, 64, 96) for p in stream.encode(av.VideoFrame.from_ndarray(i, format="rgb24"))]
        packets += stream.encode(None)
        packets[-1].duration *= 100
        file.mux(packets)
    assert len(list(read_video(path, allow_cut=False))) == 9
    assert capsys.readouterr().err == ""
