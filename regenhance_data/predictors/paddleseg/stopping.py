"""SIGTERM and Ctrl-C in a training: the iteration is finished and written, if that takes only some seconds."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_signals(exit_on_second: bool) -> Iterator[list[int]]:
    """A list that receives each SIGTERM and SIGINT inside the block; cli.py ends what takes longer than its grace.

    exit_on_second: the second signal has its usual effect. Paddle's launcher sends several within a second.
    """
    received: list[int] = []

    def receive(number: int, frame: Any) -> None:
        received.append(number)
        if exit_on_second:
            for each, handler in handlers.items():
                signal.signal(each, handler)

    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in handlers:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
