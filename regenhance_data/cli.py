"""What all commands share: argument parsers with examples, exit codes, errors in one line, the suggested next command.

A command exits 0 when it did its work, 2 on bad usage or input (one line on stderr that names the file, what is
wrong with it and how to fix it), 1 on a bug (a traceback). Ctrl-C and SIGTERM end it within 5 s, with 130 and 143; one
that has results to complete, within half a minute or a minute.
"""

import argparse
import errno
import multiprocessing
import os
import shlex
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from regenhance_data.errors import NO_MEMORY, InputError, lacks_memory, printable
from regenhance_data.signals import STOPS, end_without_a_word_on_signals

GRACE_S = 4.0  # after a signal, for the command to write what it has; then the process is ended
_grace_s = [GRACE_S]
_LOOKS_EVERY_S = 0.1
_last_words: list[Callable[[], str]] = []
_OWN_PACKAGES = ("regenhance_data", "deploy", "tools")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: error: {printable(message)} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def make_parser(description: str, examples: str) -> argparse.ArgumentParser:
    """A parser whose --help shows every default and ends with `examples`; a usage error is one line, exit 2."""

    class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
        """Defaults that say something in the help of each flag, the examples left as they were typed."""

        def _get_help_string(self, action: argparse.Action) -> str | None:
            says_nothing = action.default is None or action.default is False
            if isinstance(action.default, Sequence) and not isinstance(action.default, str):
                return f"{action.help} (default: {' '.join(map(str, action.default))})"
            return action.help if says_nothing else super()._get_help_string(action)

    return _Parser(
        description=description,
        epilog="examples:\n" + "\n".join("  " + line.strip() for line in examples.strip().splitlines()),
        formatter_class=Formatter,
    )


def suggest(*commands: Sequence[object]) -> None:
    """Print the commands to run next, given as words; quoted for a shell, so paths may have spaces."""
    print("next: " + "\n      ".join(shlex.join(map(str, words)) for words in commands))


def run(main: Callable[[Any], None], parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> NoReturn:
    """Parse `argv`, call `main(args)` and leave with the right exit code."""
    # OpenMP's threads spin while they wait, which takes the cores from any other busy process: twice as slow and more
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not sys.warnoptions:  # warnings of libraries are meant for programmers
        warnings.simplefilter("ignore")
    args = parser.parse_args(argv)
    received = _end_on_signals(parser.prog)
    try:
        _run_and_tell(main, args, received, parser)
    finally:
        end_without_a_word_on_signals()


def _run_and_tell(
    main: Callable[[Any], None], args: Any, received: list[int], parser: argparse.ArgumentParser
) -> NoReturn:
    """Call `main(args)`, print the one line of what it raises, and leave."""
    try:
        _run_main(main, args, received, parser.prog)
        sys.stdout.flush()
    except InputError as error:
        fail(parser.prog, str(error))
    except BrokenPipeError:  # as in `command | head`: not SIGPIPE, with which a server could end this process unsaid
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still in the buffer goes there
        raise SystemExit(128 + signal.SIGPIPE) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            where = f"{error.filename}: " if error.filename else ""
            fail(parser.prog, f"{where}the disk or the quota is full; free some space and run this again")
        if error.filename is not None:  # the user can fix a path that cannot be read or written
            fail(parser.prog, f"{error.filename}: {os.strerror(error.errno or 0)}")
        raise
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package in _OWN_PACKAGES:
            raise
        fail(parser.prog, f"the Python package {package} is not installed in {sys.prefix}; run: make setup")
    except KeyboardInterrupt as error:
        kept = f": {error}" if str(error) else ""
        print(f"{parser.prog}: interrupted{kept}", file=sys.stderr)
        raise SystemExit(128 + (received or [signal.SIGINT])[0]) from None
    raise SystemExit(0)


def _run_main(main: Callable[[Any], None], args: Any, received: list[int], program: str) -> None:
    try:
        main(args)
    except Exception as error:
        if received:  # libraries, as those that are being imported, make errors of their own of the interrupt
            raise KeyboardInterrupt from None
        if lacks_memory(error):
            end_without_memory(program)
        raise


def end_without_memory(program: str) -> NoReturn:
    """Print the one line of a process that gets no memory, and end it, without the threads that could not start."""
    print(f"{program}: error: {NO_MEMORY}", file=sys.stderr, flush=True)
    for process in multiprocessing.active_children():
        process.kill()
    os._exit(2)


def _end_on_signals(program: str) -> list[int]:
    """Make SIGINT and SIGTERM raise KeyboardInterrupt in the main thread; returns the list that receives the signal.

    Python calls its handlers between two bytecodes of the main thread, which may wait in a library for ever. So a
    thread that the C handler wakes ends the process when it still runs GRACE_S later, or when `lengthen_grace` says.
    Files are written under temporary names, so none is left that looks complete.
    """
    received: list[int] = []

    def interrupt(number: int, frame: Any) -> None:
        if not received:  # a second signal would interrupt the writing of what is kept
            received.append(number)
            raise KeyboardInterrupt

    def end_later() -> None:
        while (number := os.read(reader, 1)[0]) not in STOPS:
            pass
        began = time.monotonic()
        while (left_s := began + _grace_s[0] - time.monotonic()) > 0:
            time.sleep(min(left_s, _LOOKS_EVERY_S))
        try:
            kept = "".join(f": {say()}" for say in _last_words)
            os.write(2, f"{program}: interrupted{kept}\n".encode())  # sys.stderr may be locked
            for process in multiprocessing.active_children():
                process.kill()
        finally:
            os._exit(128 + number)

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in STOPS:
        signal.signal(number, interrupt)
    threading.Thread(target=end_later, daemon=True).start()
    return received


def lengthen_grace(seconds: float) -> None:
    """Give a command that was interrupted, and completes its results, so long from the signal on."""
    _grace_s[0] = max(_grace_s[0], seconds)


@contextmanager
def last_words(say: Callable[[], str]) -> Iterator[None]:
    """Let a command that is ended inside the block, GRACE_S after a signal, tell what is kept: `say()`, in a thread."""
    _last_words.append(say)
    try:
        yield
    finally:
        _last_words.remove(say)


def fail(program: str, message: str) -> NoReturn:
    """Print the one line of a refused input and exit 2."""
    print(f"{program}: error: {printable(message)}", file=sys.stderr)
    raise SystemExit(2)
