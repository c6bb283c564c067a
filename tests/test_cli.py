import resource
import signal
import subprocess
import sys
import time

import pytest

from tests.support.files import ROOT, encode, noise

HEAD = """
import ctypes, sys, time
from regenhance_data import cli

def begin():
    print("at work", flush=True)

def main(args):
"""
WORK = {
    "in Python": "    begin()\n    while True: time.sleep(0.01)",
    "in a library that returns to Python": "    begin()\n    while True: ctypes.CDLL(None).sleep(1)",
    "waiting for a lock": "    begin(); import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "with a library that catches everything": """
    while True:
        try: begin(); time.sleep(100)
        except BaseException: pass""",
    "in a library that makes an error of the interrupt": """
    try: begin(); time.sleep(100)
    except BaseException: raise ImportError("initialization failed")""",
    "waiting for a thread that never ends": """
    import threading; threading.Thread(target=time.sleep, args=(1000,)).start(); begin(); time.sleep(100)""",
}


def started(work: str) -> subprocess.Popen[str]:
    """A command of this kit that is at work for ever."""
    code = f"{HEAD}{work}\ncli.run(main, cli.make_parser('works', 'none'))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == "at work\n"
    return process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "number", "code"),
    [(work, *((signal.SIGINT, 130), (signal.SIGTERM, 143))[place % 2]) for place, work in enumerate(WORK)],
)
def test_a_signal_ends_a_command_whatever_it_does(work, number, code):
    process = started(WORK[work])
    began = time.monotonic()
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert time.monotonic() - began < 20  # 5 s on a calm machine
    assert stderr.splitlines()[-1].endswith(": interrupted")
    assert "Traceback" not in stderr


@pytest.mark.slow
@pytest.mark.parametrize(("needs_s", "ending"), [(6, "completed"), (60, "interrupted")])
def test_a_command_may_ask_for_longer_to_complete_its_results(needs_s, ending):
    process = started(f"""
    try: begin(); time.sleep(100)
    except KeyboardInterrupt:
        cli.lengthen_grace(8); time.sleep({needs_s}); raise KeyboardInterrupt("completed")""")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.splitlines()[-1].endswith(f": {ending}")
    assert time.monotonic() - began < 40


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_work_ends_a_command_without_a_word(number):
    process = started("    import atexit; atexit.register(time.sleep, 60); atexit.register(begin)")
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == -number
    assert stderr == ""


def test_an_interrupted_command_tells_what_it_kept():
    process = started("""
    try: begin(); time.sleep(100)
    except KeyboardInterrupt: raise KeyboardInterrupt("kept 3 of 5 frames; give the command again") from None""")
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert stderr.strip().endswith(": interrupted: kept 3 of 5 frames; give the command again")


def test_a_second_signal_does_not_interrupt_the_writing_of_what_is_kept():
    process = started("""
    try: begin(); time.sleep(100)
    except KeyboardInterrupt:
        print("writing", flush=True); time.sleep(1); print("written", flush=True); raise""")
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=60)
    assert stdout == "written\n"
    assert process.returncode == 130


def test_a_missing_package_is_named_in_one_line():
    process = started("    begin(); import no_such_package.inner")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert stderr.count("\n") == 1
    assert "package no_such_package is not installed" in stderr
    assert "make setup" in stderr


def test_a_missing_module_of_the_kit_is_a_bug():
    process = started("    begin(); import regenhance_data.no_such_module")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" in stderr


@pytest.mark.parametrize("filename", [None, "a.png"])
def test_a_full_disk_is_one_line_and_names_the_file_that_is_known(filename):
    process = started(f"    begin(); raise OSError(28, 'No space left on device', {filename!r})")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "the disk or the quota is full; free some space" in stderr
    assert ("a.png: " in stderr) == (filename is not None)
    assert "None" not in stderr


def test_a_command_that_nobody_reads_any_more_ends_without_a_word():
    process = started("    begin(); sys.stdin.read(1)\n    while True: print('more')")
    process.stdout.close()
    process.stdout = None
    _, stderr = process.communicate("go", timeout=60)
    assert process.returncode == 128 + signal.SIGPIPE
    assert stderr == ""


def test_a_connection_that_the_other_side_closes_does_not_end_a_command():
    process = started("""
    import socket
    here, there = socket.socketpair()
    there.close()
    begin(); sys.stdin.read(1)
    try: here.sendall(b"frames")
    except BrokenPipeError: print("the server closed the connection")""")
    stdout, _ = process.communicate("go", timeout=60)
    assert stdout == "the server closed the connection\n"
    assert process.returncode == 0


def test_too_little_address_space_is_one_line(refused, tmp_path):
    video = encode(tmp_path / "v.mp4", noise(2, 48, 64))
    words = ["tools/extract.py", "--data", tmp_path / "d", "--video", video, "--height", 24]
    line = refused(*words, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (300_000_000,) * 2))
    assert "there is too little memory, or this process may not have more" in line
