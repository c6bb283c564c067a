"""Live cameras: real streams on loopback that hang, die, come back and are no streams at all."""

import io
import json
import multiprocessing
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from deploy import run_cameras
from deploy.online import streams
from deploy.online.cameras import Camera, CameraFrame, cameras_of_videos, read_cameras
from deploy.online.loop import Loop, NoEnhancer
from deploy.online.pacing import Pacing
from deploy.online.plan import Plan
from deploy.online.readers import next_due
from deploy.online.sources import Sources
from deploy.online.streams import Patience, read_stream
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.images import encode_jpeg
from tests.support.brokers import until
from tests.support.cameras import square_frames
from tests.support.detectors import write_detector
from tests.support.files import ROOT, encode
from tests.support.predictors import write_predictor
from tests.support.streams import HttpCamera, answering, hls_camera, jpeg_part, push_rtsp, ts_parts

HEIGHT, WIDTH = 64, 96
FRAMES = square_frames(10, HEIGHT, WIDTH)
QUICK = Patience(open_s=10, read_s=1.5, hang_s=1, first_wait_s=0.05, longest_wait_s=0.2, refused_wait_s=0.2)
DEADLINE_S = 60  # for what must happen; a test that waits so long has failed


@contextmanager
def http_camera(*about, **more):
    camera = HttpCamera(*about, **more)
    try:
        yield camera
    finally:
        camera.stop()


def watch(sources: Sources, is_enough: Callable[[list[CameraFrame]], bool]) -> list[CameraFrame]:
    """The frames of the rounds until there are enough of them."""
    seen: list[CameraFrame] = []
    for frames in sources.rounds((HEIGHT, WIDTH), DEADLINE_S):
        seen += frames
        if is_enough(seen):
            return seen
    raise AssertionError(f"{len(seen)} frames were not enough; {sources.counts()} {sources.failed()}")


def of(seen: list[CameraFrame], camera: str) -> list[CameraFrame]:
    return [frame for frame in seen if frame.camera == camera]


@pytest.mark.parametrize("kind", ["mpegts", "mjpeg"])
def test_a_killed_camera_comes_back_with_another_size_and_the_other_loses_nothing(kind, capsys):
    with (
        http_camera(FRAMES, 20, kind) as gate,
        http_camera(FRAMES, 20, kind) as yard,
        Sources([Camera("gate", gate.url), Camera("yard", yard.url)], patience=QUICK) as sources,
    ):
        assert set(sources.connect()) == {"gate", "yard"}
        watch(sources, lambda seen: len(of(seen, "gate")) > 3)
        gate.stop()
        gate.frames = square_frames(10, 2 * HEIGHT, 2 * WIDTH)
        threading.Timer(0.5, gate.start).start()
        seen = watch(sources, lambda seen: any(frame.rgb.shape[0] == 2 * HEIGHT for frame in of(seen, "gate")[-3:]))
        assert {frame.lr.shape for frame in seen} == {(HEIGHT, WIDTH, 3)}
        numbers = [frame.number for frame in of(seen, "yard")]
        counts = sources.counts()
        assert counts["gate"]["reconnects"] >= 1
        assert counts["yard"]["reconnects"] == 0
        missing = numbers[-1] - numbers[0] + 1 - len(numbers)
        assert missing <= counts["yard"]["dropped"] <= 5  # a busy machine may be late for some
    said = capsys.readouterr()
    assert "gate: http://127.0.0.1" in said.err
    assert "trying again" in said.err
    assert "gate: there again after" in said.out
    assert "192×128" in said.out


def test_a_stream_that_hangs_is_connected_again_and_the_other_goes_on(capsys):
    with (
        http_camera(FRAMES, 20) as gate,
        http_camera(FRAMES, 20) as yard,
        Sources([Camera("gate", gate.url), Camera("yard", yard.url)], patience=QUICK) as sources,
    ):
        sources.connect()
        watch(sources, lambda seen: of(seen, "gate") != [])
        gate.is_hanging = True
        watch(sources, lambda seen: "gate" in sources.failed())
        gate.is_hanging = False
        watch(sources, lambda seen: of(seen, "gate") != [])
        assert sources.counts()["yard"]["reconnects"] == 0
    assert "nothing came for 1.5 s; trying again" in capsys.readouterr().err


def test_a_call_that_never_returns_is_given_up(capsys):
    calls, forever = [], threading.Event()

    def connect(source, patience, beat, known_rate):
        calls.append(source)
        if len(calls) in (2, 3):
            forever.wait()
        yield from read_stream(source, patience, beat) if len(calls) > 1 else first_of(source, patience, beat)

    def first_of(source, patience, beat):
        yield next(read_stream(source, patience, beat))

    quick = Patience(open_s=1, read_s=1, hang_s=0.5, first_wait_s=0.05, longest_wait_s=0.1)
    with http_camera(FRAMES, 20) as gate, Sources([Camera("a", gate.url)], patience=quick, connect=connect) as sources:
        sources.connect()
        watch(sources, lambda seen: len(seen) > 3)
        assert len(calls) >= 4
    forever.set()
    assert "hangs for 1.5 s; this connection is given up" in capsys.readouterr().err


