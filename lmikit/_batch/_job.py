"""What goes into a batch and what comes out."""

import dataclasses
import hashlib
import os
from typing import Any, TypeVar

from .._errors import InputError
from .._version import __version__
from .._witness import Witness
from ..certificates import Certificate, format_of, verify
from ..certificates.graph import FORMAT as GRAPH
from ..certificates.graph import GraphCertificate, verify_graph
from ..certificates.torus import FORMAT as TORUS
from ..certificates.torus import TorusCertificate, verify_torus
from ..graph import Graph, GraphWitness, chain_graph
from ..graph._witness import as_norm
from ..methods import AbstractMethod
from ..network import Network
from ..solvers import AbstractSolver
from ..torus import TorusWitness
from ._key import stable_text

__all__ = ["AnyCertificate", "AnyWitness", "Job", "JobResult", "as_job", "loaded", "proven"]

AnyCertificate = Certificate | GraphCertificate | TorusCertificate
AnyWitness = Witness | GraphWitness | TorusWitness
Images = TypeVar("Images", GraphCertificate, TorusCertificate)


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """One network or graph to certify; the options are those of `lipschitz`, `name` is for reports."""

    network: Network | Graph
    method: AbstractMethod | None = None
    solver: AbstractSolver | None = None
    time_limit: float | None = None
    name: str = ""
    norm: tuple[float, float] | None = None

    @property
    def key(self) -> str:
        """Names the result of this job in a results folder: network, options and lmikit's version.

        The version, because a newer one may prove less. `name` is no part of it. Raises OptionError
        where a method or solver has options that cannot be told apart by value.
        """
        options: dict[str, Any] = {
            "method": self.method,
            "solver": self.solver,
            "time_limit": self.time_limit,
        }
        options |= {} if self.norm is None else {"norm": self.norm}
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
    certificate: AnyCertificate | None
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
    if isinstance(job, Network | Graph):
        return Job(job)
    if not isinstance(job, Job) or not isinstance(job.network, Network | Graph):
        raise InputError(
            f"jobs[{index}] is a {type(job).__name__}; expected an lmikit.Network, Graph or Job."
        )
    if job.norm is not None:
        as_norm(job.norm)
    return job


def proven(job: Job, witness: AnyWitness) -> AnyCertificate:
    """The certificate of exactly this witness; raises InputError, NotCertified."""
    if isinstance(witness, Witness):
        if _norms(job) is not None or not isinstance(job.network, Network):
            raise InputError("the witness is one of a chain; expected one of a graph.")
        return verify(job.network, witness, repair=False)
    if isinstance(witness, TorusWitness):
        return _about(job, verify_torus(job.network, witness, repair=False))
    graph = chain_graph(job.network) if isinstance(job.network, Network) else job.network
    return _about(job, verify_graph(graph, witness, repair=False))


def loaded(job: Job, path: str | os.PathLike[str]) -> AnyCertificate:
    """The certificate in a file, proven again; raises InputError, NotCertified."""
    kind = format_of(path)
    if kind == TORUS:
        return _about(job, TorusCertificate.load(path, job.network))
    if kind == GRAPH or not isinstance(job.network, Network):
        return _about(job, GraphCertificate.load(path, job.network))
    if _norms(job) is not None:
        raise InputError("the certificate is one of a chain; expected one of the norms of the job.")
    return Certificate.load(path, job.network)


def _about(job: Job, certificate: Images) -> Images:
    expected = _norms(job) or (2.0, 2.0)
    if certificate.norm != expected:
        raise InputError(f"the certificate is about the norms {certificate.norm}; expected {expected}.")
    return certificate


def _norms(job: Job) -> tuple[float, float] | None:
    return None if job.norm is None else as_norm(job.norm)
