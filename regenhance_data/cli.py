"""What every command shares: exit codes, help with examples, progress bars, warnings.

A command exits 0 when it did its work, 2 on bad usage or input (one line on stderr that names the file, what is
wrong with it and how to mend it), 1 on a bug (a traceback).
"""

import argparse
import errno
import os
import shlex
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

from tqdm import tqdm

T = TypeVar("T")


class InputError(Exception):
    """Bad usage or input. The message is one line: which file, what is wrong with it, how to mend it."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: error: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def make_parser(description: str, examples: str) -> argparse.ArgumentParser:
    """A parser whose --help shows every default and ends with `examples`; a usage error is one line, exit 2."""

    class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
        """Defaults that say something in the help of each flag, the examples left as they were typed."""

        def _get_help_string(self, action: argparse.Action) -> str | None:
            says_nothing = action.default is None or action.default is False
            return action.help if says_nothing else super()._get_help_string(action)

    return _Parser(
        description=description,
        epilog="examples:\n" + "\n".join("  " + line.strip() for line in examples.strip().splitlines()),
        formatter_class=Formatter,
    )


def suggest(*commands: Sequence[object]) -> None:
    """Say which commands come next, as words; printed so that a shell takes them, paths with spaces too."""
    print("next: " + "\n      ".join(shlex.join(map(str, words)) for words in commands))


def warn(message: str) -> None:
    """One line on stderr about something that was mended or left out; the work goes on."""
    tqdm.write(f"warning: {' '.join(message.split())}", file=sys.stderr)


def progress(items: Iterable[T], description: str, total: int | None = None, unit: str = "frame") -> Iterable[T]:
    """`items`, with a bar on stderr when that is a terminal."""
    return tqdm(items, desc=description, total=total, unit=unit, disable=not sys.stderr.isatty(), leave=False)


@contextmanager
def quiet_unless_it_fails() -> Iterator[None]:
    """Hold back what libraries print, from C++ as well; on an error, say it on stderr."""
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as said:
        real = [os.dup(1), os.dup(2)]
        try:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            yield
        except BaseException:
            said.seek(0)
            os.write(real[1], said.read())
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, kept in enumerate(real, 1):
                os.dup2(kept, number)
                os.close(kept)


def run(main: Callable[[Any], None], parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> NoReturn:
    """Parse `argv`, call `main(args)` and leave with the right exit code."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if not sys.warnoptions:  # what libraries warn of is for those who write programs with them
        warnings.simplefilter("ignore")
    args = parser.parse_args(argv)
    try:
        main(args)
    except InputError as error:
        fail(parser.prog, str(error))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            fail(parser.prog, f"{error.filename}: the disk or the quota is full; free some space and run this again")
        if error.filename is not None:  # a path that cannot be read or written is the user's to mend
            fail(parser.prog, f"{error.filename}: {os.strerror(error.errno or 0)}")
        raise
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(0)


def fail(program: str, message: str) -> NoReturn:
    """Print the one line of a refused input and exit 2."""
    print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)
