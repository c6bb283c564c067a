"""What signals do before and after the work of a command (cli.py says what during it), and how a process ends with its
parent.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM)
_C_LIBRARY, _PR_SET_PDEATHSIG = ctypes.CDLL(None), 1  # loaded before a fork, in which little is safe


def end_at_once_on_signals(program: str) -> None:
    """Let SIGINT and SIGTERM end a process that only imports so far in one line, until `cli.run` has handlers of its
    own: libraries would make a traceback of an interrupt. A signal that is ignored stays so.

    A worker, which imports the script too, ends with the thread that started it instead.
    """

    def end(number: int, frame: Any) -> None:
        os.write(2, f"{program}: interrupted\n".encode(errors="backslashreplace"))
        os._exit(128 + number)

    if multiprocessing.current_process().name != "MainProcess":  # its parent_process() is not known yet
        end_command_with_the_parent(signal.SIGKILL)
        return
    for number in STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as Ctrl-C is in the background
            signal.signal(number, end)


def end_without_a_word_on_signals() -> None:
    """Give SIGINT and SIGTERM their defaults of the system: for a process whose work is over, while Python ends, where
    libraries would make a traceback of an interrupt. A signal that is ignored stays so.
    """
    for number in STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def end_command_with_the_parent(number: int = signal.SIGTERM) -> None:
    """Let this process get a signal when the thread that started it ends, even if that is killed: first in a worker, or
    as the preexec_fn of a command that `subprocess` starts. On Linux; elsewhere, nothing.
    """
    if sys.platform == "linux":
        _C_LIBRARY.prctl(_PR_SET_PDEATHSIG, number)
