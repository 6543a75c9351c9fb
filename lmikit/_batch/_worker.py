"""What runs in a worker; what travels back is data only."""

import dataclasses
import logging
import os
import time

from .._api import lipschitz
from .._arrays import blas_threads
from .._errors import LmikitError
from ._job import AnyWitness, Job

__all__ = ["Answer", "run_job", "text_of"]

_log = logging.getLogger("lmikit")


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a worker found: a witness that it proved, or why there is none."""

    witness: AnyWitness | None
    error: str
    seconds: float


def run_job(job: Job, parent: int) -> Answer:
    """Certify one job, in whatever process this is; errors come back as text."""
    start = time.perf_counter()
    try:
        with blas_threads(None if os.getpid() == parent else 1):
            certificate = lipschitz(
                job.network, job.method, norm=job.norm, solver=job.solver, time_limit=job.time_limit
            )
        return Answer(certificate.witness, "", time.perf_counter() - start)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # one job's failure, of whatever kind, must not lose the others
        level = logging.INFO if isinstance(error, LmikitError) else logging.ERROR
        _log.log(level, "a job failed", exc_info=error)
        return Answer(None, text_of(error), time.perf_counter() - start)


def text_of(error: BaseException) -> str:
    """The error in one line, also where its own text cannot be had."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception as another:
        return f"{type(error).__name__} (its text raises {type(another).__name__})"