def test_only_the_newest_frame_waits_and_cameras_are_treated_alike(capsys):
    with (
        http_camera(FRAMES, 50) as gate,
        http_camera(FRAMES, 50) as yard,
        Sources([Camera("gate", gate.url), Camera("yard", yard.url)], patience=QUICK) as sources,
    ):
        sources.connect()

        def slow(seen):
            time.sleep(0.06)
            return len(seen) >= 40

        seen = watch(sources, slow)
        counts = sources.counts()
    numbers = {camera: [frame.number for frame in of(seen, camera)] for camera in ("gate", "yard")}
    assert min(map(len, numbers.values())) >= 0.8 * max(map(len, numbers.values()))
    for camera, some in numbers.items():
        assert some == sorted(set(some))
        assert some[-1] - some[0] > len(some)
        assert counts[camera]["dropped"] >= some[-1] - some[0] - len(some)


def test_frames_a_second_and_numbers_of_frames_are_bounded():
    with http_camera(FRAMES, 50) as gate, Sources([Camera("a", gate.url, fps=5)], 2, 4, patience=QUICK) as sources:
        sources.connect()
        frames = [frame for frames in sources.rounds((HEIGHT, WIDTH), DEADLINE_S) for frame in frames]
    assert [frame.number for frame in frames] == [0, 2]
    assert frames[1].captured_s - frames[0].captured_s > 0.25  # two periods, less the half that a frame may be early


def test_a_file_beside_a_live_camera_loses_nothing(tmp_path):
    video = encode(tmp_path / "file.mp4", FRAMES)
    with (
        http_camera(FRAMES, 20) as gate,
        Sources([Camera("gate", gate.url), Camera("file", str(video))], patience=QUICK) as sources,
    ):
        sources.connect()
        seen = watch(sources, lambda seen: len(of(seen, "file")) == 10 and of(seen, "gate") != [])
        assert list(sources.counts()) == ["gate"]
    assert [frame.number for frame in of(seen, "file")] == list(range(10))
    assert [frame.captured_s is None for frame in (of(seen, "file")[0], of(seen, "gate")[0])] == [True, False]


