"""What extraction says about a video, and records of it."""

import importlib
import re

import numpy as np
import pytest

from regenhance_data.dataset.folder import Dataset
from regenhance_data.stages import extract as stage
from tests.support.files import ROOT, content, encode, noise
from tests.support.videos import encode_as, joined
from tools import extract as command


def test_what_a_video_is_taken_for_is_told_and_recorded(run, tmp_path):
    video = encode_as(tmp_path / "v.mp4", noise(4, 48, 80), matrix=(0, 1, -1, 0))
    flags = ("tools/extract.py", "--video", video, "--data", tmp_path / "d")
    told = run(*flags).stdout
    read_as = "stream 0, H.264 80×48, 25 frames/s, rotated 90° to 48×80"
    assert f"{video}: read as {read_as}\n" in told
    record = Dataset(tmp_path / "d").record.clips["v"]
    assert (record.read_as, record.source_hw) == (read_as, (80, 48))
    before = content(tmp_path / "d")
    assert read_as in run(*flags).stdout
    assert content(tmp_path / "d") == before


@pytest.mark.parametrize(
    ("flags", "frames", "rate"),
    [((), 40, 30), (("--fps", 5), 7, 5), (("--every", 2), 20, 15), (("--fps", 60), 40, 30)],
    ids=["all", "fps", "every", "more_than_there_are"],
)
def test_the_recorded_frame_rate_is_that_of_the_extracted_frames(run, tmp_path, flags, frames, rate):
    video = encode_as(tmp_path / "v.h264", noise(40, 48, 80), rate=30)
    run("tools/extract.py", "--video", video, "--data", tmp_path / "d", *flags)
    record = Dataset(tmp_path / "d").record.clips["v"]
    assert (record.frames, record.frame_rate, record.source_rate) == (frames, rate, 30)


def test_a_frame_rate_that_drops_is_recorded_as_it_is(run, tmp_path):
    times_ms = [*range(0, 1000, 40), *range(1000, 21000, 1000)]
    video = encode_as(tmp_path / "v.mkv", noise(len(times_ms), 32, 48), times_ms=times_ms)
    run("tools/extract.py", "--video", video, "--data", tmp_path / "d", "--fps", 5)
    record = Dataset(tmp_path / "d").record.clips["v"]
    assert record.frames == 5 + 20
    assert record.frame_rate == pytest.approx(24 / 20, rel=0.01)


