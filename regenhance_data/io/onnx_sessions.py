"""ONNX Runtime on files that are not trusted: a run that does not end is stopped."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from regenhance_data.errors import InputError


def run_within(
    session: onnxruntime.InferenceSession,
    names: Sequence[str] | None,
    given: Mapping[str, np.ndarray],
    path: Path,
    limit_s: float | None,
) -> list[Any]:
    """The outputs of these `names` (None: all). InputError where the graph in `path` is not done after `limit_s`, if
    there is a limit.
    """
    if limit_s is None:
        return list(session.run(names, given))
    options, is_late = onnxruntime.RunOptions(), threading.Event()

    def stop() -> None:
        is_late.set()
        options.terminate = True  # looked at before each operator, in loops too

    timer = threading.Timer(limit_s, stop)
    timer.daemon = True
    timer.start()
    try:
        return list(session.run(names, given, options))
    except Exception:  # ONNX Runtime has many exceptions of its own
        if is_late.is_set():
            raise InputError(f"{path}: its first run is not done after {limit_s:g} s; export it again") from None
        raise
    finally:
        timer.cancel()