def test_a_pushed_rtsp_stream_is_waited_for_and_taken_up_again(capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"rtsp://127.0.0.1:{port}/gate"
    context = multiprocessing.get_context("spawn")
    with Sources([Camera("gate", f"{url}?listen")], patience=Patience(open_s=1, read_s=1)) as sources:
        assert sources.connect() == {}
        assert f"gate: listens for a stream that is pushed to {url}\n" in capsys.readouterr().out
        for push in range(2):
            process = context.Process(target=push_rtsp, args=(url, FRAMES, 20), daemon=True)
            process.start()
            watch(sources, lambda seen, push=push: bool(seen) and sources.counts()["gate"]["reconnects"] >= push)
            process.kill()
            process.join()


def test_a_port_that_is_taken_and_an_address_of_another_machine_are_one_line():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for host, words in (("127.0.0.1", f"port {port} is taken"), ("192.0.2.1", "is not an address of this machine")):
            with pytest.raises(InputError, match=words):
                next(read_stream(f"rtsp://{host}:{port}/x?listen", QUICK, lambda: None))


def test_two_cameras_cannot_listen_on_one_port_even_when_the_first_has_its_stream():
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"rtsp://127.0.0.1:{free.getsockname()[1]}/gate"
    process = multiprocessing.get_context("spawn").Process(target=push_rtsp, args=(url, FRAMES, 20), daemon=True)
    process.start()
    with Sources([Camera("gate", f"{url}?listen")]) as sources:
        sources.connect()
        with (
            pytest.raises(InputError, match=r"port \d+ is taken"),
            Sources([Camera("yard", f"{url}?listen")]) as second,
        ):
            second.connect()
        watch(sources, lambda seen: len(seen) > 3)
    process.kill()
    process.join()


LISTENING = ("rtsp://0.0.0.0/a?listen", "rtmp://127.0.0.1:554/b?listen")


def test_two_cameras_of_a_list_that_listen_on_one_port_are_refused(tmp_path):
    path, words = tmp_path / "cameras.yaml", "the cameras {} and {} listen on one port, 554; give each its own port"
    path.write_text(f"cameras: [{{id: gate, source: '{LISTENING[0]}'}}, {{id: yard, source: '{LISTENING[1]}'}}]")
    with pytest.raises(InputError, match=words.format("gate", "yard")):
        read_cameras(path)
    with pytest.raises(InputError, match="--video: " + words.format("0.0.0.0_a", "127.0.0.1_b")):
        cameras_of_videos(LISTENING)
    assert cameras_of_videos([LISTENING[0], "rtsp://0.0.0.0:555/b?listen", "rtsp://127.0.0.1/c"])


HAS_GSTREAMER = (
    subprocess.run(
        ["/usr/bin/python3", "-c", "import gi; gi.require_version('GstRtspServer', '1.0')"],
        capture_output=True,
        check=False,
    ).returncode
    == 0
)


@contextmanager
def gstreamer_server(port: int, width: int, height: int):
    words = ["/usr/bin/python3", ROOT / "tests/support/gstreamer_server.py", port, width, height, "me", "hu/sh@"]
    with subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.skipif(not HAS_GSTREAMER, reason="needs gir1.2-gst-rtsp-server-1.0")
def test_a_server_with_a_password_has_two_clients_and_comes_back_with_another_size():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"rtsp://me:%s@127.0.0.1:{port}/gate"
    cameras = [Camera(name, url % "hu%2Fsh%40") for name in ("gate", "yard")]

    def have_come(seen: list[CameraFrame]) -> bool:
        return all(len(of(seen, camera.id)) > 3 for camera in cameras)

    with ExitStack() as stack:
        with gstreamer_server(port, WIDTH, HEIGHT):
            with pytest.raises(InputError, match="the password is refused"), Sources([Camera("x", url % "hush")]) as no:
                no.connect()
            sources = stack.enter_context(Sources(cameras, patience=QUICK))
            assert set(sources.connect()) == {"gate", "yard"}
            watch(sources, have_come)
        stack.enter_context(gstreamer_server(port, 2 * WIDTH, 2 * HEIGHT))
        watch(sources, lambda seen: have_come([frame for frame in seen if frame.rgb.shape[0] == 2 * HEIGHT]))
        assert {one["reconnects"] for one in sources.counts().values()} == {1}


def test_the_page_tells_how_to_play_a_camera(tmp_path):
    page = (ROOT / "docs/operating.md").read_text()
    (script,) = re.findall(r"^```python\n(import sys, time\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "push.py").write_text(script)
    video = encode(tmp_path / "gate.mp4", FRAMES)
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"rtsp://127.0.0.1:{free.getsockname()[1]}/gate"
    with Sources([Camera("gate", f"{url}?listen")]) as sources:
        words = [sys.executable, tmp_path / "push.py", video, url]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        with subprocess.Popen(list(map(str, words)), **pipes) as process:
            try:
                sources.connect()
                seen = watch(sources, lambda seen: len(seen) > 2 * len(FRAMES))  # it begins again
                sources.close()
                said = process.communicate(timeout=DEADLINE_S)[0]
            finally:
                process.kill()
    assert (process.returncode, said.count("\n")) == (0, 1), said
    assert said.startswith("the push has ended: ")
    assert sources.counts()["gate"]["reconnects"] == 0
    assert seen[-1].time_s - seen[0].time_s > 0.04 * len(FRAMES)  # in real time


def test_a_recording_behind_a_web_server_is_read_in_real_time(tmp_path):
    video = encode(tmp_path / "gate.mp4", FRAMES).read_bytes()
    about = f"HTTP/1.0 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {len(video)}\r\n\r\n"
    came = []
    with answering(about.encode() + video) as host, pytest.raises(InputError, match="its recording has ended"):
        came.extend(time.monotonic() for _ in read_stream(f"http://{host}/gate.mp4", QUICK, lambda: None))
    assert len(came) == len(FRAMES)
    assert came[-1] - came[0] > 0.9 * 0.04 * (len(FRAMES) - 1)


@pytest.mark.parametrize(
    ("times", "least_s", "most_s"),
    [
        ([0, 60, 120, 180], 1.7, 5.0),  # sparse frames, each more than the time for a packet from the last one
        ([0, 10, 20, 9000, 9010, 9020], 0.3, 5.0),  # a jump of a minute and a half
    ],
)
def test_a_recording_keeps_its_pace_where_frames_are_sparse_and_goes_on_where_time_stamps_jump(
    times, least_s, most_s, tmp_path
):
    video = encode(tmp_path / "gate.mp4", FRAMES[: len(times)], times=times).read_bytes()
    about = f"HTTP/1.0 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {len(video)}\r\n\r\n"
    came, patience = [], replace(QUICK, read_s=0.5)
    with answering(about.encode() + video) as host, pytest.raises(InputError, match="its recording has ended"):
        came.extend(time.monotonic() for _ in read_stream(f"http://{host}/gate.mp4", patience, lambda: None))
    assert len(came) == len(times)
    assert least_s < came[-1] - came[0] < most_s


def test_a_recording_behind_a_web_server_begins_again_and_that_is_told_once(tmp_path, capsys):
    video = encode(tmp_path / "gate.mp4", FRAMES).read_bytes()
    about = f"HTTP/1.0 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {len(video)}\r\n\r\n"
    with answering(about.encode() + video) as host:
        camera = Camera("gate", f"http://{host}/gate.mp4")
        with Sources([camera], patience=QUICK) as sources:
            sources.connect()
            until_s = time.monotonic() + DEADLINE_S
            while not sources.failed() and time.monotonic() < until_s:  # it ends before the first round too
                time.sleep(0.001)
            watch(sources, lambda seen: sources.counts()["gate"]["reconnects"] >= 4)
    said = capsys.readouterr()
    assert said.err.count("gate.mp4: its recording has ended; it begins again, each time") == 1
    assert "there again" not in said.out


def test_a_live_playlist_gives_its_frames_one_after_the_other(tmp_path):
    """It sends a second of them at once."""
    came_s: list[float] = []
    with hls_camera(tmp_path, FRAMES, 6) as url:
        for info, _ in read_stream(url, QUICK, lambda: None):
            came_s.append(time.monotonic())
            if len(came_s) == 100:
                assert info.frame_rate == 25
                break
    assert np.mean(np.diff(came_s) < 0.01) < 0.5  # without pacing, nearly all


@pytest.mark.parametrize(("skipped", "late_s"), [(0, 0.3), (1, 0), (1, 0.3)])
def test_a_segment_that_is_late_or_skipped_does_not_delay_the_later_ones(monkeypatch, skipped, late_s):
    """Of ten segments of a second; the clock is made up."""
    now_s, came_s = [1000.0], []

    def sleep(seconds):
        now_s[0] += seconds

    def frames():
        for segment in range(10):
            now_s[0] = max(now_s[0], 1000 + segment + (late_s if segment == 4 else 0))
            for number in range(25):
                yield SimpleNamespace(time=segment + number / 25 + (skipped if segment >= 4 else 0))

    monkeypatch.setattr(streams, "time", SimpleNamespace(monotonic=lambda: now_s[0], sleep=sleep))
    for _ in streams.in_real_time(frames(), 0.5, 1.0, lambda: None):
        came_s.append(now_s[0] - 1000)
    due_s = np.arange(250) / 25
    late = (due_s >= 4) & (due_s < 4 + late_s) if not skipped else due_s >= 4
    np.testing.assert_allclose(np.array(came_s)[~late], due_s[~late], atol=1e-6)
    assert (np.array(came_s) <= due_s + late_s + 1e-6).all()


def test_the_rate_of_a_camera_that_does_not_say_is_measured_once():
    """Each measurement takes a second, in which nothing is delivered."""
    known = []

    def connect(source, patience, beat, known_rate):
        known.append(known_rate)
        yield next(streams.read_stream(source, patience, beat, known_rate))

    with (
        http_camera(FRAMES, 8, "mjpeg") as gate,
        Sources([Camera("gate", gate.url)], patience=QUICK, connect=connect) as sources,
    ):
        rate = sources.connect()["gate"].frame_rate
        assert rate == pytest.approx(8, rel=0.4)  # on a busy machine too
        watch(sources, lambda seen: len(seen) > 3)
        assert sources.infos()["gate"].frame_rate == rate
    assert known[0] is None
    assert set(known[1:]) == {rate}


def test_a_camera_that_breaks_off_while_its_rate_is_measured_gives_a_frame():
    with answering(OK % b"multipart/x-mixed-replace; boundary=frame" + jpeg_part(FRAMES[0]) * 3) as host:
        came = []
        with pytest.raises(InputError, match="its stream"):
            came.extend(read_stream(f"http://{host}/x", QUICK, lambda: None))
    assert [info.frame_rate for info, _ in came] == [25]


def test_the_time_of_day_may_be_set_while_a_camera_runs(monkeypatch):
    real, shift_s = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + shift_s[0])
    with http_camera(FRAMES, 20) as gate, Sources([Camera("gate", gate.url)], patience=QUICK) as sources:
        sources.connect()

        def is_enough(seen):
            shift_s[0] = -3600.0 if len(seen) > 3 else 0.0
            return len(seen) > 9

        seen = watch(sources, is_enough)
    assert seen[-1].captured_s < seen[0].captured_s - 3000
    assert min(np.diff([frame.time_s for frame in seen])) > 0
    assert seen[-1].time_s < 30


def test_a_file_that_is_added_and_missing_is_told_at_once(tmp_path, capsys):
    path = tmp_path / "cameras.yaml"
    with http_camera(FRAMES, 20) as gate:
        path.write_text(f"cameras: [{{id: gate, source: '{gate.url}'}}]")
        watched = {"watched": path, "read": lambda: read_cameras(path), "looks_every_s": 0.1}
        with Sources(read_cameras(path), **watched, patience=QUICK) as sources:
            sources.connect()
            path.write_text(f"cameras: [{{id: gate, source: '{gate.url}'}}, {{id: yard, source: none.mp4}}]")
            said: list[str] = []

            def is_told(seen):
                said.append(capsys.readouterr().err)
                return "yard" in said[-1]

            watch(sources, is_told)
            watch(sources, lambda seen: len(seen) > 9)
    told = f"yard: {tmp_path}/none.mp4: no such video; the others go on without it"
    assert ("".join(said) + capsys.readouterr().err).count(told) == 1


def sound() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for number in range(50):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, 1024 * number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


OK = b"HTTP/1.0 200 OK\r\nContent-Type: %s\r\n\r\n"
PAGE = OK % b"text/html" + b"<!doctype html><html><body>" + b"<p>Please log in</p>" * 300
ANSWERS = {
    "http": [
        (b'HTTP/1.0 401 No\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n', "password is refused"),
        (b"HTTP/1.0 404 No\r\nContent-Length: 0\r\n\r\n", r"no such stream \(404\)"),
        (b"HTTP/1.0 503 No\r\nContent-Length: 0\r\n\r\n", "the answer is an error"),
        (PAGE, "a web page"),
        (OK % b"video/mp2t" + sound(), "sound alone"),
        (OK % b"image/jpeg" + encode_jpeg(FRAMES[0], 90), "is no video that can be read"),
        (b"", "broke off without a stream"),
    ],
    "rtsp": [
        (b'RTSP/1.0 401 No\r\nCSeq: 1\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n', "password is refused"),
        (b"RTSP/1.0 404 No\r\nCSeq: 1\r\n\r\n", r"no such stream \(404\)"),
        (PAGE, "no answer that RTSP knows"),
    ],
}


@pytest.mark.parametrize(
    ("scheme", "content", "words"), [(scheme, *one) for scheme, some in ANSWERS.items() for one in some]
)
def test_what_is_no_stream_is_one_line_without_the_password(scheme, content, words, capfd):
    with (
        answering(content) as host,
        pytest.raises(InputError, match=words) as raised,
        Sources([Camera("gate", f"{scheme}://me:hush@{host}/x?pwd=hush")], patience=QUICK) as sources,
    ):
        sources.connect()
    assert str(raised.value).startswith(f"{scheme}://***@127.0.0.1")
    assert "hush" not in str(raised.value) + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("http://me:hush@no-such-host.invalid/x", r"http://\*\*\*@no-such-host\.invalid/x: there is no host no-such"),
        ("rtsp://me:hush@127.0.0.1:9/x", "the connection is refused"),
        ("/dev/video77", "/dev/video77: No such file"),
    ],
)
def test_a_camera_that_is_not_there_is_one_line(source, words):
    with pytest.raises(InputError, match=words), Sources([Camera("gate", source)], patience=QUICK) as sources:
        sources.connect()


