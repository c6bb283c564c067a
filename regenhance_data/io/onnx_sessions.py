"""ONNX Runtime on files that are not trusted."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from regenhance_data.parallel.limits import run_limited


def outputs_of(path: Path, given: Mapping[str, np.ndarray], limit_s: float | None) -> dict[str, np.ndarray]:
    """What the graph in a file gives in one run on the CPU, unoptimised, by name.

    limit_s: where it is given, the run is in a process of its own, which may take these seconds and most of the memory.
    InputError where it takes more, or crashes; ONNX Runtime's own errors where it does not load or run.
    """
    if limit_s is None:
        return _outputs(str(path), given)
    made: dict[str, np.ndarray] = run_limited(_outputs, str(path), given, what=first_run(path), limit_s=limit_s)
    return made


def first_run(path: Path) -> str:
    """How messages about the first run of a graph begin."""
    return f"{path}: its first run"


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Options of a quiet session. threads: for each run, 0 for all cores."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors come as exceptions
    options.intra_op_num_threads = threads
    return options


def _outputs(path: str, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    options = session_options(1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it runs once
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(given)), strict=True))
