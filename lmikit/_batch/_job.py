"""What goes into a batch and what comes out."""

import dataclasses
import hashlib
from typing import Any

from .._errors import InputError
from .._version import __version__
from ..certificates import Certificate
from ..methods import AbstractMethod, LipSDP
from ..network import Network
from ..solvers import AbstractSolver
from ._key import stable_text

__all__ = ["Job", "JobResult", "as_job"]


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
        """Names the result of this job in a results folder: network, options and lmikit's version.

        The version, because a newer one may prove less. `name` is no part of it. Raises OptionError
        where a method or solver has options that cannot be told apart by value.
        """
        options = {"method": self.method, "solver": self.solver, "time_limit": self.time_limit}
        texts = [__version__, *(stable_text(what, value) for what, value in options.items())]
        return f"{self.network.digest[:24]}-{hashlib.sha256(repr(texts).encode()).hexdigest()[:12]}"


@dataclasses.dataclass(frozen=True, eq=False)
class JobResult:
    """What became of job `index`: a certificate, or `error` says why there is none.

    `seconds` is the time that the worker took; `resumed` tells a certificate that was read from
    the results folder (and proven again). `save_error` says why a certificate is not in the results
    folder, as on a full disk; it is here all the same.
    """

    index: int
    name: str
    certificate: Certificate | None
    error: str = ""
    seconds: float = 0.0
    resumed: bool = False
    save_error: str = ""

    @property
    def proven(self) -> bool:
        """Whether there is a certificate."""
        return self.certificate is not None


def as_job(index: int, job: Any) -> Job:
    """`job`, or the job of a network alone; raises InputError for anything else."""
    if isinstance(job, Network):
        return Job(job)
    if not isinstance(job, Job) or not isinstance(job.network, Network):
        raise InputError(f"jobs[{index}] is a {type(job).__name__}; expected an lmikit.Network or Job.")
    return job
