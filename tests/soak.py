"""Live cameras for minutes: four RTSP streams on loopback, pushed by PyAV, into deploy/run_cameras.py.

Three runs: with all frames the cameras can push, which gives what this machine can do; with half of that, for the
delay, from the arrival of a frame in the loop and from its push; with twice that for --minutes, in which a camera is
killed and revived ten times. Exits 1 where a figure is missed.

python tests/soak.py --minutes 10
"""

import argparse
import json
import multiprocessing
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.cameras import square_frames
from tests.support.detectors import write_detector
from tests.support.files import ROOT
from tests.support.predictors import write_predictor
from tests.support.streams import push_rtsp

HEIGHT, WIDTH, SCALE = 96, 160, 3
CAMERAS, KILLS, MOST_FPS, PROBE_S = 4, 10, 25.0, 20.0
STARTUP_S = 60.0


class Pushers:
    """Processes that push a stream each to a port of their own, `fps` frames a second.

    logs: of each, the times of its frames (see push_rtsp).
    """

    def __init__(self, fps: float, folder: Path) -> None:
        self.logs = [folder / f"pushed{number}.txt" for number in range(CAMERAS)]
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(CAMERAS)]
        self.urls = [f"rtsp://127.0.0.1:{one.getsockname()[1]}/x" for one in sockets]
        for one in sockets:
            one.close()
        self._fps, self._frames = fps, square_frames(20, HEIGHT, WIDTH)
        self._processes = [self._started(number) for number in range(CAMERAS)]

    def _started(self, number: int) -> Any:
        arguments = self.urls[number], self._frames, self._fps, self.logs[number]
        process = multiprocessing.get_context("fork").Process(target=push_rtsp, args=arguments, daemon=True)
        process.start()
        return process

    def kill(self, number: int) -> None:
        self._processes[number].kill()
        self._processes[number].join()

    def revive(self, number: int) -> float:
        """When it was started, as time.time() has it."""
        self._processes[number] = self._started(number)
        return time.time()

    def close(self) -> None:
        for number in range(CAMERAS):
            self.kill(number)


class Seen:
    """When each line of a file was there, in seconds as time.time() has them; looked at every few milliseconds."""

    EVERY_S = 0.005

    def __init__(self, path: Path) -> None:
        self.lines: list[tuple[float, bytes]] = []
        self._path, self._ended = path, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Seen":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._path.is_file():
            if self._ended.wait(self.EVERY_S):
                return
        begun = b""  # of a line whose end is not there yet
        with self._path.open("rb") as file:
            while not self._ended.wait(self.EVERY_S):
                *lines, begun = (begun + file.read()).split(b"\n")
                self.lines += [(time.time(), line) for line in lines]


def latencies_s(pushed: Path, seen: list[tuple[float, bytes]], camera: str) -> np.ndarray:
    """How long after its push the line of each frame of a camera was there that did not break off, in seconds.

    RTSP keeps the order, so the n-th frame that came is the n-th that was pushed since the loop began to count: since
    when, is what makes all of them take equally long from push to arrival.
    """
    found = [(at, about) for at, line in seen if (about := json.loads(line))["camera"] == camera]
    pushes_s = np.array([float(line) for line in pushed.read_text().splitlines()])
    numbers = np.array([about["frame"] for _, about in found])
    came_s = np.array([datetime.fromisoformat(about["captured"]).timestamp() for _, about in found])
    first = min(range(len(pushes_s) - numbers.max()), key=lambda at: np.std(came_s - pushes_s[numbers + at]))
    return np.array([at for at, _ in found]) - pushes_s[numbers + first]


def memory_mb(pid: int) -> float:
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


class Ran(NamedTuple):
    """about: run.json. memory_mb: at a quarter of the run, after each kill from then on, and at its end. revived_s:
    when the first camera was. latency_s: p95 from the push of a frame to its line, of each camera that never broke off.
    """

    about: dict[str, Any]
    memory_mb: list[float]
    revived_s: list[float]
    latency_s: dict[str, float]