def test_a_camera_that_sends_to_another_host_is_not_followed():
    with http_camera(FRAMES, 20) as other:
        redirect = b"HTTP/1.0 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % other.url.encode()
        with answering(redirect) as host, pytest.raises(InputError, match="or it sends to another address"):
            next(read_stream(f"http://{host}/x", QUICK, lambda: None))
        assert other.sent == 0


def test_a_camera_that_answers_wrongly_is_told_and_the_others_go_on(capsys):
    with answering(PAGE) as host, http_camera(FRAMES, 20) as yard:
        cameras = [Camera("gate", f"http://me:hush@{host}/x"), Camera("yard", yard.url)]
        with Sources(cameras, patience=QUICK) as sources:
            assert list(sources.connect()) == ["yard"]
            watch(sources, lambda seen: len(seen) > 5)
            assert "web page" in str(sources.failed()["gate"])
    said = capsys.readouterr().err
    assert said.count("a web page") == 1
    assert "the others go on without it" in said


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        ({"frames": square_frames(3, 64, 64)}, "has 64x64 frames, the model takes 96x64"),
        ({"masks": (((0, 0), (97, 0), (97, 9)),)}, "mask 1 of camera gate has a corner at 97, 0, outside of its 96x64"),
    ],
)
def test_frames_that_do_not_fit_are_left_out(camera, words, capsys):
    with http_camera(camera.get("frames", FRAMES), 20) as gate, http_camera(FRAMES, 20) as yard:
        wrong = Camera("gate", gate.url, masks=camera.get("masks", ()))
        with Sources([wrong, Camera("yard", yard.url)], patience=QUICK) as sources:
            sources.connect()
            seen = watch(sources, lambda seen: len(seen) > 9 and sources.failed() != {})
        assert of(seen, "gate") == []
        said = capsys.readouterr().err
        assert said.count(words) == said.count("this camera is left out") == 1
        with Sources([wrong], patience=QUICK) as sources:
            sources.connect()
            with pytest.raises(InputError, match=words):
                watch(sources, bool)


