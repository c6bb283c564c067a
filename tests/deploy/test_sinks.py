"""Sinks: what files and connections get, in which order, and what happens where they are slow, down or full."""

import argparse
import json
import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from deploy.online.cameras import CameraFrame
from deploy.online.loop import EnhancedFrame, Round
from deploy.online.outputs import RunOutputs
from deploy.online.plan import Plan
from deploy.online.rates import Rates
from deploy.online.run_record import RunRecord
from deploy.online.sinks import mqtt, threads
from deploy.online.sinks.addresses import read_broker, read_push
from deploy.online.sinks.arguments import add_sink_arguments, wanted_from
from deploy.online.sinks.frame import FrameResult
from deploy.online.sinks.json_lines import JsonLines
from deploy.online.sinks.registry import Sinks
from deploy.online.sinks.settings import SinkSettings, Wanted
from deploy.online.sinks.threads import SinkThread
from regenhance_data.detections import Detections
from regenhance_data.errors import InputError, printable
from regenhance_data.grid import MacroblockGrid
from tests.kills import killed_runs
from tests.support.brokers import MOSQUITTO, Subscriber, deaf_broker, free_port, mosquitto, until
from tests.support.files import ROOT

HEIGHT, WIDTH = 64, 96
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


def frame(number: int, camera: str = "gate") -> EnhancedFrame:
    """A frame with one detection."""
    picture, nothing = np.full((HEIGHT, WIDTH, 3), number % 256, np.uint8), np.zeros((4, 6), bool)
    found = Detections(np.array([[8, 8, 40, 40]], np.float32), np.array([0.5], np.float32), np.array([0], np.int64))
    own = CameraFrame(camera, number, number / 25, picture, picture)
    return EnhancedFrame(own, nothing, nothing, nothing, picture, found=found)


def settings(folder: Path, **wanted: object) -> SinkSettings:
    grid = MacroblockGrid(HEIGHT, WIDTH)
    return SinkSettings(folder, ["car"], grid, {"gate": 25.0, "yard": 25.0}, Wanted(**{"files": (), **wanted}))


def numbers(folder: Path) -> list[int]:
    return [json.loads(line)["frame"] for line in (folder / "detections.jsonl").read_text().splitlines()]


@pytest.fixture
def silent_port():
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


