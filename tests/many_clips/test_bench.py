"""The benchmark of many clips on small rendered videos, with the real commands."""

import json

import pytest

from regenhance_data.errors import InputError
from regenhance_data.io.files import write_json
from tests.support.cameras import square_frames
from tests.support.commands import here
from tests.support.files import ROOT, content, encode
from tools import benchmark_clips

FEW = "--use_ema --iters 2 --batch_size 2 --save_interval 1"
SIZES = {"gate": (96, 128), "yard": (64, 96)}  # of HR frames


@pytest.fixture(scope="module")
def manifest(tmp_path_factory, detector_file):
    """Two clips of other sizes whose videos have one name, and one that is no video."""
    root = tmp_path_factory.mktemp("clips")
    for seed, (clip, hw) in enumerate(SIZES.items()):
        (root / clip).mkdir()
        encode(root / clip / "camera.mp4", square_frames(30, *hw, seed=seed), pixel_format="yuv444p")
    (root / "torn.mp4").write_bytes(b"no video")
    videos = {"gate": "gate/camera.mp4", "torn": "torn.mp4", "yard": "yard/camera.mp4"}
    clips = "".join(f"  - {{id: {name}, video: {video}, licence: <none>}}\n" for name, video in videos.items())
    path = root / "clips.yaml"
    path.write_text(f"defaults: {{detector: 'onnx:{detector_file}', scale: 2}}\nclips:\n{clips}")
    return path


def benchmark(monkeypatch, execute, *words):
    monkeypatch.setattr(benchmark_clips, "run_command", lambda root, words, log: execute(words, log))
    benchmark_clips.main(benchmark_clips.make_parser().parse_args([*map(str, words), "--train_options", FEW]))


@pytest.mark.slow
def test_each_clip_gets_predictors_of_its_own_and_of_the_others_and_nothing_is_done_twice(
    manifest, tmp_path, monkeypatch, capsys
):
    done = []

    def until_the_ninth(words, log):
        if len(done) == 9:
            raise KeyboardInterrupt
        here(words)
        done.append(words)

    def go_on(words, log):
        here(words)
        done.append(words)

    flags = ("--manifest", manifest, "--save_dir", tmp_path / "run", "--labelled", 2, "all", "--budgets", 0.1)
    with pytest.raises(KeyboardInterrupt, match="3 steps are done; give the command again"):
        benchmark(monkeypatch, until_the_ninth, *flags)
    capsys.readouterr()
    benchmark(monkeypatch, go_on, *flags)
    assert len(done) == len(set(map(tuple, done))) == 2 * (3 + 2 + 2 + 1 + 2 + 1)
    said = capsys.readouterr()
    assert said.err.count("torn.mp4: not a video") == 1
    page = (tmp_path / "run/report.html").read_text()
    assert "torn.mp4: not a video" in page
    assert "&lt;none&gt;" in page
    assert "https://" not in page.replace("http://www.w3.org", "")
    written = json.loads((tmp_path / "run/benchmark_clips.json").read_text())
    gate, torn, yard = written["clips"]
    assert torn.keys() == {"clip", "failed"}
    for clip in (gate, yard):
        assert clip["ways"].keys() == {"own", "others"}
        assert clip["scores"]["everything"]["1"]["value"] == 1
    pool = tmp_path / "run/pool"
    assert {line.split("/")[1] for line in (pool / "yard.others.train.txt").read_text().splitlines()} == {"gate"}
    assert len((pool / "gate.2.train.txt").read_text().splitlines()) == 2

    earlier = content(tmp_path / "run")
    benchmark(monkeypatch, lambda words, log: pytest.fail(f"done again: {words}"), *flags)
    assert content(tmp_path / "run") == earlier

    done.clear()
    weights = tmp_path / "run/yard/others_seed0/best_model/model.pdparams"
    benchmark(
        *(monkeypatch, go_on, "--manifest", manifest, "--data", tmp_path / "run/data", "--save_dir", tmp_path / "run"),
        *("--clips", "gate", "--trained_on", "own", "--zero_shot", weights, "--labelled", 0, "--budgets", 0.1),
    )
    assert [words[0] for words in done] == ["deploy/export_onnx.py", "tools/evaluate.py", "tools/evaluate.py"]
    written = json.loads((tmp_path / "run/benchmark_clips.json").read_text())
    assert written["clips"][0]["ways"].keys() == {"own", "zero-shot"}
    assert written["labelled"]["places"] == {"zero-shot": ["zero-shot", 0]}

    done.clear()
    flags = ("--manifest", manifest, "--data", tmp_path / "run/data", "--save_dir", tmp_path / "general")
    benchmark(monkeypatch, go_on, *flags, "--trained_on", "all", "--budgets", 0.1)
    assert [words[0] for words in done].count("paddleseg") == 1
    written = json.loads((tmp_path / "general/benchmark_clips.json").read_text())
    assert [clip["ways"].keys() for clip in written["clips"] if "ways" in clip] == [{"all"}, {"all"}]
    lines = (tmp_path / "general/pool/all.train.txt").read_text().splitlines()
    assert {line.split("/")[1] for line in lines} == {"gate", "yard"}
    assert (tmp_path / "general/all/all_seed0/best_model/model.pdparams").is_file()