def test_cameras_are_added_changed_and_removed_while_they_run(tmp_path, capsys):
    path = tmp_path / "cameras.yaml"

    def write(*cameras: str) -> None:
        path.write_text("cameras:\n" + "".join(f"  - {{{camera}}}\n" for camera in cameras))

    with http_camera(FRAMES, 20) as gate, http_camera(FRAMES, 20) as yard:
        write(f"id: gate, source: '{gate.url}'")
        watched = {"watched": path, "read": lambda: read_cameras(path), "looks_every_s": 0.1}
        with Sources(read_cameras(path), **watched, patience=QUICK) as sources:
            sources.connect()
            watch(sources, bool)
            write(f"id: gate, source: '{gate.url}', weight: 2", f"id: yard, source: '{yard.url}', fps: 7")
            seen_before = watch(sources, lambda seen: of(seen, "yard") != [] and of(seen, "gate")[-1].weight == 2)
            assert sources.counts()["gate"]["reconnects"] == 0
            assert [sources.frame_rate(camera) for camera in ("gate", "yard", "none")] == [25, 7, 25]
            write("id: gate, source: 'http://me:hush@host/x', weigth: 2")
            said = []

            def is_told(seen):
                said.extend(capsys.readouterr())
                return "the cameras stay as they were" in said[-1]

            watch(sources, is_told)
            assert "weigth" in "".join(said)
            write(*(f"id: {name}, source: 'rtsp://{name}:8554/x?listen'" for name in ("gate", "yard")))
            watch(sources, is_told)
            assert "the cameras gate and yard listen on one port, 8554" in said[-1]
            assert "yard: read as" in "".join(said)
            assert "gate: read as" not in "".join(said)
            write(f"id: gate, source: '{yard.url}'", f"id: yard, source: '{yard.url}'")  # gate is elsewhere now
            shots = {frame.camera: frame.shot for frame in seen_before}
            seen = watch(sources, lambda seen: len({frame.shot for frame in of(seen, "gate")}) == 2)
            assert of(seen, "yard")[-1].shot == shots["yard"]
            write(f"id: yard, source: '{yard.url}'")
            seen = watch(sources, lambda seen: len({frame.camera for frame in seen[-9:]}) == 1 and len(seen) > 9)
            assert seen[-1].camera == "yard"
            assert "cameras now: yard (removed: gate)" in capsys.readouterr().out
            assert [sources.removed(), sources.removed()] == [["gate"], []]
            assert sources.round_rate == 25
            assert list(sources.counts()) == ["gate", "yard"]


