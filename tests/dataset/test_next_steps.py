import shlex
import shutil

import pytest

from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.next_steps import importance_command
from tests.support.files import encode, fill_dataset, noise


def suggested(result):
    """The words of the command that a command suggests."""
    return shlex.split(result.stdout.partition("next: python ")[2])


@pytest.fixture
def mixed(run, tmp_path):
    """The folder of three recordings, of which a dataset in it keeps the HR frames of the first alone."""
    for number, name in enumerate(("a", "b one", "c")):
        encode(tmp_path / f"{name}.mp4", noise(6, 96, 96, seed=number))
    run(*extraction(tmp_path, "a"), "--keep_hr")
    return tmp_path


def extraction(folder, *names, height=32):
    videos = [folder / f"{name}.mp4" for name in names]
    return ("tools/extract.py", "--data", folder / "d", "--video", *videos, "--height", height, "--every", 2)


@pytest.mark.parametrize("height", [32, 48])  # of 48 lines no HR frames at 3 times the size can be kept
def test_clips_without_originals_are_named_with_a_command_that_works(run, mixed, height):
    result = run(*extraction(mixed, "b one", "c", height=height))
    assert "hr_images: lacks HR frames of b_one, c;" in result.stderr
    words = suggested(result)
    videos = [str(mixed / "b one.mp4"), str(mixed / "c.mp4")]
    assert words[:4] == ["tools/extract.py", "--video", *videos]
    assert words[4:8] == ["--height", "32", "--every", "2"]
    assert words[-1] == "--overwrite"
    assert suggested(run(*words))[0] == "tools/make_importance.py"
    dataset = Dataset(mixed / "d")
    assert [len(dataset.frames(clip, "hr_images")) for clip in dataset.clips()] == [3, 3, 3]
    assert dataset.record.clips["c"].every == 2


def test_clips_of_several_settings_get_a_manifest_that_works(run, mixed):
    run(*extraction(mixed, "b one"))
    result = run(*extraction(mixed, "c"), "--jpeg_quality", 50)
    words = suggested(result)
    assert words[:3] == ["tools/extract.py", "--manifest", "YOUR_CLIPS.yaml"]
    lines = result.stdout.partition("YOUR_CLIPS.yaml:\n")[2].partition("next:")[0]
    (mixed / "clips.yaml").write_text(lines)
    words[2] = str(mixed / "clips.yaml")
    assert suggested(run(*words))[0] == "tools/make_importance.py"
    clips = Dataset(mixed / "d").record.clips
    assert [(clip.keep_hr, clip.jpeg_quality) for clip in clips.values()] == [(True, None), (True, None), (True, 50)]


def test_a_recording_that_is_gone_is_yours_to_name(run, mixed):
    run(*extraction(mixed, "b one"))
    (mixed / "b one.mp4").unlink()
    assert suggested(run(*extraction(mixed, "a"), "--keep_hr"))[:3] == ["tools/extract.py", "--video", "YOUR_VIDEO"]


def test_importance_of_mixed_clips_names_both_ways_out(run, refused, mixed):
    run(*extraction(mixed, "c"))
    importance = ("tools/make_importance.py", "--data", mixed / "d", "--detector", "builtin")
    why = "(3 of 6 are missing, of c); extract again with --keep_hr, or "
    assert f"{why}run tools/super_resolve.py, then give --clear sr_images" in refused(*importance)
    words = suggested(run("tools/super_resolve.py", "--data", mixed / "d", "--model", "bicubic"))
    assert f"{why}give --clear sr_images" in refused(*importance)
    assert words[3:] == ["--clear", "sr_images", "--detector", "onnx:YOUR_DETECTOR.onnx"]
    run(*words[:-1], "builtin")
    shutil.rmtree(mixed / "d" / "sr_images" / "c")
    again = "(3 of 6 are missing, of c); run tools/super_resolve.py again"
    assert again in refused(*importance, "--clear", "sr_images")


def test_a_recorded_detector_whose_file_is_gone_is_to_be_given_again(tmp_path):
    dataset = fill_dataset(tmp_path / "data", {"cam": 1})
    (tmp_path / "d.onnx").touch()
    dataset.save(detector={"spec": f"onnx:{tmp_path}/d.onnx"})
    assert "--detector" not in importance_command(dataset)
    (tmp_path / "d.onnx").unlink()
    assert importance_command(dataset)[-2:] == ["--detector", "onnx:YOUR_DETECTOR.onnx"]
