import os
import re
import shutil
import unicodedata

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenhance_data.dataset.folder import Dataset, clip_id
from regenhance_data.io.files import write_yaml
from tests.support.files import content, encode, noise
from tests.support.videos import encode_as


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "night").mkdir()
    encode(folder / "day one.mp4", noise(6, 64, 96, seed=1))
    encode(folder / "night" / "cam.mkv", noise(4, 48, 64, seed=2))
    (folder / "notes.txt").write_text("no video")
    return folder


def frames_of(root):
    dataset = Dataset(root)
    return {clip: len(dataset.frames(clip)) for clip in dataset.clips()}


def test_every_video_of_a_folder_is_a_clip(run, recordings, tmp_path):
    shutil.copy(recordings / "night" / "cam.mkv", tmp_path / "b.MKV")
    shutil.copy(recordings / "day one.mp4", tmp_path / "a.mp4")
    (tmp_path / "list.txt").write_text("")
    run("tools/extract.py", "--video_dir", tmp_path, "--data", tmp_path / "data", "--height", "32")
    assert frames_of(tmp_path / "data") == {"a": 6, "b": 4}


def test_a_folder_without_videos_is_refused(refused, tmp_path):
    assert "has no video (.mp4" in refused("tools/extract.py", "--video_dir", tmp_path, "--data", tmp_path / "d")
    assert "no such folder" in refused("tools/extract.py", "--video_dir", tmp_path / "x", "--data", tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_a_manifest_gives_each_clip_its_own_settings(run, recordings, tmp_path):
    manifest = recordings / "clips.yaml"
    clips = [{"video": "day one.mp4"}, {"video": "night/cam.mkv", "id": "night", "height": 24, "max_frames": 3}]
    write_yaml(manifest, {"defaults": {"every": 2}, "clips": clips})
    run("tools/extract.py", "--manifest", manifest, "--data", tmp_path, "--height", "32")
    dataset = Dataset(tmp_path)
    assert frames_of(tmp_path) == {"day_one": 3, "night": 2}
    assert [dataset.read("origin_images", dataset.frames(c)[0]).shape[0] for c in ("day_one", "night")] == [32, 24]
    assert dataset.record.clips["night"].every == 2


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("", "expected a YAML mapping, found NoneType"),
        ("clips: 3", "has no list of clips"),
        ("clips: [3]", "clip 1 names no video"),
        ("clips: [{video: a.mp4, id: ../up}]", "clip 1 has id '../up'; use only letters"),
        ("clips: [{video: a.mp4, id: 2024}]", "clip 1 has id 2024; write it in quotes"),
        ("clips: [{video: a.mp4, hight: 3}]", "unknown key 'hight'; expected: "),
        ("clips: [{video: a.mp4, height: tall}]", "clip 1 has height 'tall', expected a number"),
        ("clips: [{video: a.mp4, height: true}]", "clip 1 has height True, expected a number"),
        ("clips: [{video: a.mp4, height: 0}]", "clip 1: --height 0: expected 1 to 16384"),
        ("clips: [{video: a.mp4}, {video: b/a.mp4}]", "would be clip 'a', as "),
        ("defaults: [1]\nclips: [{video: a.mp4}]", "defaults is not a mapping of settings"),
        ("clip: []", "unknown key 'clip'; expected: clips, defaults"),
        ("clips: [{video: a.mp4, keep_hr: 1}]", "clip 1 has keep_hr 1, expected true or false"),
        ("clips: [{video: a.mp4, id: 0x" + "f" * 3570 + "}]", "has a number of hundreds of digits"),
        ("clips: [{video: a.mp4, fps: -1" + ":59" * 900 + "}]", "has a number of hundreds of digits"),
        ("0" + "7" * 900 + ": 1\nclips: [{video: a.mp4}]", "has a number of hundreds of digits"),
        ("!!python/object/apply:os.system [exit]", "not readable as YAML"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(refused, tmp_path, manifest, message):
    (tmp_path / "m.yaml").write_text(manifest)
    line = refused("tools/extract.py", "--manifest", tmp_path / "m.yaml", "--data", tmp_path / "data")
    assert message in line
    assert not (tmp_path / "data").exists()


def test_a_dataset_yaml_with_a_number_of_thousands_of_digits_is_refused(refused, recordings, tmp_path):
    (tmp_path / "dataset.yaml").write_text(f"scale: 0x{'f' * 4000}\n")
    line = refused("tools/extract.py", "--video", recordings / "day one.mp4", "--data", tmp_path)
    assert f"{tmp_path / 'dataset.yaml'}: not readable as YAML" in line


def test_one_bad_recording_stops_none_of_the_others(refused, recordings, tmp_path):
    shutil.copy(recordings / "day one.mp4", tmp_path / "z.mp4")
    (tmp_path / "a.mp4").write_bytes(os.urandom(500))
    words = ("tools/extract.py", "--video_dir", tmp_path, "--data", tmp_path / "data")
    line = refused(*words)
    assert "1 of 2 clips were refused" in line
    assert str(tmp_path / "a.mp4") in line
    assert frames_of(tmp_path / "data") == {"z": 6}


def test_everything_that_is_a_video_is_taken_from_a_folder_and_the_rest_is_told(run, tmp_path):
    folder = tmp_path / "recordings"
    (folder / "night").mkdir(parents=True)
    frames = noise(4, 64, 96)
    made = [("libx264", "a.m2ts", "mpegts"), ("libx264", "b.h264", None), ("mpeg4", "c.AVI", None)]
    made += [
        ("gif", "d.gif", None),
        ("mjpeg", "e.mjpeg", None),
        ("libx264", "f.dav", "mp4"),
        ("libx264", "g", "mpegts"),
    ]
    for number, (codec, name, format) in enumerate(made):
        encode_as(folder / name, noise(4, 64, 96, seed=number), codec, format=format)
    encode_as(folder / "still.gif", frames[:1], "gif")
    cv2.imwrite(str(folder / "cover.jpg"), frames[0])
    cv2.imwrite(str(folder / "plan.png"), frames[0])
    (folder / "notes.txt").write_text("a line of text\n" * 200)
    (folder / "table.csv").write_text("a,b\n1,2\n")
    (folder / "frames.npy").write_bytes(os.urandom(5000))
    told = run("tools/extract.py", "--video_dir", folder, "--data", tmp_path / "d").stdout
    assert Dataset(tmp_path / "d").clips() == ["a", "b", "c", "d", "e", "f", "g"]
    (line,) = (line for line in told.splitlines() if "left out" in line)
    assert "cover.jpg, plan.png, still.gif (is a picture, not a video)" in line
    assert "notes.txt (is a text, not a video)" in line
    assert "night (is a folder)" in line
    assert "frames.npy, table.csv (not a video that can be read)" in line


def test_names_in_any_script_are_clips_of_their_own(run, tmp_path):
    folder = tmp_path / "cams"
    folder.mkdir()
    names = ["北门", "南门", "камера 1", "café", "cafe", "a b", "a_b", "x" * 101, "x" * 102]
    for number, name in enumerate(names):
        encode_as(folder / f"{name}.mp4", noise(2, 32, 48, seed=number))
    flags = ("tools/extract.py", "--video_dir", folder, "--data", tmp_path / "d")
    run(*flags)
    clips = Dataset(tmp_path / "d").clips()
    assert len(clips) == len(names)
    assert "cafe" in clips
    assert any(clip.startswith("cafe-") for clip in clips)
    run(*flags)
    assert Dataset(tmp_path / "d").clips() == clips
    # a clip keeps its id when its neighbours go
    run("tools/extract.py", "--video", folder / "北门.mp4", "--data", tmp_path / "alone")
    assert Dataset(tmp_path / "alone").clips()[0] in clips


@given(st.text(min_size=1, max_size=12), st.text(min_size=1, max_size=12))
def test_clip_ids_are_safe_and_differ_where_letters_do(one, other):
    ids = [clip_id(name) for name in (one, other)]
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", clip) for clip in ids)
    assert [clip_id(clip) for clip in ids] == ids
    if not one.isascii() and unicodedata.normalize("NFC", one) != unicodedata.normalize("NFC", other):
        assert ids[0] != ids[1]


def test_a_clip_that_an_earlier_kit_named_otherwise_keeps_its_name(run, tmp_path):
    video = encode_as(tmp_path / "北门.mp4", noise(3, 32, 48))
    flags = ("tools/extract.py", "--video", video, "--data", tmp_path / "d")
    run(*flags)
    (clip,) = Dataset(tmp_path / "d").clips()
    root = tmp_path / "d"
    (root / "origin_images" / clip).rename(root / "origin_images" / "_")
    text = (root / "dataset.yaml").read_text().replace(f"  {clip}:", "  _:")
    kept = [line for line in text.splitlines() if "read_as" not in line and "source_rate" not in line]
    (root / "dataset.yaml").write_text("\n".join(kept) + "\n")
    before = content(root)
    run(*flags)
    assert content(root) == before


def test_hr_frames_can_be_kept_for_a_clip_of_the_manifest(run, recordings, tmp_path):
    write_yaml(recordings / "hr.yaml", {"clips": [{"video": "day one.mp4", "height": 32, "keep_hr": True}]})
    told = run("tools/extract.py", "--manifest", recordings / "hr.yaml", "--data", tmp_path).stdout
    assert len(Dataset(tmp_path).frames("day_one", "hr_images")) == 6
    assert "tools/make_importance.py" in told


def test_flags_that_a_manifest_overrides_are_named(run, recordings, tmp_path):
    clips = [{"video": "day one.mp4"}, {"video": "night/cam.mkv", "fps": 5, "height": 24}]
    write_yaml(recordings / "flags.yaml", {"defaults": {"height": 32}, "clips": clips})
    flags = ("--height", "48", "--fps", "10", "--every", "2")
    told = run("tools/extract.py", "--manifest", recordings / "flags.yaml", "--data", tmp_path, *flags).stdout
    assert "has its own height for all clips; --height 48 has no effect there" in told
    assert "has its own fps for cam; --fps 10.0 has no effect there" in told
    assert "--every" not in told


def test_clips_of_two_sizes_are_told_at_once(run, recordings, tmp_path):
    night = recordings / "night" / "cam.mkv"
    run("tools/extract.py", "--video", recordings / "day one.mp4", "--data", tmp_path, "--height", "32")
    told = run("tools/extract.py", "--video", night, "--data", tmp_path, "--height", "48").stderr
    assert "LR frames have 2 sizes: 64x48 (cam), 48x32 (day_one)" in told
    assert "--manifest" in told
    write_yaml(recordings / "two.yaml", {"clips": [{"video": "day one.mp4"}, {"video": "night/cam.mkv"}]})
    told = run(
        *("tools/extract.py", "--manifest", recordings / "two.yaml", "--height", "32", "--data", tmp_path / "square")
    ).stderr
    assert "no height makes these shapes equal" in told
    expected = run("tools/extract.py", "--manifest", recordings / "two.yaml", "--data", tmp_path / "x", "--mixed_sizes")
    assert "sizes" not in expected.stderr
