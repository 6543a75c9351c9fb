"""`certify_many`: many networks on any executor, none lost.

A worker only proposes: it hands over the witness that it proved, and this process proves it once
more, without repair, before there is a certificate. That is also how a results folder is read.
"""

import collections
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor

from .._arrays import blas_threads
from .._errors import OptionError
from .._progress import ProgressCallback
from ..graph import Graph
from ..network import Network
from ._job import Job, JobResult, as_job
from ._state import Batch
from ._worker import Answer, run_job

__all__ = ["certify_many"]

ExecutorFactory = Callable[[], Executor]


def certify_many(
    jobs: Iterable[Job | Network | Graph],
    executor: Executor | ExecutorFactory | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
    on_result: Callable[[JobResult], None] | None = None,
    retries: int = 1,
) -> list[JobResult]:
    """Certify many networks and graphs; one result per job, in the order of the jobs, none lost.

    `executor` runs the jobs: any `concurrent.futures.Executor` (processes, threads, dask's
    `client.get_executor()`), or a function without arguments that makes one, or None for this
    thread. `on_result` gets each result as it comes, in any order; `progress` counts them. A
    job that fails becomes a result with its error. BLAS is limited to one thread per worker, and in
    this process while the batch runs.

    With `folder` each certificate is saved there, and jobs whose certificate is there already are
    read and proven again instead of solved; failures are tried again. Results belong to the options
    and to the version of lmikit. A certificate that cannot be saved, as on a full disk, is in the
    result all the same, with the reason in `save_error`.

    Where a worker dies, an executor of processes breaks as a whole. With a function that makes
    executors the unfinished jobs are then run again, at most `retries` times all together and after
    that one by one: a job is reported as the one at fault when its worker died `1 + retries` times
    while it ran alone, and all others finish. An executor passed ready-made cannot be replaced: its
    unfinished jobs are reported.

    Raises InputError for anything but jobs, networks and graphs and for a folder that cannot be made,
    OptionError for other executors and, with a folder, for options that cannot be told apart by
    value (see `Job.key`). Errors of the callbacks are raised, after the jobs that have not begun
    are cancelled.
    """
    todo = [as_job(k, job) for k, job in enumerate(jobs)]
    if executor is not None and not isinstance(executor, Executor) and not callable(executor):
        raise OptionError(
            f"executor is {executor!r}; expected a concurrent.futures.Executor, a function making one or None"
        )
    batch = Batch(todo, folder, progress, on_result)
    batch.resume()
    with blas_threads(1):
        if executor is None:
            for index in batch.open():
                batch.finish(index, run_job(todo[index], os.getpid()))
        elif isinstance(executor, Executor):
            batch.run(executor, batch.open())
            batch.give_up("its executor broke, probably because a worker process died; pass a function")
        else:
            _run_with_factory(batch, executor, retries)
    return batch.ordered()


def _run_with_factory(batch: Batch, make: ExecutorFactory, retries: int) -> None:
    for _ in range(1 + retries):
        if batch.open():
            with _executor(make) as pool:
                batch.run(pool, batch.open())
    deaths: collections.Counter[int] = collections.Counter()
    while batch.open():  # one by one, so that the job at fault is known
        with _executor(make) as pool:
            index = next((k for k in batch.open() if not batch.run(pool, [k])), None)
        if index is not None:
            deaths[index] += 1  # only those count: together, a job dies of its neighbour's fault too
            if deaths[index] > retries:
                batch.finish(index, Answer(None, "its worker process died", 0.0))


@contextlib.contextmanager
def _executor(make: ExecutorFactory) -> Iterator[Executor]:
    pool = make()
    if not isinstance(pool, Executor):
        raise OptionError(f"executor() returned {pool!r}; expected a concurrent.futures.Executor.")
    with pool:
        yield pool
