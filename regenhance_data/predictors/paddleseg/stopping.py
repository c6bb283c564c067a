"""SIGTERM and Ctrl-C in a training: the iteration is finished and written, if that takes only some seconds."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LIMIT_S = 3.5  # a command ends within 5 s, and something is still to be said


@contextmanager
def stop_signals(exit_on_second: bool, last_words: Callable[[], str]) -> Iterator[list[int]]:
    """A list that receives each SIGTERM and SIGINT inside the block.

    LIMIT_S after the first one the process ends where it is, with `last_words` on stderr and the exit code of a process
    that the signal ended. exit_on_second: the second signal has its usual effect. Paddle's launcher sends several
    within a second.
    """
    received: list[int] = []
    watch: list[threading.Timer] = []

    def give_up() -> None:
        print(last_words(), file=sys.stderr, flush=True)
        os._exit(128 + received[0])

    def receive(number: int, frame: Any) -> None:
        if not received:
            watch.append(threading.Timer(LIMIT_S, give_up))
            watch[0].daemon = True
            watch[0].start()
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
        for timer in watch:
            timer.cancel()
        for number, handler in handlers.items():
            signal.signal(number, handler)
