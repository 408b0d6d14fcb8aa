"""Jobs side by side: in processes of this machine, or on the workers of a Dask cluster."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any

from feedhandler.convert.files import Stopped
from feedhandler.convert.job import Progress
from feedhandler.convert.optional import library
from feedhandler.convert.report import Report
from feedhandler.convert.run import Job, run_job
from feedhandler.errors import BackendError

LOOK_SECONDS = 0.1
CONNECT_SECONDS = "10s"
_read: Any = None  # of a worker process: bytes read, by job, shared with its parent
_stop: Any = None


def in_processes(
    jobs: Sequence[Job], processes: int, progress: Progress | None, stopping: Callable[[], bool]
) -> list[Report]:
    """The reports of the jobs, in their order. The first failure ends the others, which leave nothing behind.

    Jobs that had ended before keep their files.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
    read, stop = context.Array("Q", len(jobs), lock=False), context.Event()
    with ProcessPoolExecutor(processes, context, _begin, (read, stop)) as pool:
        futures = [pool.submit(_work, number, job) for number, job in enumerate(jobs)]
        try:
            _watch(futures, lambda: sum(read), progress, stopping)
        except BaseException:
            stop.set()
            for future in futures:
                future.cancel()
            raise
    return [future.result() for future in futures]


def _watch(
    futures: Sequence[Future[Report]], read: Callable[[], int], progress: Progress | None, stopping: Callable[[], bool]
) -> None:
    """Until all are done. Raises what the first failure raised, and Stopped."""
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, LOOK_SECONDS, FIRST_COMPLETED)
        for future in done:
            future.result()
        if stopping():
            raise Stopped
        if progress is not None:
            progress(read())


def _begin(read: Any, stop: Any) -> None:
    """A worker process begins: its parent answers Ctrl-C, and tells it by `stop`."""
    global _read, _stop
    _read, _stop = read, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _work(number: int, job: Job) -> Report:
    def tell(offset: int) -> None:
        _read[number] = offset

    return run_job(job, tell, _stop.is_set)


def on_cluster(
    jobs: Sequence[Job], address: str, progress: Progress | None, stopping: Callable[[], bool]
) -> list[Report]:
    """The reports of the jobs, in their order, from the workers of the cluster at `address` (tcp://host:8786).

    The workers read and write the same paths: a shared file system. Raises BackendError when the scheduler cannot be
    reached. What a worker has begun when this is stopped, it finishes: whole files.
    """
    distributed = library("distributed", "--dask", extra="dask")
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise BackendError(
            f"no Dask scheduler answers at {address} ({type(error).__name__}); start one with: dask scheduler"
        ) from error
    with client:
        futures = client.map(run_job, jobs, pure=False, retries=0)
        try:
            while not all(future.done() for future in futures):
                for future in futures:
                    if future.status == "error":
                        future.result()
                if stopping():
                    raise Stopped
                if progress is not None:
                    done = [future.result() for future in futures if future.status == "finished"]
                    progress(sum(report.read for report in done))
                time.sleep(LOOK_SECONDS)
            reports: list[Report] = client.gather(futures)
        except BaseException:
            client.cancel(futures)
            raise
    return reports
