"""The machine, the engines and their versions: what measured speeds depend on."""

import importlib.metadata
import os
import platform
import time
from pathlib import Path
from typing import Any

from deploy.backends.cuda import gpu_name
from deploy.backends.registry import BACKENDS, local_backends
from regenhance_data import __version__
from regenhance_data.errors import InputError


def environment(threads: int | None) -> dict[str, Any]:
    """The machine and the versions that were measured."""
    versions = {}
    engines = [package for name in local_backends() for package in BACKENDS[name].distributions]
    for package in dict.fromkeys([*engines, "numpy"]):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    try:
        gpu = gpu_name()
    except InputError:
        gpu = None
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "engine_threads": threads,
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "kit": __version__,
        "packages": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    # the instructions that matter for 8 and 16 bits
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    useful = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8") if flag in flags]
    return f"{names[0] if names else platform.processor()} ({' '.join(useful)})"