class SlowSink:
    """Takes a while for each frame."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def take(self, result):
        return result.listing.frame

    def write(self, item):
        time.sleep(0.005)
        self.taken.append(item)

    def finish(self):
        return []

    def close(self):
        pass


def test_a_slow_file_holds_the_loop_up_and_loses_nothing():
    slow = SlowSink()
    thread = SinkThread(("slow", ""), slow, depth=2)
    most = 0
    for number in range(40):
        thread.put(FrameResult(frame(number), ["car"], lambda *_: None))
        most = max(most, number + 1 - len(slow.taken))
    thread.end(finish=True)
    thread.join()
    assert slow.taken == list(range(40))
    assert most <= 4  # those that wait, the one that is written, and the one that was given
    assert (thread.written, thread.dropped) == (40, 0)


@pytest.mark.parametrize("kind", ["push", "mqtt"])
def test_a_connection_that_hangs_never_holds_the_loop_up(kind, silent_port, tmp_path, monkeypatch, capsys):
    if kind == "mqtt":
        pytest.importorskip("paho")
    monkeypatch.setattr(threads, "LAST_S", 0.2)
    address = {
        "push": {"push": f"rtsp://user:secret@127.0.0.1:{silent_port}/{{camera}}"},
        "mqtt": {"broker": read_broker(f"mqtt://user:secret@127.0.0.1:{silent_port}/found", {})},
    }[kind]
    sinks = Sinks(settings(tmp_path, files=("jsonl",), **address))
    for number in range(1100):
        sinks.put(frame(number))
    sinks.finish()
    (thread,) = [one for one in sinks.threads if one.kind == kind]
    sinks.close()
    assert (thread.written, thread.dropped) == (0, 1100)
    assert numbers(tmp_path) == list(range(1100))
    said = capsys.readouterr()
    assert thread.losses.endswith(": took none of 1100 frames (no answer)")
    assert "takes fewer frames than there are" not in said.err  # it takes none
    assert "secret" not in said.err + said.out


@needs_mosquitto
def test_a_broker_gets_each_frame_as_its_line_and_is_told_when_it_goes_and_comes(tmp_path, capsys):
    pytest.importorskip("paho")
    port = free_port()
    broker = read_broker(f"mqtt://loop@127.0.0.1:{port}/cameras/{{camera}}/found", {"MQTT_PASSWORD": "se/cr@t"})
    sinks = Sinks(settings(tmp_path, broker=broker))
    with closing(sinks):
        (thread,) = sinks.threads
        for start in (1, 51):
            until(lambda: sinks.put(frame(1000)) or not thread.is_up)  # nobody is there
            with mosquitto(tmp_path, port, "loop", "se/cr@t"), Subscriber(port, "#", "loop", "se/cr@t") as subscriber:
                until(lambda: thread.is_up)
                for number in range(start, start + 50):
                    sinks.put(frame(number, ("gate", "yard")[number % 2]))
                subscriber.wait_for(f'"frame": {start + 49},')
            found = [json.loads(line) for _, line in subscriber.received]
            assert [one["frame"] for one in found if one["frame"] in range(start, 1000)] == list(
                range(start, start + 50)
            )
            assert found[-1]["detections"] == [{"box": [8, 8, 40, 40], "score": 0.5, "class": "car", "track": None}]
            assert {topic for topic, _ in subscriber.received} == {"cameras/gate/found", "cameras/yard/found"}
        until(lambda: sinks.put(frame(1000)) or not thread.is_up)
        sinks.finish()
    said = capsys.readouterr()
    assert said.err.count(f"MQTT broker 127.0.0.1:{port}: ") == said.err.count("trying again") == 3
    assert said.out.count("back after") == 2
    assert "t@" not in said.err + said.out


@pytest.mark.parametrize("frames", [5, 25])  # fewer than may be on their way, and more
def test_messages_that_nobody_confirms_are_dropped(frames, tmp_path, monkeypatch, capsys):
    pytest.importorskip("paho")
    monkeypatch.setattr(threads, "LAST_S", 0.2)
    monkeypatch.setattr(mqtt, "LAST_CONFIRMED_S", 0.1)
    monkeypatch.setattr(mqtt, "CONFIRMS_S", 0.1)
    with deaf_broker() as port:
        sinks = Sinks(settings(tmp_path, broker=read_broker(f"mqtt://127.0.0.1:{port}/found", {})))
        with closing(sinks):
            (thread,) = sinks.threads
            for number in range(frames):
                sinks.put(frame(number))
            until(lambda: thread.written == min(frames, mqtt.MOST_UNCONFIRMED))
            until(lambda: thread.is_up == (frames <= mqtt.MOST_UNCONFIRMED))
            sinks.finish()
            assert (thread.written, thread.dropped) == (0, frames)
    assert capsys.readouterr().err.count("confirms no message for 0.1 s; trying again") == (frames > 20)


@needs_mosquitto
def test_a_wrong_password_is_told_once(tmp_path, capsys):
    pytest.importorskip("paho")
    port = free_port()
    with mosquitto(tmp_path, port, "loop", "right"):
        broker = read_broker(f"mqtt://loop:wrong@127.0.0.1:{port}/found", {})
        sinks = Sinks(settings(tmp_path, broker=broker))
        with closing(sinks):
            sinks.put(frame(0))
            until(lambda: not sinks.threads[0].is_up)
            sinks.finish()
    assert f"MQTT broker 127.0.0.1:{port}: Not authorized; trying again" in capsys.readouterr().err


def test_a_server_of_streams_gets_the_annotated_video_when_it_is_there(tmp_path, capsys):
    port = free_port()
    sinks = Sinks(settings(tmp_path, push=f"rtsp://user:secret@127.0.0.1:{port}/live/{{camera}}"))
    with closing(sinks):
        sinks.put(frame(0))
        (thread,) = sinks.threads
        until(lambda: not thread.is_up)  # nobody listens yet
        words = [sys.executable, ROOT / "tests/support/rtsp_listener.py", f"rtsp://127.0.0.1:{port}/live/gate", 5]
        with subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, text=True) as listener:
            number = 1
            while listener.poll() is None and number < 3000:
                sinks.put(frame(number))
                number += 1
                time.sleep(0.02)
            listener.kill()
            assert listener.stdout.read().split() == [f"{WIDTH}x{HEIGHT}"] * 5
        sinks.finish()
    said = capsys.readouterr()
    assert f"rtsp://***@127.0.0.1:{port}/live/gate: Connection refused; trying again" in said.err
    assert "back after" in said.out
    assert "secret" not in said.err + said.out


def test_lines_go_on_after_those_of_an_earlier_run_and_a_torn_one_is_cut_off(tmp_path):
    path = tmp_path / "detections.jsonl"
    for torn in (b"", b'{"camera": "gate", "fra', b"x" * 200_000):
        path.write_bytes(b'{"frame": 7}\n' + torn)
        sinks = Sinks(settings(tmp_path, files=("jsonl",), append=True))
        sinks.put(frame(0))
        assert sinks.finish() == [path]
        assert numbers(tmp_path) == [7, 0]
    path.write_bytes(b"x" * 100)  # torn, and the first
    JsonLines(tmp_path, append=True).close()
    assert path.read_bytes() == b""


@pytest.mark.slow
def test_killed_runs_leave_whole_lines_and_the_next_goes_on_after_them(tmp_path):
    assert killed_runs(tmp_path, times=2, seed=0) > 2


def test_a_full_disk_ends_the_run_and_leaves_whole_lines(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    sinks = Sinks(settings(tmp_path, files=("jsonl",)))
    with closing(sinks):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(OSError, match="File too large") as raised:  # noqa: PT012
                for number in range(1000):
                    sinks.put(frame(number))
                sinks.finish()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.filename == str(tmp_path / "detections.jsonl")
    assert 0 < len(numbers(tmp_path)) < 10
    assert numbers(tmp_path) == list(range(len(numbers(tmp_path))))


def test_an_unfinished_video_is_none(tmp_path):
    sinks = Sinks(settings(tmp_path, files=("video",)))
    sinks.put(frame(0))
    sinks.close()
    assert not list(tmp_path.iterdir())


def frames_in(video: Path) -> int:
    with av.open(str(video)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_camera_that_ends_has_its_video_at_once_and_begins_another_when_it_comes_back(tmp_path):
    sinks = Sinks(settings(tmp_path, files=("jsonl", "video")))
    with closing(sinks):
        for number in range(3):
            sinks.put(frame(number))
            sinks.put(frame(number, "yard"))
        sinks.end("gate")
        until((tmp_path / "gate.mp4").exists)
        assert frames_in(tmp_path / "gate.mp4") == 3
        assert [(one.kind, one.camera) for one in sinks.threads] == [("jsonl", ""), ("video", "yard")]
        for count in (7, 5):  # the first is not complete when the second begins
            for number in range(count):
                sinks.put(frame(number))
            sinks.end("gate")
        made = sinks.finish()
    assert made == [tmp_path / name for name in ("detections.jsonl", "gate.mp4", "yard.mp4")]
    assert sorted(made) == sorted(tmp_path.iterdir())
    assert [frames_in(path) for path in made[1:]] == [5, 3]
    assert sum(one.written for one in sinks.all_threads if one.kind == "video") == 3 + 3 + 7 + 5


def test_a_push_of_a_camera_that_ends_is_over(tmp_path):
    port = free_port()
    words = [sys.executable, ROOT / "tests/support/rtsp_listener.py", f"rtsp://127.0.0.1:{port}/gate", 10**6]
    sinks = Sinks(settings(tmp_path, push=f"rtsp://127.0.0.1:{port}/{{camera}}"))
    with closing(sinks), subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, text=True) as listener:
        try:
            sinks.put(frame(0))
            (thread,) = sinks.threads
            until(lambda: sinks.put(frame(1)) or thread.written > 5)
            sinks.end("gate")
            until(lambda: not any(one.name == "sink push gate" for one in threading.enumerate()))
            listener.wait(10)  # its stream has ended
        finally:
            listener.kill()
        assert (sinks.threads, sinks.connections) == ([], [thread])


def test_a_killed_run_leaves_nothing_for_the_next_also_not_of_cameras_that_came_late_or_went(tmp_path):
    def killed_run(rounds: list[Round], is_enough, *files: str) -> None:
        about = replace(settings(tmp_path, files=files), rates=Rates(lambda _: 25.0))
        record = RunRecord(Plan(), about.hr_grid, {})
        with suppress(InterruptedError), RunOutputs(about, record) as outputs:
            for one in rounds:
                outputs.add(one)
            until(is_enough)
            raise InterruptedError

    def round_of(*done: EnhancedFrame, removed: tuple[str, ...] = ()) -> Round:
        return Round([one.frame for one in done], list(done), removed=removed)

    late = tmp_path / "mot" / "late.txt"
    late.parent.mkdir()
    for path in (late.parent / "other.txt", tmp_path / "gate.mp4", tmp_path / "never.mp4"):
        path.write_text("mine")
    rounds = [
        round_of(frame(0)),
        round_of(frame(1), frame(0, "late")),
        round_of(frame(2), removed=("late", "never")),  # of which one never had a frame
    ]
    killed_run(rounds, lambda: late.exists() and (tmp_path / "late.mp4").exists(), "jsonl", "mot", "video")
    killed_run([], lambda: True, "jsonl")
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == [".running.json", "detections.jsonl", "gate.mp4", "mot", "mot/other.txt", "never.mp4"]


def test_a_camera_that_comes_back_has_its_new_frame_rate(tmp_path):
    rate = [25.0]
    about = replace(settings(tmp_path, files=("video",)), rates=Rates(lambda _: rate[0]))
    with RunOutputs(about, RunRecord(Plan(), about.hr_grid, {})) as outputs:
        outputs.add(Round([frame(0).frame], [frame(0)]))
        rate[0] = 5.0
        outputs.add(Round([frame(1).frame], [frame(1)], removed=("gate",)))
        outputs.finish({})
    with av.open(str(tmp_path / "gate.mp4")) as video:
        assert video.streams.video[0].average_rate == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--mqtt", "mqtt://me:secret@/x"],
            "--mqtt: has no host, or no port that is a number; write mqtt://HOST/TOPIC",
        ),
        (["--mqtt", "mqtt://me:sec/ret@host/x"], "--mqtt: has no host"),
        (
            ["--mqtt", "http://me:secret@host/x"],
            "--mqtt: begins with none of mqtt://, mqtts://; write mqtt://HOST/TOPIC",
        ),
        (["--mqtt", "mqtt://me:secret@host"], "expected a topic"),
        (["--mqtt", "mqtt://me:secret@host/a/%23"], "expected a topic"),
        (["--push", "rtsp://me:secret@host:x/{camera}"], "--push: has no host, or no port that is a number"),
        (["--push", "rtsp://me:secret@host/live"], "all cameras would have one address"),
        (["--metrics_port", "70000"], "--metrics_port 70000: expected a port"),
        (["--append", "--files", "mot"], "add jsonl to --files"),
    ],
)
def test_wrong_addresses_are_one_line_without_their_credentials(words, said):
    parser = argparse.ArgumentParser()
    add_sink_arguments(parser)
    args = parser.parse_args(words)
    args.compare = False
    with pytest.raises(InputError, match=said) as raised:
        wanted_from(args, several=True)
    assert "ret" not in str(raised.value)
    assert "***" not in printable(str(raised.value))  # of a URL in the message that is only an example


def test_a_broker_and_a_server_are_read_as_they_are_written():
    broker = read_broker("mqtts://me:a%2Fb%40@host/site/1/{camera}", {"MQTT_PASSWORD": "other"})
    assert (broker.host, broker.port, broker.topic) == ("host", 8883, "site/1/{camera}")
    assert (broker.user, broker.password, broker.is_encrypted) == ("me", "a/b@", True)
    assert "a/b@" not in repr(broker)
    assert read_broker("mqtt://me@host:99/x", {"MQTT_PASSWORD": "other"}).password == "other"
    assert read_push("rtsp://host:8554/{camera}", several=True) == "rtsp://host:8554/{camera}"
