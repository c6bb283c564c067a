"""What commands show on the terminal: progress bars and warnings."""

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


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
