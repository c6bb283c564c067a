"""Work on chunks in actors of a Ray cluster."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from regenhance_data.errors import InputError, one_line
from regenhance_data.parallel.processes import Worker
from regenhance_data.parallel.threads import one_torch_thread

T = TypeVar("T")
R = TypeVar("R")


class _Actor:
    """Runs on the cluster. It makes its worker with the first chunk, so that errors come back as a chunk's result."""

    def __init__(self, make_worker: Callable[[], Worker[Any, Any]], folder: str) -> None:
        with suppress(OSError):  # relative paths start there; a machine without it can still use absolute ones
            os.chdir(folder)
        self._make_worker = make_worker
        self._worker: Worker[Any, Any] | None = None

    def work(self, chunk: Sequence[Any]) -> Any:
        self._worker = self._worker or self._make_worker()
        with one_torch_thread():
            return self._worker(chunk)


def map_on_ray(
    make_worker: Callable[[], Worker[T, R]], chunks: Sequence[Sequence[T]], workers: int | None, address: str | None
) -> Iterator[tuple[Sequence[T], R]]:
    """Each chunk with its result, in order. InputError where no cluster answers, or a machine of it is lost."""
    import ray
    from ray.util import ActorPool

    with _cluster(address):
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        count = min(workers or gpus or int(resources.get("CPU", 1)), len(chunks))
        # the chunks of a lost node go to another one
        options = {"num_cpus": 1, "num_gpus": 1 if gpus else 0, "max_restarts": 3, "max_task_retries": 3}
        actors = [ray.remote(_Actor).options(**options).remote(make_worker, os.getcwd()) for _ in range(count)]
        try:
            results = ActorPool(actors).map(lambda actor, chunk: actor.work.remote(chunk), chunks)
            yield from zip(chunks, results, strict=True)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise error.cause from None
            raise
        except ray.exceptions.RayActorError as error:
            raise InputError(
                f"--executor ray: a worker of the cluster was lost ({one_line(error, from_end=True)}); check that its "
                "machines have this kit and enough memory, and run the same command again: finished work is kept"
            ) from None


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """A connection to the Ray cluster at `address`: this process's own if it has one, else until the block ends."""
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        with _without_probes():
            ray.init(address=address, log_to_driver=False, logging_level="error", include_dashboard=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise _no_cluster(address, error) from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _without_probes() -> Iterator[None]:
    """Within it, plain HTTP of new processes ends at a closed port of this machine: that of a head of Ray asks the
    clouds' metadata servers where it is, also where its usage statistics are off.
    """
    before = os.environ.get("HTTP_PROXY")
    os.environ["HTTP_PROXY"] = "http://127.0.0.1:9"
    try:
        yield
    finally:
        del os.environ["HTTP_PROXY"]
        if before is not None:
            os.environ["HTTP_PROXY"] = before


def refuse_unreachable_cluster(address: str) -> None:
    """InputError where nothing answers at the address of a cluster, at once; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:  # 'auto', 'local'
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, error) from None


def _no_cluster(address: str | None, error: Exception) -> InputError:
    return InputError(f"--address {address}: no Ray cluster answers ({one_line(error)})")
