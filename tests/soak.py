"""Live cameras for minutes: four RTSP streams on loopback, pushed by PyAV, into deploy/run_cameras.py.

Three runs: with all frames the cameras can push, which gives what this machine can do; with half of that, for the
delay; with twice that for --minutes, in which a camera is killed and revived ten times. Exits 1 where a figure is
missed.

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
import time
from datetime import datetime
from pathlib import Path
from typing import Any

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
    """Processes that push a stream each to a port of their own, `fps` frames a second."""

    def __init__(self, fps: float) -> None:
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(CAMERAS)]
        self.urls = [f"rtsp://127.0.0.1:{one.getsockname()[1]}/x" for one in sockets]
        for one in sockets:
            one.close()
        self._fps, self._frames = fps, square_frames(20, HEIGHT, WIDTH)
        self._processes = [self._started(url) for url in self.urls]

    def _started(self, url: str) -> Any:
        arguments = url, self._frames, self._fps
        process = multiprocessing.get_context("fork").Process(target=push_rtsp, args=arguments, daemon=True)
        process.start()
        return process

    def kill(self, number: int) -> None:
        self._processes[number].kill()
        self._processes[number].join()

    def revive(self, number: int) -> float:
        """When it was started, as time.time() has it."""
        self._processes[number] = self._started(self.urls[number])
        return time.time()

    def close(self) -> None:
        for number in range(CAMERAS):
            self.kill(number)


def memory_mb(pid: int) -> float:
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


def run(folder: Path, fps: float, seconds: float, kills: int = 0) -> tuple[dict[str, Any], list[float], list[float]]:
    """run.json of a run of so many seconds, memory in MB at a quarter of it and at its end, and the times when the
    first camera was revived.
    """
    pushers = Pushers(fps)
    names = [f"camera{number}" for number in range(CAMERAS)]
    cameras = [{"id": name, "source": f"{url}?listen"} for name, url in zip(names, pushers.urls, strict=True)]
    folder.mkdir()
    (folder / "cameras.yaml").write_text(json.dumps({"cameras": cameras}))
    words = ["--cameras", folder / "cameras.yaml", "--predictor", folder.parent / "predictor.onnx", "--no_video"]
    words += ["--upscaler", "builtin", "--mode", "whole", "--detector", f"onnx:{folder.parent / 'detector.onnx'}"]
    command = [sys.executable, "deploy/run_cameras.py", *map(str, words), "--save_dir", str(folder / "out")]
    lines, memory, revived = folder / "out" / "detections.jsonl", [], []
    try:
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
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
    return json.loads((folder / "out" / "run.json").read_text()), memory, revived


def returns_s(lines: Path, revived: list[float]) -> list[float]:
    """How long after each time the first frame of the first camera came."""
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    came = [datetime.fromisoformat(one["captured"]).timestamp() for one in found if one["camera"] == "camera0"]
    return [min((moment for moment in came if moment > at), default=float("inf")) - at for at in revived]


def round_ms(about: dict[str, Any]) -> float:
    """The stages of a round of all cameras, one after the other, in the median."""
    return CAMERAS * sum(one["p50_ms"] or 0.0 for name, one in about["stages"].items() if name != "write")


def soak(folder: Path, minutes: float) -> bool:
    write_predictor(folder / "predictor.onnx", (HEIGHT, WIDTH), scale=SCALE)
    write_detector(folder / "detector.onnx", "yolox", (SCALE * HEIGHT, SCALE * WIDTH))
    full, _, _ = run(folder / "full", MOST_FPS, PROBE_S)
    fps = full["frames"] / full["seconds"] / CAMERAS
    half, _, _ = run(folder / "half", fps / 2, PROBE_S)
    twice, memory, revived = run(folder / "twice", 2 * fps, 60 * minutes, KILLS if minutes > 1 else 2)
    back = returns_s(folder / "twice/out/detections.jsonl", revived)
    others = [one for name, one in twice["cameras"].items() if name != "camera0"]
    age, worst = max(one["age_p95_ms"] for one in half["cameras"].values()), max(one["age_p95_ms"] for one in others)
    counts = [one["frames"] for one in others]
    figures = [
        ("frames a second of each camera that this machine can do", fps, None),
        ("half of that: age p95 ÷ the stages of a round", age / round_ms(half), 1.5),
        ("twice that: age p95 ÷ a round", worst / round_ms(twice), 2.0),
        ("fastest ÷ slowest of the cameras that were not killed", max(counts) / min(counts), 1 / 0.9),
        (f"{len(back)} returns of a camera: the slowest, seconds", max(back), 2.0),
        ("reconnects of the others", sum(one["reconnects"] for one in others), 0.0),
        ("memory at the end ÷ at a quarter", memory[-1] / memory[0], 1.05),
    ]
    for name, value, most in figures:
        verdict = "" if most is None else f"at most {most:.3g}: {'holds' if value <= most else 'MISSED'}"
        print(f"{name:<60} {value:8.3g}  {verdict}")
    return all(most is None or value <= most for _, value, most in figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the run with twice the load")
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(0 if soak(Path(temporary), parser.parse_args().minutes) else 1)
