"""Work in other processes on this machine: one function call, or many chunks in a pool."""

import importlib.util
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Any, TypeVar

import cv2

from regenhance_data.errors import InputError
from regenhance_data.parallel.threads import one_torch_thread
from regenhance_data.signals import STOPS

T = TypeVar("T")
R = TypeVar("R")
Worker = Callable[[Sequence[T]], R]

# In a forked process: its function.
_forked_function: Callable[[Any], Any]

# In a process of the pool: how it makes its worker, and the worker, once there is one.
_make_worker: Callable[[], Worker[Any, Any]]
_worker: Worker[Any, Any] | None = None


def run_in_process(function: Callable[..., Any], *args: Any) -> Any:
    """The function's result, computed in a new process that ends afterwards. BrokenProcessPool if that one dies."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, end_with_the_parent) as pool:
        with new_processes_ignore_interrupts():
            waiting = pool.submit(function, *args)
        return waiting.result()


def end_with_the_parent() -> None:
    """Let this process, which `multiprocessing` started, end when the parent ends, even if that is killed: no orphan
    writes to the dataset during the next run.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_exit_with, args=(parent.sentinel,), daemon=True).start()


def _exit_with(parent: int) -> None:
    wait([parent])
    os._exit(1)


@contextmanager
def new_processes_ignore_interrupts() -> Iterator[None]:
    """Processes that are started within it never get Ctrl-C, which only this one handles: they inherit that it is
    blocked. A signal that comes meanwhile interrupts this one afterwards, when it knows what it started.
    """
    resource_tracker.ensure_running()  # it unblocks Ctrl-C where it starts
    received: list[int] = []
    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # where alone Python sets and calls handlers
        handlers = {int(number): handler for number in STOPS if callable(handler := signal.getsignal(number))}
    for number in handlers:
        signal.signal(number, lambda number, frame: received.append(number))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in received[:1]:
            signal.raise_signal(number)


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (visible.split(",") if visible else [str(n) for n in range(64)])[: torch.cuda.device_count()]


def map_in_processes(
    make_worker: Callable[[], Worker[T, R]], chunks: Sequence[Sequence[T]], workers: int
) -> Iterator[tuple[Sequence[T], R]]:
    """Each chunk with its result, in order, from `workers` processes. InputError if one of them is killed."""
    context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA, nor OpenMP's threads
    turn = context.Value("i", 0)
    pool = ProcessPoolExecutor(workers, context, _start, (pickle.dumps(make_worker), turn, visible_gpus()))
    # a worker that dies while another is started is reported below; the pool's own thread would print a traceback
    on_thread = threading.excepthook
    threading.excepthook = lambda args: None
    try:
        with new_processes_ignore_interrupts():
            results = pool.map(_work, chunks)
        yield from zip(chunks, results, strict=True)
    except BaseException as error:
        for process in multiprocessing.active_children():  # the pool would wait for one that was started too late
            process.terminate()
        # an OSError of the pool itself names no file; a worker's own does
        of_pool = isinstance(error, OSError | ValueError) and getattr(error, "filename", None) is None
        if isinstance(error, BrokenProcessPool | BrokenPipeError) or (of_pool and pool._broken):
            raise InputError(
                "a worker process was ended from outside, most likely for lack of memory; give fewer --workers and "
                "run the same command again: finished work is kept"
            ) from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        threading.excepthook = on_thread


def map_in_forks(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """`map`, in order, in `workers` forks of this process, with two items for each in flight.

    InputError if one is killed. A fork has everything that `function` needs, but may use neither CUDA nor OpenMP's
    threads. Results must pickle.
    """
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(workers, context, _start_fork, (function,))
    pending: deque[Future[R]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(_in_fork, item))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise InputError(
            "a process that reads frames was ended from outside, most likely for lack of memory; give fewer "
            "--num_workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_fork(function: Callable[[Any], Any]) -> None:
    global _forked_function
    _forked_function = function
    signal.set_wakeup_fd(-1)  # that of the parent would learn of this process's signals
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_the_parent()
    cv2.setNumThreads(0)  # not 1, which joins OpenCV's threads: a fork has none of them, and would wait for ever


def _in_fork(item: Any) -> Any:
    return _forked_function(item)


def _start(make_worker: bytes, turn: Any, gpus: Sequence[str]) -> None:
    global _make_worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    end_with_the_parent()
    _make_worker = pickle.loads(make_worker)  # of this kit, here: what it imports may take many seconds
    cv2.setNumThreads(1)  # the other cores have their own workers
    if gpus:  # before anything touches CUDA
        with turn.get_lock():
            os.environ["CUDA_VISIBLE_DEVICES"] = gpus[turn.value % len(gpus)]
            turn.value += 1


def _work(chunk: Sequence[Any]) -> Any:
    global _worker
    _worker = _worker or _make_worker()  # here, not in `_start`: its errors come back as the result
    with one_torch_thread():
        return _worker(chunk)
