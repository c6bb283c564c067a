"""What commands show on the terminal: progress bars, warnings and tables."""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import TextIO, TypeVar

from tqdm import tqdm

from regenhance_data.errors import printable

T = TypeVar("T")
LINE_EVERY_S = 60.0  # between two lines on progress where there is no terminal for a bar


def warn(message: str) -> None:
    """Print one line on stderr: a problem was worked around, or something was skipped; the command continues."""
    _write(f"warning: {printable(message)}", sys.stderr)


def tell(message: str) -> None:
    """Print one line on stdout, above a progress bar: what a file was taken for, or what was kept."""
    encoding = sys.stdout.encoding or "utf-8"  # which may lack letters of a file's name
    line = printable(message).encode(encoding, "backslashreplace").decode(encoding)
    _write(line, sys.stdout)


def _write(line: str, stream: TextIO) -> None:
    """Above a progress bar. Where nobody reads the stream any more, only the main thread ends for it."""
    try:
        tqdm.write(line, file=stream)
    except BrokenPipeError:
        if threading.current_thread() is threading.main_thread():
            raise


def progress(items: Iterable[T], description: str, total: int | None = None, unit: str = "frame") -> Iterable[T]:
    """`items`, with a bar on stderr when that is a terminal, else with a line a minute."""
    if sys.stderr.isatty():
        return tqdm(items, desc=description, total=total, unit=unit, leave=False)
    return _with_lines(items, description, total, unit)


def _with_lines(items: Iterable[T], description: str, total: int | None, unit: str) -> Iterator[T]:
    of_total = f" of {total}" if (total := total or (len(items) if isinstance(items, Sized) else None)) else ""
    began = printed = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - printed >= LINE_EVERY_S:
            elapsed = tqdm.format_interval(now - began)
            left = f", {tqdm.format_interval((now - began) / done * (total - done))} left" if total and done else ""
            print(f"{description}: {done}{of_total} {unit}s in {elapsed}{left}", file=sys.stderr, flush=True)
            printed = now
        yield item


def text_table(rows: Sequence[Sequence[str]], left_columns: int = 1) -> str:
    """Rows of as many cells each as aligned columns; the first `left_columns` are aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


@contextmanager
def quiet_unless_it_fails() -> Iterator[None]:
    """Suppress what libraries print, from C++ as well; on an error, print it on stderr."""
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as said:
        real = [os.dup(1), os.dup(2)]
        try:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            yield
        except Exception:  # not an interrupt
            said.seek(0)
            os.write(real[1], said.read())
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, kept in enumerate(real, 1):
                os.dup2(kept, number)
                os.close(kept)
