"""`certify_many`: many networks on any executor, none lost.

A worker only proposes: it hands over the witness that it proved, and this process proves it once
more, without repair, before there is a certificate. That is also how a results folder is read.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Executor

from .._arrays import blas_threads
from .._progress import ProgressCallback
from ..graph import Graph
from ..network import Network
from ._crew import ExecutorFactory, require_executor
from ._job import Job, JobResult, as_job
from ._state import Batch
from ._together import solved_together
from ._worker import run_job

__all__ = ["certify_many"]


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
    thread. There small chains of equal shapes with `LipSDP` or no method come first, many of them
    solved by the same calls (`LipSDP.propose_together`), in half the time and less. `on_result` gets
    each result as it comes, in any order; `progress` counts them. A job that fails becomes a result
    with its error. BLAS is limited to one thread per worker, and in this process while the batch runs.

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
    require_executor(executor)
    batch = Batch(todo, folder, progress, on_result)
    batch.resume()
    with blas_threads(1):
        if executor is None:
            for index, certificate, seconds in solved_together(todo, batch.open()):
                batch.settle(index, certificate, seconds=seconds)
            for index in batch.open():
                batch.finish(index, run_job(todo[index], os.getpid()))
        else:
            batch.run_on(executor, retries)
    return batch.ordered()
