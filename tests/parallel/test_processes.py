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
    "preexec_fn=signals.end_command_with_the_parent); time.sleep(60)",
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


def gone(processes):
    """Wait until none of them lives."""
    deadline = time.monotonic() + 30
    while left := [one for one in processes if lives(one)]:
        assert time.monotonic() < deadline, f"{left} go on"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_killed_command_leaves_no_process(way, tmp_path):
    script = tmp_path / "works.py"
    script.write_text(
        "import subprocess, time\nfrom regenhance_data import signals\n"
        "from regenhance_data.parallel import limits, processes\n"
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
    gone(started)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process of its parent's end")
def test_a_worker_of_a_script_that_still_imports_ends_with_a_killed_parent(tmp_path):
    (tmp_path / "_environment.py").symlink_to(ROOT / "tools/_environment.py")
    script = tmp_path / "x.py"
    code = f"""import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
import _environment
from multiprocessing import get_context
if __name__ == '__main__':
    get_context('spawn').Process(target=print).start()
else:
    os.write(1, b'imports\\n')
time.sleep(60)
"""
    script.write_text(code)
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "imports\n"
        started = children(process.pid)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    gone(started)


def test_ctrl_c_while_processes_start_is_for_this_process_alone_and_not_lost(tmp_path):
    script = tmp_path / "starts.py"
    script.write_text(
        "import signal, subprocess\nfrom regenhance_data.parallel.processes import new_processes_ignore_interrupts\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which tests in the background do not inherit
        "with new_processes_ignore_interrupts():\n"
        "    started = subprocess.Popen(['sleep', '0.2'])\n"
        "    started.send_signal(signal.SIGINT)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    print(started.wait(), flush=True)\n"
        "print('goes on')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert done.stdout == "0\n"
    assert done.stderr.endswith("KeyboardInterrupt\n")
