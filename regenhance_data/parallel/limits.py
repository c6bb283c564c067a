"""Bounded memory and time for libraries that read what is not trusted: in this process, or in one of its own."""

import multiprocessing
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from regenhance_data.errors import InputError, lacks_memory
from regenhance_data.parallel.processes import end_with_the_parent, new_processes_ignore_interrupts

LIMIT_S = 120
_MEMORY_SHARE = 0.5  # of the machine's
_LEFT_FOR_OTHERS = 0.1  # of the machine's memory


@contextmanager
def limited_memory() -> Iterator[None]:
    """Within it, what asks for more memory than the machine has gets an error, instead of the process being killed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    memory = int(_memory() * (1 - _LEFT_FOR_OTHERS))
    limits = [limit for limit in (soft, hard, memory) if limit != resource.RLIM_INFINITY]
    with suppress(OSError, ValueError):  # where the system has no such limit
        resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def run_limited(function: Callable[..., Any], *args: Any, what: str, limit_s: float = LIMIT_S) -> Any:
    """The function's result, computed in a new process that may take `limit_s` seconds and most of the memory.

    Raises what the function raises. InputError, that `what` (a sentence's beginning) takes too long, takes too much
    memory or crashes the library that reads it, where the process does not end in time, gets no memory or dies.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, args), daemon=True)
    with new_processes_ignore_interrupts():
        process.start()
    sender.close()
    try:
        if not receiver.poll(limit_s):
            raise InputError(f"{what} is not done after {limit_s:g} s, longer than files need; make the file again")
        is_result, answer = receiver.recv()
    except EOFError:
        raise InputError(f"{what} crashes; make the file again") from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    if is_result:
        return answer
    if lacks_memory(answer):
        raise InputError(f"{what} takes more memory than there is, or than it may have; make the file again")
    raise answer


def _answer(sender: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    end_with_the_parent()
    with suppress(OSError, ValueError):  # there is a lower limit already
        resource.setrlimit(resource.RLIMIT_DATA, (int(_MEMORY_SHARE * _memory()),) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = True, function(*args)
    except Exception as error:  # for the other process to raise
        answer = False, error
    sender.send(answer)
