"""What a command starts ends with it, however that ends."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.files import ROOT

WAYS = {
    "a call in a process": "processes.run_in_process(at_work)",
    "a call with limits": "limits.run_limited(at_work, what='it')",
    "a pool": "list(processes.map_in_processes(worker, [[1], [2]], 2))",
    "forks": "list(processes.map_in_forks(at_work, [1, 2], 2))",
    "a command": "subprocess.Popen(['sh', '-c', 'echo at work; exec sleep 60'], "
    "preexec_fn=processes.end_command_with_the_parent); time.sleep(60)",
}


def at_work(*items):
    os.write(1, b"at work\n")  # in one piece
    time.sleep(60)


def worker():
    return at_work


def children(process):
    """The processes below this one that live."""
    direct = [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return [*direct, *(below for child in direct for below in children(child))]


def lives(process):
    status = Path(f"/proc/{process}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_killed_command_leaves_no_process(way, tmp_path):
    script = tmp_path / "works.py"
    script.write_text(
        "import subprocess, time\nfrom regenhance_data.parallel import limits, processes\n"
        f"from tests.parallel.test_processes import at_work, worker\nif __name__ == '__main__': {WAYS[way]}\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "at work\n"
        started = children(process.pid)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert started
    deadline = time.monotonic() + 30
    while left := [one for one in started if lives(one)]:
        assert time.monotonic() < deadline, f"{left} go on"
        time.sleep(0.05)
