"""`certify_many`: many networks on any `concurrent.futures.Executor`, and what is left if a worker dies.

A worker only proposes: it hands over the witness that it proved, and this process proves it once
more, without repair, before there is a certificate. That is also how a results folder is read.
"""

import collections
import contextlib
import dataclasses
import hashlib
import logging
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from typing import Any

from ._api import lipschitz
from ._arrays import blas_threads
from ._errors import InputError, LmikitError, OptionError
from ._progress import Progress, ProgressCallback
from ._witness import Witness
from .certificates import Certificate, verify
from .methods import AbstractMethod, LipSDP
from .network import Network
from .solvers import AbstractSolver

__all__ = ["Job", "JobResult", "certify_many"]

_log = logging.getLogger("lmikit")

ExecutorFactory = Callable[[], Executor]


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """One network to certify; the options are those of `lipschitz`, `name` is for reports."""

    network: Network
    method: AbstractMethod = dataclasses.field(default_factory=LipSDP)
    solver: AbstractSolver | None = None
    time_limit: float | None = None
    name: str = ""

    @property
    def key(self) -> str:
        """Names the result of this job in a results folder: network and options, not `name`."""
        options = repr((self.method, self.solver, self.time_limit)).encode()
        return f"{self.network.digest[:24]}-{hashlib.sha256(options).hexdigest()[:12]}"


@dataclasses.dataclass(frozen=True, eq=False)
class JobResult:
    """What became of job `index`: a certificate, or `error` says why there is none.

    `seconds` is the time that the worker took; `resumed` tells a certificate that was read from
    the results folder (and proven again).
    """

    index: int
    name: str
    certificate: Certificate | None
    error: str = ""
    seconds: float = 0.0
    resumed: bool = False

    @property
    def proven(self) -> bool:
        """Whether there is a certificate."""
        return self.certificate is not None


def certify_many(
    jobs: Iterable[Job | Network],
    executor: Executor | ExecutorFactory | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
    on_result: Callable[[JobResult], None] | None = None,
    retries: int = 1,
) -> list[JobResult]:
    """Certify many networks; one result per job, in the order of the jobs, none lost.

    `executor` runs the jobs: any `concurrent.futures.Executor` (processes, threads, dask's
    `client.get_executor()`), or a function without arguments that makes one, or None for this
    thread. `on_result` gets each result as it comes, in any order; `progress` counts them. A
    job that fails becomes a result with its error. BLAS is limited to one thread per worker, and in
    this process while the batch runs. With `folder` each certificate is saved there, and jobs whose
    certificate is there already are read and proven again instead of solved; failures are tried again.

    Where a worker dies, an executor of processes breaks as a whole. With a function that makes
    executors the unfinished jobs are then run again, at most `retries` times all together and after
    that one by one: a job is reported as the one at fault when its worker died `1 + retries` times
    while it ran alone, and all others finish. An executor passed ready-made cannot be replaced: its
    unfinished jobs are reported.

    Raises InputError for anything but jobs and networks, OptionError for other executors. Errors
    of the callbacks are raised, after the jobs that have not begun are cancelled.
    """
    todo = [_as_job(k, job) for k, job in enumerate(jobs)]
    if executor is not None and not isinstance(executor, Executor) and not callable(executor):
        raise OptionError(
            f"executor is {executor!r}; expected a concurrent.futures.Executor, a function making one or None"
        )
    batch = _Batch(todo, None if folder is None else pathlib.Path(folder), progress, on_result)
    batch.resume()
    with blas_threads(1):
        if executor is None:
            for index in batch.open():
                batch.finish(index, _run(todo[index], os.getpid()))
        elif isinstance(executor, Executor):
            batch.run(executor, batch.open())
            batch.give_up("its executor broke, probably because a worker process died; pass a function")
        else:
            _run_with_factory(batch, executor, retries)
    return batch.ordered()


def _run_with_factory(batch: "_Batch", make: ExecutorFactory, retries: int) -> None:
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
                batch.finish(index, _Answer(None, "its worker process died", 0.0))


@contextlib.contextmanager
def _executor(make: ExecutorFactory) -> Iterator[Executor]:
    pool = make()
    if not isinstance(pool, Executor):
        raise OptionError(f"executor() returned {pool!r}; expected a concurrent.futures.Executor.")
    with pool:
        yield pool