def run(folder: Path, fps: float, seconds: float, kills: int = 0) -> Ran:
    """A run of so many seconds, in which the first camera is killed and revived."""
    folder.mkdir()
    pushers = Pushers(fps, folder)
    names = [f"camera{number}" for number in range(CAMERAS)]
    cameras = [{"id": name, "source": f"{url}?listen"} for name, url in zip(names, pushers.urls, strict=True)]
    (folder / "cameras.yaml").write_text(json.dumps({"cameras": cameras}))
    words = ["--cameras", folder / "cameras.yaml", "--predictor", folder.parent / "predictor.onnx", "--no_video"]
    words += ["--upscaler", "builtin", "--mode", "whole", "--detector", f"onnx:{folder.parent / 'detector.onnx'}"]
    command = [sys.executable, "deploy/run_cameras.py", *map(str, words), "--save_dir", str(folder / "out")]
    lines, memory, revived = folder / "out" / "detections.jsonl", [], []
    try:
        pipe = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        with Seen(lines) as seen, pipe as process:
            until = time.monotonic() + STARTUP_S
            while not (lines.is_file() and lines.stat().st_size) and time.monotonic() < until:
                time.sleep(0.1)
            began, step_s = time.monotonic(), seconds / (kills + 1)
            for number in range(1, kills + 2):
                time.sleep(max(began + number * step_s - time.monotonic(), 0))
                if number * step_s >= seconds / 4:
                    memory.append(memory_mb(process.pid))
                if number <= kills:
                    pushers.kill(0)
                    time.sleep(min(3.0, step_s / 3))
                    revived.append(pushers.revive(0))
            process.send_signal(signal.SIGTERM)
        assert process.returncode == 128 + signal.SIGTERM, process.returncode
    finally:
        pushers.close()
    about = json.loads((folder / "out" / "run.json").read_text())
    whole = [number for number, name in enumerate(names) if not about["cameras"][name]["reconnects"]]
    latency_s = {
        names[number]: float(np.quantile(latencies_s(pushers.logs[number], seen.lines, names[number]), 0.95))
        for number in whole
    }
    return Ran(about, memory, revived, latency_s)


def returns_s(lines: Path, revived: list[float]) -> list[float]:
    """How long after each time the first frame of the first camera came."""
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    came = [datetime.fromisoformat(one["captured"]).timestamp() for one in found if one["camera"] == "camera0"]
    return [min((moment for moment in came if moment > at), default=float("inf")) - at for at in revived]


def round_ms(about: dict[str, Any]) -> float:
    """The stages of a round of all cameras, one after the other, in the median."""
    return CAMERAS * sum(one["p50_ms"] or 0.0 for name, one in about["stages"].items() if name not in ("read", "write"))


def soak(folder: Path, minutes: float) -> bool:
    write_predictor(folder / "predictor.onnx", (HEIGHT, WIDTH), scale=SCALE)
    write_detector(folder / "detector.onnx", "yolox", (SCALE * HEIGHT, SCALE * WIDTH))
    full = run(folder / "full", MOST_FPS, PROBE_S).about
    fps = full["frames"] / full["seconds"] / CAMERAS
    half, _, _, latency_s = run(folder / "half", fps / 2, PROBE_S)
    twice, memory, revived, _ = run(folder / "twice", 2 * fps, 60 * minutes, KILLS if minutes > 1 else 2)
    back = returns_s(folder / "twice/out/detections.jsonl", revived)
    others = [one for name, one in twice["cameras"].items() if name != "camera0"]
    age, worst = max(one["age_p95_ms"] for one in half["cameras"].values()), max(one["age_p95_ms"] for one in others)
    counts = [one["frames"] for one in others]
    figures = [
        ("frames a second of each camera that this machine can do", fps, None),
        ("half of that: from arrival to detections, p95 ÷ the stages of a round", age / round_ms(half), 1.5),
        ("half of that: from push to line, p95 ÷ the same", 1e3 * max(latency_s.values()) / round_ms(half), 1.5),
        ("twice that: age p95 ÷ a round", worst / round_ms(twice), 2.0),
        ("fastest ÷ slowest of the cameras that were not killed", max(counts) / min(counts), 1 / 0.9),
        (f"{len(back)} returns of a camera: the slowest, seconds", max(back), 2.0),
        ("reconnects of the others", sum(one["reconnects"] for one in others), 0.0),
        ("memory at the end ÷ at a quarter", memory[-1] / memory[0], 1.05),
    ]
    for name, value, most in figures:
        verdict = "" if most is None else f"at most {most:.3g}: {'holds' if value <= most else 'MISSED'}"
        print(f"{name:<70} {value:8.3g}  {verdict}")
    return all(most is None or value <= most for _, value, most in figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the run with twice the load")
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(0 if soak(Path(temporary), parser.parse_args().minutes) else 1)
