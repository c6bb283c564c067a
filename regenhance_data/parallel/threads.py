"""Work in threads, in order, with a bounded number of items in flight; PyTorch limited to one thread."""

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def bounded_map(function: Callable[[T], R], items: Iterable[T], workers: int | None = None) -> Generator[R, None, None]:
    """`map` in threads, in order, with only a few items in flight, so that memory stays flat.

    OpenCV, zlib and PyTorch release the interpreter lock, so images are read, encoded and written in parallel.
    `workers`: by default one for each core, at most 8. After an error, no further item is begun.
    """
    workers = workers or min(len(os.sched_getaffinity(0)), 8)
    failed: list[BaseException] = []

    def call(item: T) -> R:
        if failed:  # of a later item, which is raised instead of this one's result
            raise failed[0]
        try:
            return function(item)
        except BaseException as error:
            failed.append(error)
            raise

    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                pending.append(pool.submit(call, item))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def ahead(items: Iterable[T], depth: int, close: Callable[[], None] = lambda: None) -> Generator[T, None, None]:
    """`items`, computed in a thread of their own, up to `depth` of them in advance.

    close: called when no more of them are wanted, so that those end that wait for something.
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        pending = deque(pool.submit(next, source, end) for _ in range(depth))
        try:
            while (item := pending.popleft().result()) is not end:
                pending.append(pool.submit(next, source, end))
                yield item  # type: ignore[misc]
        finally:
            for future in pending:
                future.cancel()
            close()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """PyTorch computes with one thread: their number changes the order of its sums, so their last bits."""
    torch = sys.modules.get("torch")  # a worker that needs it has imported it by now
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
