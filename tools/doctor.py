"""Check the installation: Python, CPU, GPU; for each part of the kit what is installed, missing, and how to install it.

It needs only the standard library, so it runs before anything is installed. The exit code is 2 when something that the
kit needs is missing.
"""

import argparse
import configparser
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PURPOSE = {
    "core": "read video, write datasets, draw",
    "torch": "detectors, upscalers, importance",
    "paddle": "train and export predictors",
    "deploy": "run predictors on OpenVINO and ONNX Runtime",
    "online": "track objects, send results, serve metrics",
    "serving": "write model repositories for Triton (optional)",
    "tensorrt": "run predictors on NVIDIA GPUs (optional)",
    "cluster": "work on many machines (optional)",
    "dev": "tests and lint",
}
OPTIONAL = ("serving", "tensorrt", "cluster")


def requirements() -> dict[str, list[str]]:
    """The packages of the core and of each extra, as setup.cfg lists them."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = {"core": config["options"]["install_requires"], **config["options.extras_require"]}
    extras = {
        extra: [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        for extra, text in listed.items()
    }
    extras["paddle"].append("paddleseg")
    return extras


def pins() -> dict[str, str]:
    """Name (lower case) → version of constraints.txt."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text.lower(), re.MULTILINE))


def gpus() -> list[str]:
    """The NVIDIA GPUs with their driver, from nvidia-smi."""
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    result = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    return result.stdout.strip().splitlines() if result.returncode == 0 else []


def installed(name: str) -> str | None:
    """The version of an installed distribution."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def cuda_of_torch() -> str:
    """Whether the installed PyTorch sees a GPU."""
    code = "import torch; print(torch.cuda.is_available())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    return "sees it" if result.stdout.strip() == "True" else "does not see it"


def report() -> tuple[str, bool]:
    """The whole report, and whether the kit can run."""
    right_python = (3, 11) <= sys.version_info[:2] < (3, 13)
    lines = [
        f"Python     {platform.python_version()} at {sys.executable}"
        + ("" if right_python else "   this kit needs 3.11 or 3.12: make setup PYTHON=/path/to/python3.11"),
        f"processor  {os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
    ]
    found = gpus()
    lines += [f"GPU        {gpu}" for gpu in found] or ["GPU        none (everything runs on the processor)"]
    if found and installed("torch"):
        lines.append(f"           PyTorch {cuda_of_torch()}")
    if found and not installed("paddlepaddle-gpu"):
        lines.append("           Paddle trains on it after paddlepaddle in .venv is replaced by paddlepaddle-gpu")
    if not (ROOT / ".venv").exists():
        lines.append("environment  .venv is missing: make setup")
    elif Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        lines.append("environment  this is not the project's own; run: .venv/bin/python tools/doctor.py")
    pinned, lacking = pins(), [] if right_python else ["Python 3.11 or 3.12"]
    for extra, packages in requirements().items():
        lines.append(f"\n{extra} — {PURPOSE.get(extra, '')}")
        missing = []
        for requirement in packages:
            name = re.split(r"[<>=!\[; ]", requirement)[0]
            version, pin = installed(name), pinned.get(name.lower())
            if version is None:
                missing.append(name)
                lines.append(f"  missing  {name}")
            elif pin not in (None, version.split("+")[0]):
                lines.append(f"  other    {name} {version}; tested with {pin}")
            else:
                lines.append(f"  ok       {name} {version}")
        if missing:
            lines.append(f"  install: {_how_to_get(extra, missing)}")
            lacking += [] if extra in OPTIONAL else missing
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    lines.append(f"\nnot ready: {lacking[0]}{more} missing; run make setup" if lacking else "\nready: make demo")
    return "\n".join(lines), not lacking


def _how_to_get(extra: str, missing: list[str]) -> str:
    if missing == ["paddleseg"]:
        return ".venv/bin/pip install -c constraints.txt --no-deps paddleseg"
    if extra not in OPTIONAL:
        return "make setup"
    return f'.venv/bin/pip install -c constraints.txt -e ".[{extra}]"'


if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, epilog="example: python tools/doctor.py", formatter_class=argparse.RawTextHelpFormatter
    ).parse_args()
    text, is_ready = report()
    print(text)
    sys.exit(0 if is_ready else 2)
