"""The resident memory of each stage on a clip of 200 and of 5,000 frames; prints both and their ratio.

make bench
"""

import subprocess
import sys

import pytest

from regenhance_data.io.video import VideoWriter
from tests.support.files import ROOT, images_and_importance, noise

COUNTS = (200, 5000)


# A process begins with the peak of the one it was forked from, so a small one stands between.
MEASURE = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
MEASURE += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"


def peak_mb(words: list[object]) -> float:
    """The largest resident memory of a command, or of a process it started, in MB."""
    command = [sys.executable, "-c", MEASURE, sys.executable, *map(str, words)]
    return int(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout) / 1024


def compare(name: str, commands: list[list[object]]) -> None:
    short, long = (peak_mb(words) for words in commands)
    few, many = COUNTS
    print(f"  {name:16s} {short:7.0f} MB for {few} frames {long:7.0f} MB for {many}   ratio {long / short:.2f}")


@pytest.mark.timeout(1800)
def test_memory_of_the_stages_from_a_video_to_importance(tmp_path):
    print()
    frames = noise(50, 96, 128)
    for count in COUNTS:
        with VideoWriter(tmp_path / f"{count}.mp4", 25) as video:
            for number in range(count):
                video.write(frames[number % len(frames)])
    roots = [tmp_path / f"data{count}" for count in COUNTS]
    for name, words in {
        "extract": ["tools/extract.py", "--height", 48],
        "super_resolve": ["tools/super_resolve.py", "--model", "builtin"],
        "make_importance": ["tools/make_importance.py", "--detector", "builtin"],
    }.items():
        more = [["--video", tmp_path / f"{count}.mp4"] if name == "extract" else [] for count in COUNTS]
        compare(name, [[*words, "--data", root, *own] for root, own in zip(roots, more, strict=True)])


@pytest.mark.timeout(1800)
def test_memory_of_the_stages_from_importance_to_a_dataset_at_640x360(tmp_path):
    print()
    roots = [images_and_importance(tmp_path / f"data{count}", count) for count in COUNTS]
    for name in ("make_seg_dataset", "check_dataset", "report_dataset"):
        compare(name, [[f"tools/{name}.py", "--data", root] for root in roots])
