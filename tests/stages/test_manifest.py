import os
import shutil

import pytest

from regenhance_data.dataset.folder import Dataset
from regenhance_data.io.files import write_yaml
from tests.support.files import encode, noise


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
        ("clips: [{video: a.mp4, hight: 3}]", "unknown key 'hight'; expected: "),
        ("clips: [{video: a.mp4, height: tall}]", "clip 1 has height 'tall', expected a number"),
        ("clips: [{video: a.mp4, height: true}]", "clip 1 has height True, expected a number"),
        ("clips: [{video: a.mp4, height: 0}]", "clip 1: --height 0: expected 1 to 16384"),
        ("clips: [{video: a.mp4}, {video: b/a.mp4}]", "would be clip 'a', as "),
        ("defaults: [1]\nclips: [{video: a.mp4}]", "defaults is not a mapping of settings"),
        ("clip: []", "unknown key 'clip'; expected: clips, defaults"),
        ("!!python/object/apply:os.system [exit]", "not readable as YAML"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(refused, tmp_path, manifest, message):
    (tmp_path / "m.yaml").write_text(manifest)
    line = refused("tools/extract.py", "--manifest", tmp_path / "m.yaml", "--data", tmp_path / "data")
    assert message in line
    assert not (tmp_path / "data").exists()


def test_one_bad_recording_stops_none_of_the_others(refused, recordings, tmp_path):
    shutil.copy(recordings / "day one.mp4", tmp_path / "z.mp4")
    (tmp_path / "a.mp4").write_bytes(os.urandom(500))
    words = ("tools/extract.py", "--video_dir", tmp_path, "--data", tmp_path / "data")
    assert "1 of 2 clips were refused" in refused(*words)
    assert frames_of(tmp_path / "data") == {"z": 6}