def test_a_recording_whose_picture_changes_size_says_so(run, tmp_path):
    parts = [encode_as(tmp_path / f"{h}.h264", noise(4 + h // 48, h, h * 2, seed=h)) for h in (96, 48)]
    video = joined(tmp_path / "both.h264", *parts)
    told = run("tools/extract.py", "--video", video, "--data", tmp_path / "d", "--height", 48, "--keep_hr").stderr
    assert "its picture changes size: 5 of 11 frames have 96×48 pixels, the first 192×96" in told
    assert "LR and HR frames are scaled to the size of the first" in told
    dataset = Dataset(tmp_path / "d")
    shapes = {dataset.read("hr_images", frame).shape for frame in dataset.frames("both")}
    assert shapes == {(96, 192, 3)}


def test_a_video_whose_colours_are_not_converted_does_not_stop_the_others(run, tmp_path):
    odd = encode_as(tmp_path / "odd.mp4", noise(4, 48, 80), matrix_of_colours=8)
    whole = encode_as(tmp_path / "whole.mp4", noise(4, 48, 80, seed=1))
    said = run("tools/extract.py", "--video", odd, whole, "--data", tmp_path / "d", code=2).stderr
    assert f"{odd}: has colours (yuv420p, YCgCo) that FFmpeg does not convert to RGB; re-encode it" in said
    assert Dataset(tmp_path / "d").clips() == ["whole"]


@pytest.mark.parametrize("change", ["none", "grows", "is removed"])
def test_a_video_that_is_still_being_written_or_is_removed_is_told(tmp_path, monkeypatch, capsys, change):
    video = encode_as(tmp_path / "v.ts", noise(4, 48, 80))
    real = stage.read_timed

    def read(*about):
        yield from real(*about)
        if change == "grows":
            with video.open("ab") as file:
                file.write(video.read_bytes())
        if change == "is removed":
            video.unlink()

    monkeypatch.setattr(stage, "read_timed", read)
    with Dataset.writing(tmp_path / "d", new=True) as dataset:
        assert stage.extract(dataset, "v", video, stage.ExtractionSettings()) == "v"
    told = f"{video}: changed while it was read; once nothing writes to it, extract it again with --overwrite"
    assert (told in capsys.readouterr().err) == (change != "none")


def test_originals_that_must_be_scaled_are_told(run, tmp_path):
    odd = encode(tmp_path / "odd.mp4", noise(2, 362, 634))
    even = encode(tmp_path / "even.mp4", noise(2, 360, 630))
    flags = ("--data", tmp_path / "d", "--height", 120, "--keep_hr")
    told = run("tools/extract.py", "--video", odd, *flags).stdout
    assert (
        "scaled from 634×362 to 630×360, 3 times the LR frames' 210×120; a video that is cut to 630×360, with" in told
    )
    assert "--height 120, keeps the pixels; so does --height 181 (scale 2)" in told
    assert "are scaled" not in run("tools/extract.py", "--video", even, *flags).stdout


@pytest.mark.parametrize(
    ("lines", "height", "heights"),
    [
        (
            540,
            360,
            "has 540 lines, 1.5 times the LR frames' 360; --keep_hr needs a whole multiple, at least 2; give "
            "--height 180 (scale 3) or --height 270 (scale 2) or --height 135 (scale 4)",
        ),
        (100, 36, "has 100 lines, 2.78 times the LR frames' 36; "),
        (64, 360, "give --height 21 (scale 3) or --height 32 (scale 2) or "),
    ],
)
def test_originals_are_never_enlarged(run, refused, tmp_path, lines, height, heights):
    video = encode(tmp_path / "v.mp4", noise(1, lines, 96))
    flags = ("tools/extract.py", "--video", video, "--data", tmp_path / "d", "--keep_hr", "--height")
    line = refused(*flags, height)
    assert heights in line
    assert not (tmp_path / "d").exists()
    run(*flags, lines // 3)
    assert Dataset(tmp_path / "d").scale == 3


@pytest.mark.parametrize("lines", [484, 500, 540])
def test_the_demo_takes_originals_of_any_height(run, tmp_path, monkeypatch, lines):
    monkeypatch.syspath_prepend(ROOT / "tools")
    demo = importlib.import_module("demo")
    video = encode(tmp_path / "v.mp4", noise(2, lines, 96))
    args = demo.make_parser().parse_args(["--video", str(video)])
    args.video = [video]
    run("tools/extract.py", "--data", tmp_path / "d", *demo.extraction(args))
    dataset = Dataset(tmp_path / "d")
    assert dataset.scale == 3
    assert dataset.read("hr_images", dataset.frames("v")[0]).shape[0] == lines // 3 * 3


@pytest.fixture
def interrupted(monkeypatch):
    """interrupted("--video", …): what an extraction says that is interrupted at its 20th frame of a video."""
    read = stage.read_timed

    def read_until_interrupted(video, *arguments):
        for number, pair in enumerate(read(video, *arguments), 1):
            if number == 20:
                raise KeyboardInterrupt
            yield pair

    def run_interrupted(*words):
        args = command.make_parser().parse_args([str(word) for word in words])
        with monkeypatch.context() as patch:
            patch.setattr(stage, "read_timed", read_until_interrupted)
            with pytest.raises(KeyboardInterrupt) as caught:
                command.main(args)
        return str(caught.value)

    return run_interrupted


def test_an_interrupted_run_says_which_clips_it_kept(run, interrupted, tmp_path):
    videos = [encode(tmp_path / f"{name}.mp4", noise(n, 32, 48, seed=n)) for name, n in (("a", 3), ("b", 24))]
    flags = ("--video", *videos, "--data", tmp_path / "d", "--height", 16)
    said = interrupted(*flags)
    assert re.fullmatch("kept 1 of 2 clips; of b, kept 1?[0-9] of 24 frames; give the command again to go on", said)
    assert Dataset(tmp_path / "d").clips() == ["a"]
    run("tools/extract.py", *flags)
    assert Dataset(tmp_path / "d").clips() == ["a", "b"]
    assert not list((tmp_path / "d").rglob(".*"))


@pytest.mark.parametrize(
    ("suffix", "flags", "of_total"),
    [(".mp4", (), " of 40"), (".mp4", ("--every", 2, "--max_frames", 30), " of 20"), (".mkv", (), "")],
)
def test_an_interrupted_clip_goes_on_with_the_frames_that_are_whole(
    run, interrupted, tmp_path, suffix, flags, of_total
):
    video = encode(tmp_path / f"v{suffix}", noise(40, 96, 96))
    words = ("--video", video, "--height", 32, "--keep_hr", *flags, "--data")
    run("tools/extract.py", *words, tmp_path / "whole")
    said = interrupted(*words, tmp_path / "d")
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "d").rglob("0*.png") if "hr_" in str(path)}
    assert said == f"kept {len(kept)}{of_total} frames; give the command again to go on"
    assert 0 < len(kept) < 20
    dataset = Dataset(tmp_path / "d")
    assert (dataset.clips(), (dataset.root / "hr_images").exists()) == ([], False)
    (half,) = dataset.root.glob("origin_images/.new/hr_images/000000.png")
    half.with_name(".writing-7-000039.png").write_bytes(b"half")
    run("tools/extract.py", *words, dataset.root)
    assert content(dataset.root) == content(tmp_path / "whole")
    assert kept == {name: (dataset.root / "hr_images" / "v" / name).stat().st_mtime_ns for name in kept}


def test_other_settings_or_no_frames_begin_anew(run, interrupted, tmp_path):
    video = encode(tmp_path / "v.mp4", noise(24, 32, 48))
    words = ("--video", video, "--data", tmp_path / "d", "--height")
    interrupted(*words, 16)
    assert list((tmp_path / "d" / "origin_images").glob(".new/*/*.png"))
    run("tools/extract.py", *words, 8)
    dataset = Dataset(tmp_path / "d")
    assert {dataset.read("origin_images", frame).shape for frame in dataset.frames("v")} == {(8, 12, 3)}
    (dataset.root / "origin_images" / ".new").mkdir()  # what a kill at the last step leaves
    (dataset.root / "origin_images" / ".new" / "plan.json").write_text("{}")
    run("tools/extract.py", *words, 8)
    assert not list(dataset.root.rglob(".*"))


def test_a_name_that_is_no_text_is_told_all_the_same(run, tmp_path):
    video = tmp_path / "caf\udce9.mp4"
    encode(tmp_path / "v.mp4", noise(2, 32, 48)).rename(video)
    run("tools/extract.py", "--video", video, "--data", tmp_path / "d")
    (clip,) = Dataset(tmp_path / "d").clips()
    assert clip.startswith("caf-")


def test_frames_of_a_mirrored_video_are_written_as_they_are_shown(run, tmp_path):
    (image,) = noise(1, 48, 80)
    image[:, :40] = 255
    video = encode_as(tmp_path / "v.mp4", [image] * 2, matrix=(-1, 0, 0, 1))
    run("tools/extract.py", "--video", video, "--data", tmp_path / "d")
    dataset = Dataset(tmp_path / "d")
    frame = dataset.read("origin_images", dataset.frames("v")[0])
    assert np.mean(frame[:, 42:]) > 250
    assert np.mean(frame[:, :38]) < 200


def test_a_mirrored_clip_of_an_earlier_kit_is_pointed_out(run, tmp_path):
    for name, matrix in (("mirrored", (-1, 0, 0, 1)), ("turned", (0, 1, -1, 0))):
        video = encode_as(tmp_path / f"{name}.mp4", noise(2, 48, 80), matrix=matrix)
        root = tmp_path / name
        run("tools/extract.py", "--video", video, "--data", root)
        lines = (root / "dataset.yaml").read_text().splitlines()
        (root / "dataset.yaml").write_text("\n".join(line for line in lines if "read_as" not in line) + "\n")
        told = run("tools/extract.py", "--video", video, "--data", root).stderr
        assert ("an earlier version read such videos otherwise" in told) == (name == "mirrored")
