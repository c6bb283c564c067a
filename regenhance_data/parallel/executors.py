"""Work on chunks of items: in this process, in several on this machine, or in actors of a Ray cluster.

A worker is made once in each process (it loads a network), then called with one chunk after the other. It always
computes with one thread on the CPU, so the number of workers and where they run (on machines of one kind) change no bit
of the result.
"""

import argparse
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from regenhance_data.errors import InputError, refuse_below_one
from regenhance_data.parallel.processes import Worker, map_in_processes, visible_gpus
from regenhance_data.parallel.ray_cluster import map_on_ray, refuse_unreachable_cluster
from regenhance_data.parallel.threads import one_torch_thread

T = TypeVar("T")
R = TypeVar("R")
EXECUTORS = ("local", "ray")
CHUNK = 16  # frames: a kill loses less than a minute of work on a slow detector, and a call costs nothing beside it
_MOST_WORKERS = 16  # each loads its own network; give --workers for more


@dataclass(frozen=True)
class Executor:
    """Where chunks are worked on.

    kind: 'local' (processes on this machine) or 'ray' (actors on a Ray cluster, which reach the dataset folder under
    the same path). workers: number of workers, None: one for each core, or for each GPU if there are any. address: of
    the Ray cluster, None: the one that RAY_ADDRESS names, else one that is started on this machine.
    """

    kind: str = "local"
    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in EXECUTORS:
            raise InputError(f"--executor {self.kind}: expected one of {', '.join(EXECUTORS)}")
        refuse_below_one(workers=self.workers)
        if self.address is not None and self.kind != "ray":
            raise InputError("--address: is of a Ray cluster; give --executor ray as well")
        if self.kind == "ray" and importlib.util.find_spec("ray") is None:
            raise InputError("--executor ray: Ray is not installed; pip install -c constraints.txt -e '.[cluster]'")

    def map(
        self, make_worker: Callable[[], Worker[T, R]], chunks: Sequence[Sequence[T]]
    ) -> Iterator[tuple[Sequence[T], R]]:
        """Each chunk with the worker's result for it, in order. Workers, chunks and results must pickle."""
        if not chunks:
            return iter(())
        if self.kind == "ray":
            return map_on_ray(make_worker, chunks, self.workers, self.address)
        most = self.workers or len(visible_gpus()) or min(len(os.sched_getaffinity(0)), _MOST_WORKERS)
        workers = min(most, len(chunks))
        return _map_here(make_worker, chunks) if workers == 1 else map_in_processes(make_worker, chunks, workers)


def chunks_of(items: Sequence[T]) -> list[Sequence[T]]:
    """The items (the frames of a clip), CHUNK at a time."""
    return [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]


def _map_here(
    make_worker: Callable[[], Worker[T, R]], chunks: Sequence[Sequence[T]]
) -> Iterator[tuple[Sequence[T], R]]:
    worker = make_worker()
    for chunk in chunks:
        with one_torch_thread():
            result = worker(chunk)
        yield chunk, result


def add_executor_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that `executor_from` reads."""
    group = parser.add_argument_group("execution")
    group.add_argument("--executor", choices=EXECUTORS, default="local", help="processes here, or a Ray cluster")
    group.add_argument("--workers", type=int, help="processes or actors (default: one per GPU, else one per core)")
    group.add_argument("--address", help="of a Ray cluster whose machines reach --data by the same path")


def executor_from(args: argparse.Namespace) -> Executor:
    """The executor that the flags of `add_executor_arguments` give. InputError where no cluster answers."""
    executor = Executor(args.executor, args.workers, args.address)
    if executor.address is not None:
        refuse_unreachable_cluster(executor.address)
    return executor
