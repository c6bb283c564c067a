"""A function in a process of its own."""

import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def run_in_process(function: Callable[..., Any], *args: Any) -> Any:
    """What the function returns, called in a new process that is gone afterwards. BrokenProcessPool where it dies."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        # Ctrl-C is for this process alone: the other inherits what is ignored here, and ends its work
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            waiting = pool.submit(function, *args)
        finally:
            signal.signal(signal.SIGINT, handler)
        return waiting.result()