def _as_job(index: int, job: Any) -> Job:
    if isinstance(job, Network):
        return Job(job)
    if not isinstance(job, Job) or not isinstance(job.network, Network):
        raise InputError(f"jobs[{index}] is a {type(job).__name__}; expected an lmikit.Network or Job.")
    return job


@dataclasses.dataclass(frozen=True)
class _Answer:
    """What travels back from a worker: data only."""

    witness: Witness | None
    error: str
    seconds: float


def _run(job: Job, parent: int) -> _Answer:
    """Certify one job, in whatever process this is; errors come back as text."""
    start = time.perf_counter()
    try:
        with blas_threads(None if os.getpid() == parent else 1):
            certificate = lipschitz(job.network, job.method, solver=job.solver, time_limit=job.time_limit)
        return _Answer(certificate.witness, "", time.perf_counter() - start)
    except Exception as error:  # one job's failure, of whatever kind, must not lose the others
        level = logging.INFO if isinstance(error, LmikitError) else logging.ERROR
        _log.log(level, "a job failed", exc_info=error)
        return _Answer(None, f"{type(error).__name__}: {error}", time.perf_counter() - start)


class _Batch:
    """The jobs, what is known of them, and whom to tell."""

    def __init__(
        self,
        jobs: list[Job],
        folder: pathlib.Path | None,
        progress: ProgressCallback | None,
        on_result: Callable[[JobResult], None] | None,
    ) -> None:
        self.jobs, self.folder, self.progress, self.on_result = jobs, folder, progress, on_result
        self.results: dict[int, JobResult] = {}
        self.start = time.perf_counter()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def open(self) -> list[int]:
        """The jobs without a result, in order."""
        return [k for k in range(len(self.jobs)) if k not in self.results]

    def ordered(self) -> list[JobResult]:
        return [self.results[k] for k in range(len(self.jobs))]

    def run(self, executor: Executor, indices: list[int]) -> bool:
        """Run jobs until all are done or the executor is broken; False for broken."""
        futures: dict[Future[_Answer], int] = {}
        whole = True
        try:
            for index in indices:
                futures[executor.submit(_run, self.jobs[index], os.getpid())] = index
        except (BrokenExecutor, RuntimeError) as error:  # broken, or shut down, while jobs go in
            _log.warning("the executor takes no more jobs (%s)", error)
            whole = False
        pending = set(futures)
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    whole = self._collect(futures[future], future) and whole
        finally:
            for future in pending:
                future.cancel()
        return whole

    def _collect(self, index: int, future: "Future[_Answer]") -> bool:
        if future.cancelled():
            return False
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            return False
        if error is not None:  # what the executor itself raises: a job that cannot be sent, a lost worker
            text = f"{type(error).__name__}: {error}"
            self.finish(index, _Answer(None, text, 0.0))
        else:
            self.finish(index, future.result())
        return True

    def give_up(self, reason: str) -> None:
        for index in self.open():
            self.finish(index, _Answer(None, reason, 0.0))

    def finish(self, index: int, answer: _Answer) -> None:
        """Prove the answer here, save it and tell."""
        job, certificate, error = self.jobs[index], None, answer.error
        if answer.witness is not None:
            try:
                certificate = verify(job.network, answer.witness, repair=False)
            except LmikitError as failure:
                error = f"the worker's witness was not proven here: {type(failure).__name__}: {failure}"
        if certificate is not None and self.folder is not None:
            certificate.save(self._path(job))
        self._tell(JobResult(index, job.name, certificate, error, answer.seconds))

    def resume(self) -> None:
        """Read what the results folder holds already."""
        for index, job in enumerate(self.jobs):
            if self.folder is None or not self._path(job).exists():
                continue
            try:
                certificate = Certificate.load(self._path(job), job.network)
            except LmikitError as error:
                _log.warning("%s is solved again: %s", self._path(job).name, error)
                continue
            self._tell(JobResult(index, job.name, certificate, resumed=True))

    def _path(self, job: Job) -> pathlib.Path:
        assert self.folder is not None
        return self.folder / f"{job.key}.json"

    def _tell(self, result: JobResult) -> None:
        self.results[result.index] = result
        if self.on_result is not None:
            self.on_result(result)
        if self.progress is not None:
            seconds = time.perf_counter() - self.start
            self.progress(Progress("certify_many", len(self.results), len(self.jobs), seconds=seconds))
