"""Work on chunks of frames: in this process, in several on this machine, or in actors of a Ray cluster.

A worker is made once in each process (it loads a network), then called with one chunk after the other. Whatever runs
it, it computes with one thread on a processor, so that the number of workers and the machine they are on (of one kind)
change no bit of the result.
"""

import argparse
import importlib.util
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any, Generic, TypeVar

import cv2

from regenhance_data.dataset.folder import Frame
from regenhance_data.errors import InputError

R = TypeVar("R")
Worker = Callable[[Sequence[Frame]], R]
EXECUTORS = ("local", "ray")
CHUNK = 16  # frames: a kill loses less than a minute of work on a slow detector, and a call costs nothing beside it
_MOST_WORKERS = 16  # each loads a network of its own; more are for --workers to ask for
# --- processes on this machine ------------------------------------------------------------------------------------
_make_worker: Callable[[], Worker[Any]]  # these two are of this process, when it is one of the pool's
_worker: Worker[Any] | None = None


@dataclass(frozen=True)
class Executor(Generic[R]):
    """Where chunks are worked on.

    kind: 'local' (processes on this machine) or 'ray' (actors on a Ray cluster, which reach the dataset folder under
    the same path). workers: how many, None: one a core, or one a GPU where there are any. address: of the Ray
    cluster, None: the one that RAY_ADDRESS names, else one that is started on this machine.
    """

    kind: str = "local"
    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in EXECUTORS:
            raise InputError(f"--executor {self.kind}: expected one of {', '.join(EXECUTORS)}")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"--workers {self.workers}: expected at least 1")
        if self.address is not None and self.kind != "ray":
            raise InputError("--address: is of a Ray cluster; give --executor ray as well")
        if self.kind == "ray" and importlib.util.find_spec("ray") is None:
            raise InputError("--executor ray: Ray is not installed; pip install -c constraints.txt -e '.[cluster]'")

    def map(
        self, make_worker: Callable[[], Worker[R]], chunks: Sequence[Sequence[Frame]]
    ) -> Iterator[tuple[Sequence[Frame], R]]:
        """Each chunk with what a worker made of it, in order. All that goes in and comes out must pickle."""
        if not chunks:
            return iter(())
        if self.kind == "ray":
            return _on_ray(make_worker, chunks, self.workers, self.address)
        most = self.workers or len(_gpus()) or min(len(os.sched_getaffinity(0)), _MOST_WORKERS)
        workers = min(most, len(chunks))
        return _here(make_worker, chunks) if workers == 1 else _in_processes(make_worker, chunks, workers)


def chunks_of(frames: Sequence[Frame]) -> list[Sequence[Frame]]:
    """The frames of a clip, CHUNK at a time."""
    return [frames[start : start + CHUNK] for start in range(0, len(frames), CHUNK)]


def _gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (visible.split(",") if visible else [str(n) for n in range(64)])[: torch.cuda.device_count()]


@contextmanager
def _one_thread() -> Iterator[None]:
    """PyTorch computes with one thread: the order of its sums, so the last bits of them, depend on their number."""
    torch = sys.modules.get("torch")  # whose worker needs it has it by now
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _here(make_worker: Callable[[], Worker[R]], chunks: Sequence[Sequence[Frame]]) -> Iterator[tuple[Any, R]]:
    worker = make_worker()
    for chunk in chunks:
        with _one_thread():
            made = worker(chunk)
        yield chunk, made


