"""Nothing reaches a host that the user did not name, and no library keeps an id of the user."""

import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.files import ROOT, encode, noise
from tests.support.predictors import HEIGHT, WIDTH, write_predictor, write_red_predictor

# Imports every module, and the libraries that they import only when they are used.
IMPORT_ALL = """
import importlib, pkgutil
import deploy, regenhance_data
for package in (regenhance_data, deploy):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith(("_environment", ".tensorrt", ".tensorrt_build", ".cuda")):
            importlib.import_module(module.name)
import matplotlib.pyplot, norfair, onnxruntime, openvino, paddle2onnx
"""
ON_RAY = """
from regenhance_data.parallel.executors import Executor
print(list(Executor("ray", 1).map(lambda: sum, [[1, 2]])))
"""
# what Python itself asks for, where strace is absent: an audit hook in every process
HOOK = """
import sys
def hook(event, args):
    if event == "socket.getaddrinfo" or event == "socket.connect" and isinstance(args[1], tuple):
        host = args[0] if event == "socket.getaddrinfo" else args[1][0]
        if host not in (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::"):  # this machine
            with open({log!r}, "a") as file:
                file.write(f"{{host}}\\n")
sys.addaudithook(hook)
"""
# a cache, the address of a service, and what a cluster's own processes know each other by
HARMLESS = ("matplotlib/fontlist-*.json", ".visualdl/conf/config.json", ".ray/auth_token")


def own_addresses() -> set[str]:
    """Of this machine, as Ray finds it: by the route to 8.8.8.8, to which a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as used:
        with suppress(OSError):  # there is no route
            used.connect(("8.8.8.8", 53))
        return {used.getsockname()[0], "8.8.8.8"}


def watched(folder: Path, *words: object) -> tuple[list[str], list[str]]:
    """(hosts that a command looks up or connects to, on other machines; files that it leaves in an empty home)."""
    home, hooks, asked, trace = (folder / name for name in ("home", "hooks", "asked", "trace"))
    home.mkdir()
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(HOOK.format(log=str(asked)))
    command = [sys.executable, *map(str, words)]
    if shutil.which("strace"):
        calls = "trace=connect,sendto,sendmsg,sendmmsg"
        command = ["strace", "-f", "-qq", "-e", "signal=none", "-e", calls, "-o", str(trace), *command]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_", "RAY_", "CI"))}
    environment = {**clean, "HOME": str(home), "PYTHONPATH": f"{hooks}:{ROOT}", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    asked_for = asked.read_text().split() if asked.exists() else []
    called = trace.read_text(errors="replace") if trace.exists() else ""
    found = re.findall(r'inet_addr\("(?!127\.|0\.0\.0\.0)([^"]+)"\)', called)
    found += re.findall(r'inet_pton\(AF_INET6, "(?!::1"|::ffff:127\.|::")([^"]+)"', called)
    hosts = [host for host in (*asked_for, *found) if host.removeprefix("::ffff:") not in own_addresses()]
    kept = [path for path in home.rglob("*") if path.is_file() and not any(map(path.match, HARMLESS))]
    return hosts, [str(path.relative_to(home)) for path in kept]


@pytest.mark.slow
def test_imports_tell_nobody(tmp_path):
    assert watched(tmp_path, "-c", IMPORT_ALL) == ([], [])


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_engines_tell_nobody(tmp_path, backend):
    model = write_red_predictor(tmp_path / "m.onnx")
    video = encode(tmp_path / "v.mp4", noise(3, HEIGHT, WIDTH))
    flags = ["--model", model, "--video", video, "--save_dir", tmp_path / "save", "--backend", backend]
    assert watched(tmp_path, "deploy/trt_infer.py", *flags) == ([], [])


def test_the_loop_tells_nobody(tmp_path, detector_file):
    model = write_predictor(tmp_path / "m.onnx", (32, 48))
    video = encode(tmp_path / "v.mp4", noise(3, 32, 48))
    flags = ["--video", video, "--predictor", model, "--mode", "none", "--detector", f"onnx:{detector_file}"]
    assert watched(tmp_path, "deploy/run_cameras.py", *flags, "--save_dir", tmp_path / "save") == ([], [])


@pytest.mark.slow
def test_a_cluster_on_this_machine_tells_nobody(tmp_path):
    pytest.importorskip("ray")
    assert watched(tmp_path, "-c", ON_RAY) == ([], [])