def test_damaged_streams_end_in_one_line_and_never_hang():
    stream = b"".join(part for part, _ in zip(ts_parts(iter(FRAMES * 2)), range(20), strict=False))
    rng = np.random.default_rng(0)
    decoded: list[object] = []
    for number in range(200):
        damaged = bytearray(stream)
        if number % 2:
            del damaged[int(rng.integers(len(stream))) :]
        for at in rng.integers(len(damaged), size=int(rng.integers(1, 200))) if damaged else ():
            damaged[at] ^= 1 << int(rng.integers(8))
        with answering(OK % b"video/mp2t" + damaged) as host, pytest.raises(InputError):
            decoded.extend(read_stream(f"http://{host}/x", QUICK, lambda: None))
    assert len(decoded) > 200


def test_a_round_is_taken_when_its_first_stage_and_those_after_it_will_be_free():
    now = [0.0]
    pacing = Pacing(3, lambda: now[0])
    taken = pacing.admitted(iter(range(9)))

    def work(stage: int, seconds: float) -> None:
        with pacing.stage(stage):
            now[0] += seconds

    next(taken)
    for stage, seconds in enumerate((1, 2, 4)):
        work(stage, seconds)
    assert pacing.due_s() <= now[0]
    next(taken)
    work(0, 1)
    with pacing.stage(1):
        assert pacing.due_s() == 11  # its last stage ends at 14; the next one comes there after 3
        now[0] += 2
    with pacing.stage(2):
        now[0] += 6
        assert pacing.due_s() == now[0] - 3  # it takes longer than expected


class SlowDetector:
    def detect(self, frames):
        time.sleep(0.05)
        return [None] * len(frames)


