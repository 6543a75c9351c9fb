"""The jobs of one batch, what is known of them, and whom to tell."""

import logging
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

from .._errors import InputError, LmikitError, OptionError
from .._progress import Progress, ProgressCallback
from ._crew import AbstractCrew
from ._job import AnyCertificate, Job, JobResult, loaded, proven
from ._worker import Answer, run_job, text_of

__all__ = ["Batch"]

_log = logging.getLogger("lmikit")


class Batch(AbstractCrew):
    """Runs jobs on executors; proves, saves and reports each answer as it comes."""

    def __init__(
        self,
        jobs: list[Job],
        folder: str | os.PathLike[str] | None,
        progress: ProgressCallback | None,
        on_result: Callable[[JobResult], None] | None,
    ) -> None:
        self.jobs, self.progress, self.on_result = jobs, progress, on_result
        self.results: dict[int, JobResult] = {}
        self.start = time.perf_counter()
        self.paths = None if folder is None else _result_paths(folder, jobs)

    def open(self) -> list[int]:
        """The jobs without a result, in order."""
        return [k for k in range(len(self.jobs)) if k not in self.results]

    def ordered(self) -> list[JobResult]:
        """All results, in the order of the jobs."""
        return [self.results[k] for k in range(len(self.jobs))]

    def call(self, index: int) -> tuple[Any, ...]:
        """The job; a worker finds out by the process whether it shares this one's BLAS threads."""
        return run_job, self.jobs[index], os.getpid()

    def receive(self, index: int, answer: Answer) -> bool:
        """Prove, save and tell."""
        self.finish(index, answer)
        return True

    def fail(self, index: int, error: BaseException | str) -> None:
        """Report the job with this error."""
        self.finish(index, Answer(None, error if isinstance(error, str) else text_of(error), 0.0))

    def finish(self, index: int, answer: Answer) -> None:
        """Prove the answer here, save it and tell."""
        job, certificate, error = self.jobs[index], None, answer.error
        if answer.witness is not None:
            try:
                certificate = proven(job, answer.witness)
            except Exception as failure:  # what a worker sends must not lose the others
                error = f"the worker's witness was not proven here: {text_of(failure)}"
        self.settle(index, certificate, error, answer.seconds)

    def settle(
        self, index: int, certificate: AnyCertificate | None, error: str = "", seconds: float = 0.0
    ) -> None:
        """Save what was proven here, and tell."""
        save_error = "" if certificate is None else self._save(index, certificate)
        name = self.jobs[index].name
        self._tell(JobResult(index, name, certificate, error, seconds, False, save_error))

    def _save(self, index: int, certificate: AnyCertificate) -> str:
        """Why the certificate could not be saved, or nothing."""
        if self.paths is None:
            return ""
        try:
            certificate.save(self.paths[index])
        except Exception as error:  # a full disk must not lose what is proven
            _log.warning("a certificate is kept in memory only: %s", text_of(error))
            return text_of(error)
        return ""

    def resume(self) -> None:
        """Read what the results folder holds already."""
        for index, path in enumerate(self.paths or ()):
            if not os.path.lexists(path):
                continue
            job = self.jobs[index]
            try:
                certificate = loaded(job, path)
            except Exception as error:  # whatever is wrong with a file, its job is solved again
                _log.warning("%s is solved again: %s", path.name, text_of(error))
                continue
            self._tell(JobResult(index, job.name, certificate, resumed=True))

    def _tell(self, result: JobResult) -> None:
        self.results[result.index] = result
        if self.on_result is not None:
            self.on_result(result)
        if self.progress is not None:
            seconds = time.perf_counter() - self.start
            self.progress(Progress("certify_many", len(self.results), len(self.jobs), seconds=seconds))


def _result_paths(folder: str | os.PathLike[str], jobs: list[Job]) -> list[pathlib.Path]:
    """Where each job's result is kept; what cannot be kept is refused before anything is solved."""
    try:
        place = pathlib.Path(folder)
        place.mkdir(parents=True, exist_ok=True)
    except (OSError, TypeError, ValueError) as error:
        raise InputError(
            f"folder {folder!r} cannot be made ({error}); pass a folder, or a path where one can be made."
        ) from error
    paths = []
    for index, job in enumerate(jobs):
        try:
            paths.append(place / f"{job.key}.json")
        except LmikitError as error:
            raise OptionError(f"jobs[{index}] cannot be kept in a folder: {error}") from error
    return paths