def add_executor_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that `executor_from` reads."""
    group = parser.add_argument_group("where the work is done")
    group.add_argument("--executor", choices=EXECUTORS, default="local", help="processes here, or a Ray cluster")
    group.add_argument("--workers", type=int, help="processes or actors (default: one a GPU, else one a core)")
    group.add_argument("--address", help="of a Ray cluster whose machines reach --data by the same path")


def executor_from(args: argparse.Namespace) -> Executor[Any]:
    """The executor that the flags of `add_executor_arguments` give. InputError where no cluster answers."""
    executor: Executor[Any] = Executor(args.executor, args.workers, args.address)
    if executor.address is not None:
        _refuse_silence(executor.address)
    return executor


def _in_processes(
    make_worker: Callable[[], Worker[R]], chunks: Sequence[Sequence[Frame]], workers: int
) -> Iterator[tuple[Any, R]]:
    context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA, nor OpenMP's threads
    turn = context.Value("i", 0)
    pool = ProcessPoolExecutor(workers, context, _start, (make_worker, turn, _gpus()))
    # a worker that ends while another is being started is told below; the signal would end this process without a word,
    # and the pool's own thread falls over itself
    on_pipe, on_thread = signal.signal(signal.SIGPIPE, signal.SIG_IGN), threading.excepthook
    threading.excepthook = lambda told: None
    try:
        yield from zip(chunks, pool.map(_work, chunks), strict=True)
    except BaseException as error:
        for process in multiprocessing.active_children():  # the pool would wait for one that was started too late
            process.terminate()
        # of the pool itself an OSError names no file; a worker's own does
        of_pool = isinstance(error, OSError | ValueError) and getattr(error, "filename", None) is None
        if isinstance(error, BrokenProcessPool | BrokenPipeError) or (of_pool and pool._broken):
            raise InputError(
                "a worker process was ended from outside, most likely for want of memory; give fewer --workers and "
                "run the same command again: what is done is kept"
            ) from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        signal.signal(signal.SIGPIPE, on_pipe)
        threading.excepthook = on_thread


def _start(make_worker: Callable[[], Worker[Any]], turn: Any, gpus: Sequence[str]) -> None:
    global _make_worker
    _make_worker = make_worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers Ctrl-C
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()
    cv2.setNumThreads(1)  # the other cores have workers of their own
    if gpus:  # before anything touches CUDA
        with turn.get_lock():
            os.environ["CUDA_VISIBLE_DEVICES"] = gpus[turn.value % len(gpus)]
            turn.value += 1


def _follow(parent: int) -> None:
    """End with the parent, even when it is killed: nothing is written behind the back of the next run."""
    wait([parent])
    os._exit(1)


def _work(chunk: Sequence[Frame]) -> Any:
    global _worker
    _worker = _worker or _make_worker()  # here, not in `_start`: what it refuses comes back as the answer
    with _one_thread():
        return _worker(chunk)


# --- a Ray cluster -------------------------------------------------------------------------------------------------
class _Actor:
    """What runs on the cluster: a worker, made when the first chunk comes, so that its errors come back as ours."""

    def __init__(self, make_worker: Callable[[], Worker[Any]], folder: str) -> None:
        with suppress(OSError):  # where relative paths begin; a machine without it may do with absolute ones
            os.chdir(folder)
        self._make_worker = make_worker
        self._worker: Worker[Any] | None = None

    def work(self, chunk: Sequence[Frame]) -> Any:
        self._worker = self._worker or self._make_worker()
        with _one_thread():
            return self._worker(chunk)


def _on_ray(
    make_worker: Callable[[], Worker[R]], chunks: Sequence[Sequence[Frame]], workers: int | None, address: str | None
) -> Iterator[tuple[Any, R]]:
    import ray
    from ray.util import ActorPool

    with _cluster(address):
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        count = min(workers or gpus or int(resources.get("CPU", 1)), len(chunks))
        # a node that is lost gives its chunks to another
        options = {"num_cpus": 1, "num_gpus": 1 if gpus else 0, "max_restarts": 3, "max_task_retries": 3}
        actors = [ray.remote(_Actor).options(**options).remote(make_worker, os.getcwd()) for _ in range(count)]
        try:
            made = ActorPool(actors).map(lambda actor, chunk: actor.work.remote(chunk), chunks)
            yield from zip(chunks, made, strict=True)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise error.cause from None
            raise
        except ray.exceptions.RayActorError as error:
            reason = str(error).strip().splitlines()[-1][:160]
            raise InputError(
                f"--executor ray: a worker of the cluster was lost ({reason}); see that its machines have this kit and "
                "memory enough, and run the same command again: what is done is kept"
            ) from None


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """A connection to the Ray cluster at `address`: the one this process has, or one until the end of the block."""
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error", include_dashboard=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise _no_cluster(address, error) from None
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_silence(address: str) -> None:
    """InputError where nobody answers at the address of a cluster, for which Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:  # 'auto', 'local'
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, error) from None


def _no_cluster(address: str | None, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:120]
    return InputError(f"--address {address}: no Ray cluster answers ({reason})")