def test_a_manifest_whose_clips_all_fail_is_refused_with_the_reasons(refused, run, manifest, tmp_path):
    words = ("tools/benchmark_clips.py", "--manifest", manifest, "--clips", "torn", "--save_dir", tmp_path)
    assert "no clip was measured" in refused(*words)
    assert "torn" in (tmp_path / "report.html").read_text()


def test_a_video_is_not_trained_on_for_itself(manifest, tmp_path):
    text = manifest.read_text().replace("yard/camera.mp4", "gate/copy.mp4")
    (manifest.parent / "gate/copy.mp4").write_bytes((manifest.parent / "gate/camera.mp4").read_bytes())
    path = manifest.with_name("copies.yaml")
    path.write_text(text)
    given = ["--manifest", path, "--trained_on", "others", "--save_dir", tmp_path]
    with pytest.raises(InputError, match=r"clips gate and yard have the same video, .* give both the same 'scene'"):
        benchmark_clips.main(benchmark_clips.make_parser().parse_args(list(map(str, given))))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--labelled", "0"), "--labelled 0: is given weights without training"),
        (("--labelled", "few"), "--labelled few: expected numbers"),
        (("--budgets", "2"), "--budgets: expected shares"),
        (("--clips", "none"), "has no such clip; there are: highway_540p"),
        (("--train_options", "--iters 1", "--iters 2"), "give each of several recipes a name"),
        (("--train_options", "../a: --iters 1"), "a recipe's name has letters, digits, '_', '-' and spaces alone"),
        (("--train_options", "--itres 1"), "paddleseg train has no --itres"),
        (("--train_options", "own: --iters 1"), "'own' is what a column is called"),
    ],
)
def test_flags_that_mean_nothing_are_refused_before_anything_runs(flags, message, tmp_path):
    given = ["--manifest", str(ROOT / "tests/benchmarks/clips.yaml"), "--save_dir", str(tmp_path / "out"), *flags]
    with pytest.raises(InputError, match=message):
        benchmark_clips.main(benchmark_clips.make_parser().parse_args(given))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("data", ["run", "run/pool", "run/gate/data", ""])
def test_datasets_in_the_folders_of_results_are_refused(data, tmp_path):
    given = ["--manifest", str(ROOT / "tests/benchmarks/clips.yaml"), "--save_dir", str(tmp_path / "run")]
    with pytest.raises(InputError, match="shares folders with --save_dir"):
        benchmark_clips.main(benchmark_clips.make_parser().parse_args([*given, "--data", str(tmp_path / data)]))


@pytest.mark.slow
def test_a_dataset_that_another_benchmark_makes_anew_is_told(manifest, tmp_path, monkeypatch, capsys):
    def meanwhile(words, log):
        here(words)
        if words[0] == "paddleseg":
            steps = json.loads((tmp_path / "data/steps.json").read_text())
            write_json(tmp_path / "data/steps.json", dict.fromkeys(steps, "of another manifest"))

    flags = ("--manifest", manifest, "--clips", "gate", "--trained_on", "own", "--budgets", 0.1)
    with pytest.raises(InputError, match="no clip was measured"):
        benchmark(monkeypatch, meanwhile, *flags, "--data", tmp_path / "data", "--save_dir", tmp_path / "run")
    assert "data/gate: another benchmark made it anew meanwhile" in capsys.readouterr().err