def test_a_live_loop_ends_at_once_wherever_its_rounds_are():
    lr = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frames = [CameraFrame("gate", 0, 0.0, lr, lr, captured_s=0.0)]
    for count in range(6):
        closed = threading.Event()
        loop = Loop(Plan(mode="none"), MacroblockGrid(HEIGHT, WIDTH), list, NoEnhancer(1), SlowDetector())
        found = loop.run_live(iter(lambda closed=closed: None if closed.is_set() else frames, None), closed.set)
        for _ in range(count):
            next(found)
        ending = threading.Thread(target=found.close, daemon=True)
        ending.start()
        ending.join(DEADLINE_S)
        assert not ending.is_alive()
    assert closed.is_set()


def words_of_run(folder: Path, *flags: object) -> list[str]:
    predictor = write_predictor(folder / "predictor.onnx", (HEIGHT, WIDTH))
    detector = write_detector(folder / "detector.onnx", "yolox", (2 * HEIGHT, 2 * WIDTH))
    words = [*flags, "--predictor", predictor, "--upscaler", "bicubic", "--detector", f"onnx:{detector}"]
    return [str(word) for word in [*words, "--save_dir", folder / "out", "--max_box_area", 1]]


@pytest.mark.slow
def test_a_live_run_ends_at_a_signal_and_leaves_its_counts_and_no_password(tmp_path):
    config, out = tmp_path / "cameras.yaml", tmp_path / "out"
    with http_camera(FRAMES, 20, "mjpeg") as gate, http_camera(FRAMES, 20) as yard:
        secret = gate.url.replace("//", "//me:hush@") + "?token=hush"
        config.write_text(f"cameras: [{{id: gate, source: '{secret}'}}, {{id: yard, source: '{yard.url}'}}]")
        words = words_of_run(tmp_path, "--cameras", config, "--seconds", 60, "--track")
        command = [sys.executable, "deploy/run_cameras.py", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
            until = time.monotonic() + 120
            lines = out / "detections.jsonl"
            while not (lines.is_file() and lines.read_bytes().count(b"\n") > 20) and time.monotonic() < until:
                time.sleep(0.05)
            gate.is_hanging = yard.is_hanging = True
            assert b"hush" not in (out / ".run.lock").read_bytes()
            process.terminate()
            said = process.stdout.read()
    assert process.returncode == 143, said
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert f"interrupted: kept what was found in {len(found)} frames" in said
    assert re.search(r"of live cameras, .* the busiest thread, \w+, worked \d+% of the time", said)
    assert {line["camera"] for line in found} == {"gate", "yard"}
    assert all(line["captured"].endswith("+00:00") for line in found)
    about = json.loads((out / "run.json").read_text())
    assert all(0 < share < 1 for share in about["busy"].values())
    for camera in ("gate", "yard"):
        one = about["cameras"][camera]
        assert abs(one["frames"] - sum(line["camera"] == camera for line in found)) <= 1
        assert (one["reconnects"], one["error"]) == (0, None)
        assert one["dropped"] >= 0
        assert 0 < one["age_p50_ms"] <= one["age_p95_ms"]
    assert "http://***@127.0.0.1" in said
    written = [path for path in out.rglob("*") if path.is_file()]
    assert {"gate.mp4", "yard.mp4"} <= {path.name for path in written}
    assert b"hush" not in said.encode() + b"".join(path.read_bytes() for path in written)


@pytest.mark.slow
def test_a_list_of_cameras_that_changes_while_models_load_is_read_again(tmp_path, monkeypatch, capsys):
    config, load_predictor = tmp_path / "cameras.yaml", run_cameras.load_predictor
    with http_camera(FRAMES, 20) as gate, http_camera(FRAMES, 20) as yard:
        listed = f"cameras: [{{id: gate, source: '{gate.url}'}}"
        config.write_text(listed + "]")

        def load(*about):
            whole = [[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]]
            config.write_text(f"{listed}, {{id: yard, source: '{yard.url}', masks: [{whole}]}}]")
            return load_predictor(*about)

        monkeypatch.setattr(run_cameras, "load_predictor", load)
        words = words_of_run(tmp_path, "--cameras", config, "--max_frames", 100, "--files", "jsonl")
        run_cameras.main(run_cameras.make_parser().parse_args(words))
    said = capsys.readouterr()
    assert "cameras now: gate, yard" in said.out
    assert said.err.count("its masks reach into all macroblocks") == said.err.count("warning: yard: its masks") == 1
    found = [json.loads(line)["camera"] for line in (tmp_path / "out" / "detections.jsonl").read_text().splitlines()]
    assert set(found) == {"gate", "yard"}


@pytest.mark.slow
def test_a_camera_that_is_removed_has_its_video_while_the_others_run(tmp_path):
    config, out = tmp_path / "cameras.yaml", tmp_path / "out"
    with http_camera(FRAMES, 20) as gate, http_camera(FRAMES, 20) as yard:
        listed = [f"{{id: {name}, source: '{one.url}'}}" for name, one in (("gate", gate), ("yard", yard))]
        config.write_text(f"cameras: [{', '.join(listed)}]")
        words = words_of_run(tmp_path, "--cameras", config, "--seconds", 60, "--track", "--files", "jsonl", "video")
        command = [sys.executable, "deploy/run_cameras.py", *words]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            lines = out / "detections.jsonl"
            until(lambda: lines.is_file() and b"gate" in lines.read_bytes(), 2 * DEADLINE_S)
            config.write_text(f"cameras: [{listed[1]}]")
            until((out / "gate.mp4").is_file, DEADLINE_S)
            assert process.poll() is None
            assert not (out / "yard.mp4").exists()
            assert "gate.mp4" in (out / ".running.json").read_text()
            process.terminate()
            said = process.stderr.read()
    assert process.returncode == 143, said
    assert {"gate.mp4", "yard.mp4"} <= {path.name for path in out.iterdir()}
    about = json.loads((out / "run.json").read_text())
    frames = sum(one["frames"] for one in about["cameras"].values())
    assert about["sinks"]["video"] == {"written": frames, "dropped": 0}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--video", "x.mp4", "--seconds", 3], "--seconds is a time above 0, and for live cameras"),
        (["--video", "http://h/x", "--seconds", 0], "--seconds is a time above 0"),
        (["--video", "rtsp://me:12/hush@10.0.0.7/s"], r"rtsp://\*\*\*@10.0.0.7/s: has @ behind the host; write / of a"),
        (["--video", "rtsp://me:hu sh@10.0.0.7/s"], "--video: there is a space in the URL; write it as %20"),
        (["--video", "ftp://me:hush@h/x"], r"ftp://\*\*\*@h/x: begins with none of rtsp://"),
        (["--video", "rtsp:///x"], "has no host"),
    ],
)
def test_wrong_flags_of_live_cameras_are_one_line(flags, words, tmp_path):
    with pytest.raises(InputError, match=words):
        run_cameras.main(run_cameras.make_parser().parse_args(words_of_run(tmp_path, *flags)))


