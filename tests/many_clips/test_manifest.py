import pytest

from regenhance_data.errors import InputError
from regenhance_data.many_clips.manifest import read_manifest
from tests.support.files import ROOT

GOOD = "defaults: {detector: 'onnx:d.onnx', scale: 3, every: 2}\nclips:\n"


def test_a_clip_has_its_own_values_else_the_defaults(tmp_path):
    path = tmp_path / "clips.yaml"
    path.write_text(
        f"{GOOD}- {{video: a b.mp4}}\n- {{video: c.mp4, id: d, height: 90, every: 1, scene: x, classes: [2]}}"
    )
    first, second = read_manifest(path)
    assert (first.clip, first.scale, first.height, first.every, first.scene) == ("a_b", 3, None, 2, "a_b")
    assert (first.video, first.detector) == (tmp_path / "a b.mp4", f"onnx:{tmp_path}/d.onnx")
    assert (second.clip, second.scale, second.height, second.every, second.scene) == ("d", None, 90, 1, "x")
    assert second.classes == ("2",)
    assert read_manifest(path, tmp_path / "root")[0].video == tmp_path / "root/a b.mp4"


def test_a_detector_that_is_no_file_below_the_root_keeps_its_name(tmp_path):
    (tmp_path / "mine.yaml").write_text("")
    for argument, spec in (("COCO-Detection/x.yaml", "COCO-Detection/x.yaml"), ("mine.yaml", f"{tmp_path}/mine.yaml")):
        path = tmp_path / "clips.yaml"
        path.write_text(f"defaults: {{detector: 'detectron2:{argument}', scale: 2}}\nclips: [{{video: a.mp4}}]")
        (clip,) = read_manifest(path)
        assert clip.detector_words == ["--detector", f"detectron2:{spec}"]


def test_the_committed_manifest_is_one():
    clips = read_manifest(ROOT / "tests/benchmarks/clips.yaml")
    assert all(clip.licence and clip.source for clip in clips)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clips: []", "has no list of clips"),
        ("clip: [a.mp4]", "the manifest has the unknown key 'clip'; expected: clips, defaults"),
        (f"{GOOD}- a.mp4", "clip 1 is no mapping"),
        (f"{GOOD}- {{video: a.mp4, heigth: 3}}", "clip 1 has the unknown key 'heigth'"),
        (f"{GOOD}- {{video: a.mp4, scale: true}}", "clip 1 has scale True, expected a number"),
        (f"{GOOD}- {{video: a.mp4, scale: 1}}", "clip 1 has scale 1, expected at least 2"),
        (f"{GOOD}- {{video: a.mp4, every: 0}}", "clip 1: every 0: expected 1 to"),
        (f"{GOOD}- {{video: a.mp4, scale: 2, height: 9}}", "clip 1 needs either a scale"),
        (f"{GOOD}- {{video: a.mp4, id: ../b}}", "clip 1 has id '../b'"),
        (f"{GOOD}- {{video: a.mp4, detector: d.onnx}}", "clip 1 has detector 'd.onnx'; give one of: builtin"),
        (f"{GOOD}- {{video: pool.mp4}}", "a clip is called pool, as a folder of the benchmark; give it another id"),
        (f"{GOOD}- {{video: a.mp4}}\n- {{video: b/a.mp4}}", "2 clips are called a; give each an id"),
        ("clips: [{video: a.mp4, scale: 2}]", "clip 1 names no detector"),
    ],
)
def test_anything_wrong_in_it_is_one_line(text, message, tmp_path):
    (tmp_path / "clips.yaml").write_text(text)
    with pytest.raises(InputError) as refused:
        read_manifest(tmp_path / "clips.yaml")
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"{tmp_path}/clips.yaml: ")
    assert "\n" not in str(refused.value)
