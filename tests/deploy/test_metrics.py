"""What Prometheus and a health check get of a run of the loop."""

import re
import socket
import urllib.error
import urllib.request

import pytest

from deploy import run_cameras
from deploy.online import metrics
from deploy.online.loop import Round
from regenhance_data.errors import InputError
from tests.support.cameras import square_frames
from tests.support.detectors import write_detector
from tests.support.files import ROOT, encode
from tests.support.predictors import write_predictor

pytest.importorskip("prometheus_client")
HEIGHT, WIDTH, FRAMES = 64, 96, 6


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Those of a command on two cameras that writes nothing but lines."""
    folder = tmp_path_factory.mktemp("parts")
    predictor = write_predictor(folder / "predictor.onnx", (HEIGHT, WIDTH))
    detector = write_detector(folder / "detector.onnx", "yolox", (2 * HEIGHT, 2 * WIDTH))
    videos = [
        encode(folder / f"{name}.mp4", square_frames(FRAMES, HEIGHT, WIDTH, seed=seed))
        for seed, name in enumerate(("gate", "yard"))
    ]
    found = ["--video", *videos, "--predictor", predictor, "--upscaler", "bicubic", "--detector", f"onnx:{detector}"]
    return [str(word) for word in [*found, "--save_dir", folder / "out", "--max_box_area", 1, "--files", "jsonl"]]


@pytest.fixture(scope="module")
def address(words):
    """Where a run that is over is still served, as long as its process lives."""
    with pytest.MonkeyPatch.context() as patch:
        told = []
        patch.setattr(run_cameras.console, "tell", told.append)
        run_cameras.main(run_cameras.make_parser().parse_args([*words, "--metrics_port", "0"]))
    return next(found[1] for line in told if (found := re.match(r"metrics: (http://127\.0\.0\.1:\d+)/metrics", line)))


def get(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.slow
def test_a_run_is_counted_by_camera_stage_and_sink(address):
    status, text = get(f"{address}/metrics")
    assert status == 200
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert float(values["regenhance_rounds_total"]) == FRAMES
    assert float(values["regenhance_budget"]) == 0.1
    macroblocks = 0.0
    for camera in ("gate", "yard"):
        assert float(values[f'regenhance_frames_total{{camera="{camera}"}}']) == FRAMES
        assert float(values[f'regenhance_detections_total{{camera="{camera}"}}']) > 0
        states = [f'regenhance_macroblocks_total{{camera="{camera}",state="{name}"}}' for name in metrics.STATES]
        macroblocks += sum(float(values[state]) for state in states)
    assert macroblocks == 2 * FRAMES * 4 * 6
    for stage in ("predict", "upsample", "select", "enhance", "paste", "detect", "write"):
        assert float(values[f'regenhance_stage_seconds_count{{stage="{stage}"}}']) == FRAMES
    assert float(values['regenhance_sink_written_total{camera="",sink="jsonl"}']) == 2 * FRAMES
    assert float(values['regenhance_sink_dropped_total{camera="",sink="jsonl"}']) == 0
    assert float(values['regenhance_sink_up{camera="",sink="jsonl"}']) == 1
    assert float(values["process_resident_memory_bytes"]) > 1e6


@pytest.mark.slow
def test_health_is_that_rounds_advance(address, monkeypatch):
    monkeypatch.setattr(metrics, "MOST_S", float("inf"))
    assert get(f"{address}/healthz") == (200, "rounds advance\n")
    monkeypatch.setattr(metrics, "MOST_S", 0)
    status, text = get(f"{address}/healthz")
    assert (status, text[:13]) == (503, "no round for ")
    assert get(f"{address}/other")[0] == 404


def test_a_loop_is_well_from_its_first_round_on_and_as_long_as_its_cameras_take(monkeypatch):
    one = metrics.Metrics()
    address = f"http://127.0.0.1:{metrics.serve(one, '127.0.0.1', 0)}/healthz"
    assert get(address) == (503, "no round yet: cameras connect, or models load\n")
    one.add(Round([]))
    one.rate = lambda: 0.01
    monkeypatch.setattr(metrics, "MOST_S", 0)
    assert get(address) == (200, "rounds advance\n")
    one.rate = lambda: float("inf")
    assert get(address)[0] == 503


@pytest.mark.slow
def test_every_metric_is_on_the_page(address):
    named = set(re.findall(r"^# HELP (regenhance_\w+)", get(f"{address}/metrics")[1], re.MULTILINE))
    assert len(named) > 8
    page = (ROOT / "docs/operating.md").read_text()
    assert named == set(re.findall(r"^\| `(regenhance_\w+)", page, re.MULTILINE))


def test_nobody_is_asked_for_the_name_of_the_host(monkeypatch):
    asked = []
    monkeypatch.setattr(socket, "getfqdn", lambda host="": asked.append(host) or host)
    port = metrics.serve(metrics.Metrics(), "127.0.0.1", 0)
    assert get(f"http://127.0.0.1:{port}/metrics")[0] == 200
    assert asked == []


def test_a_port_that_is_taken_and_a_host_that_is_not_here_are_one_line(words):
    parser = run_cameras.make_parser()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        with pytest.raises(InputError, match=f"--metrics_port {port}: another program has it"):
            run_cameras.main(parser.parse_args([*words, "--metrics_port", port]))
    with pytest.raises(InputError, match=r"--metrics_host 192\.0\.2\.1"):
        run_cameras.main(parser.parse_args([*words, "--metrics_port", "0", "--metrics_host", "192.0.2.1"]))