@pytest.mark.parametrize(
    ("rate", "fps", "expected"),
    [(25, 25, 25), (24.9, 25, 24.9), (25.1, 25, 25), (30, 25, 25), (25, 10, 10), (25, 60, 25)],
)
def test_fps_takes_as_many_frames_as_come_unevenly(rate, fps, expected):
    uneven_s = np.random.default_rng(0).uniform(-0.2, 0.2, int(400 * rate)) / rate
    taken, due_s = [], 0.0
    for now_s in 1000 + np.arange(len(uneven_s)) / rate + uneven_s:
        if (due := next_due(due_s, now_s, fps)) is not None:
            taken.append(now_s)
            due_s = due
    assert len(taken) == pytest.approx(400 * expected, rel=0.002)
    assert np.diff(taken).max() < 2.5 / min(rate, fps)


def test_a_raised_fps_holds_at_once():
    assert next_due(next_due(0, 100, 0.001), 101, 25) == 101.04


def test_cameras_of_urls_are_named_after_host_and_path():
    names = {
        "rtsp://me:hush@10.0.0.7:554/live/1?pwd=hush": "10.0.0.7_live_1",
        "rtsp://10.0.0.8:554/user=admin&password=hush&channel=1": "10.0.0.8",
        "rtsp://10.0.0.9/live/user=admin_password=hush_channel=1.sdp": "10.0.0.9_live",
        "rtsp://[::1]/s#password=hush": "_1_s",
        "http://gate/video.mjpg": "gate_video.mjpg",
        "/dev/video0": "video0",
    }
    cameras = cameras_of_videos(list(names))
    assert [camera.id for camera in cameras] == list(names.values())
    assert "hush" not in repr(cameras) + "".join(camera.shown for camera in cameras)


def test_the_frame_rate_of_a_running_file_stays_and_that_is_told(tmp_path, capsys):
    path, video = tmp_path / "cameras.yaml", encode(tmp_path / "rec.mp4", FRAMES)
    path.write_text(f"cameras: [{{source: {video}, fps: 5}}]")
    with Sources(read_cameras(path), 1, None, path, lambda: read_cameras(path), looks_every_s=0.01) as sources:
        sources.connect()
        path.write_text(f"cameras: [{{source: {video}, fps: 10}}]")
        rounds = sources.rounds((HEIGHT, WIDTH))
        for _ in rounds:
            time.sleep(0.1)
    assert "rec: is a file, which keeps its fps; remove it and add it again" in capsys.readouterr().err
