"""`kill -9` of a run of the loop at random moments: its lines stay whole, and the next run goes on after them.

python -m tests.kills --times 50
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.cameras import square_frames
from tests.support.detectors import write_detector
from tests.support.files import ROOT, encode
from tests.support.predictors import write_predictor
from tests.support.works import lines_problem

HEIGHT, WIDTH, FRAMES = 64, 96, 1500
MOST_S = 120  # for a run to write its first line


def command(folder: Path) -> list[str]:
    """A run that takes longer than it is left, and appends to folder/out."""
    predictor = write_predictor(folder / "predictor.onnx", (HEIGHT, WIDTH))
    detector = write_detector(folder / "detector.onnx", "yolox", (2 * HEIGHT, 2 * WIDTH))
    video = encode(folder / "gate.mp4", square_frames(30, HEIGHT, WIDTH) * (FRAMES // 30))
    words = ["--video", video, "--predictor", predictor, "--mode", "none", "--detector", f"onnx:{detector}"]
    words += ["--save_dir", folder / "out", "--files", "jsonl", "--append"]
    return [sys.executable, str(ROOT / "deploy/run_cameras.py"), *map(str, words)]


def killed_runs(folder: Path, times: int, seed: int) -> int:
    """Run and kill so often; how many whole lines there are in the end. AssertionError where one is not."""
    rng, words, path = random.Random(seed), command(folder), folder / "out" / "detections.jsonl"
    whole = b""
    for number in range(times):
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + MOST_S
            while not (path.exists() and path.stat().st_size > len(whole)):
                assert process.poll() is None, process.stderr.read().decode()
                assert time.monotonic() < deadline, "no line was written"
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.5))
            process.kill()
        content = path.read_bytes()
        assert content.startswith(whole), f"run {number}: it changed what was there"
        whole = content[: content.rindex(b"\n") + 1]
        problem = lines_problem(whole)
        assert problem is None, f"run {number}: {problem}"
        assert whole.count(b'"frame": 0,') == number + 1
    return whole.count(b"\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(f"{args.times} runs killed, {killed_runs(Path(folder), args.times, args.seed)} lines, all whole")


if __name__ == "__main__":
    main()
