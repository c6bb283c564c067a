import importlib
import json
import re
import shutil
import subprocess

import pytest

from regenhance_data.io.files import write_json
from tests.support.files import ROOT, encode, noise
from tests.support.pages import Sources

pytestmark = pytest.mark.timeout(900)  # on a busy machine
STAGES = ["render_scene", "extract", "super_resolve", "make_importance", "make_seg_dataset", "check_dataset"]
STAGES += ["paddleseg train", "paddleseg val", "export_onnx", "evaluate", "benchmark", "trt_infer"]
STAGES += ["evaluate_online", "run_cameras"]


@pytest.fixture(scope="module")
def demo(run, tmp_path_factory):
    """The whole demo, on few frames and with hardly any training: everything but a good predictor."""
    folder = tmp_path_factory.mktemp("demo")
    result = run("tools/demo.py", "--save_dir", folder, "--max_frames", 60, "--iters", 4)
    return folder, result


@pytest.mark.slow
def test_the_demo_runs_every_stage_by_its_command(demo):
    _, result = demo
    commands = [line for line in result.stdout.splitlines() if line.startswith("$ ")]
    for stage, command in zip(STAGES, commands, strict=True):
        assert stage in command
    assert "report.html is ready" in result.stdout


@pytest.mark.slow
def test_the_report_is_one_file_that_needs_no_network(demo):
    folder, _ = demo
    text = (folder / "report.html").read_text()
    sources = Sources()
    sources.feed(text)
    assert all(source.startswith("data:") for source in sources.found)
    assert sum(source.startswith("data:image/svg") for source in sources.found) == 4
    assert {"video", "canvas", "table"} <= sources.tags
    assert not re.search(r"\$[a-z_]+", re.sub(r"data:[^\"']+", "", text))  # no place of the template left unfilled
    assert not re.search(r"https?://", re.sub(r"data:[^\"']+", "", text))


@pytest.mark.slow
def test_the_demo_leaves_measurements_for_scripts(demo):
    folder, _ = demo
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation["metric"] == "f1"
    assert evaluation["all"] == 1.0
    assert set(evaluation["curves"]) == {"predictor", "oracle", "difference", "boxes", "static", "random"}
    assert set(evaluation["curves"]["predictor"]) == {"0.02", "0.05", "0.1", "0.2", "0.4"}
    assert evaluation["truth"]["all"] > evaluation["truth"]["none"]
    rows = json.loads((folder / "benchmark.json").read_text())
    assert [row["backend"] for row in rows] == ["openvino", "onnxruntime"]
    assert all(row["frame_ms_median"] > 0 for row in rows)
    assert rows[0]["f1_at_10"] == evaluation["curves"]["predictor"]["0.1"]


@pytest.mark.slow
def test_a_second_run_does_nothing_twice(demo, run):
    folder, _ = demo
    model = folder / "predictor" / "best_model" / "model.pdparams"
    before = model.stat().st_mtime_ns
    result = run("tools/demo.py", "--save_dir", folder, "--max_frames", 60, "--iters", 4)
    assert result.stdout.count("done by an earlier run") == len(STAGES)
    assert re.search(r"ready \(\d+\.\d minutes, and \d+\.\d of the stages done earlier\)", result.stdout)
    assert model.stat().st_mtime_ns == before


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_the_report_draws_itself_in_a_browser(demo, tmp_path):
    folder, _ = demo
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=5000", "--dump-dom"]
    page = subprocess.run(
        ["chromium", *flags, f"file://{folder}/report.html"], capture_output=True, text=True, timeout=120, check=True
    )
    # what the script writes under the slider once it has drawn the frame
    assert re.search(r"10 % · 24 of 240 macroblocks", page.stdout)


@pytest.mark.parametrize("content", ["-1", "{}", "null"])
def test_stages_that_are_no_list_are_refused(refused, tmp_path, content):
    (tmp_path / "stages.json").write_text(content)
    assert "stages.json: holds no stages of this command" in refused("tools/demo.py", "--save_dir", tmp_path)


@pytest.mark.parametrize("seconds", ["1", None, [2.0]])
def test_stages_of_an_earlier_run_without_their_seconds_do_not_count(tmp_path, monkeypatch, seconds):
    monkeypatch.syspath_prepend(ROOT / "tools")
    command = importlib.import_module("demo")
    write_json(tmp_path / "stages.json", [{"command": "c", "inputs": "same", "seconds": seconds}])
    args = command.make_parser().parse_args(["--save_dir", str(tmp_path)])
    assert command.earlier_stages(args, "same") == []
    write_json(tmp_path / "stages.json", [{"command": "c", "inputs": "same", "seconds": 1}])
    assert len(command.earlier_stages(args, "same")) == 1


def test_a_video_of_ones_own_needs_a_detector_of_ones_own(refused, tmp_path):
    video = encode(tmp_path / "v.mp4", noise(2, 64, 96))
    assert "--detector builtin finds only the objects of the built-in street; give another" in refused(
        "tools/demo.py", "--save_dir", tmp_path / "d", "--video", video
    )


def test_a_missing_video_is_refused(refused, tmp_path):
    flags = ["--save_dir", tmp_path / "d", "--video", tmp_path / "no.mp4", "--detector", "onnx:d.onnx"]
    assert "no.mp4: no such video" in refused("tools/demo.py", *flags)
