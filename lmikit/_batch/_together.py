"""Small chains of one batch that are solved by the same calls, in this process."""

import logging
import time
from collections.abc import Iterator, Sequence

from .._errors import LmikitError
from .._image_api import image_plan
from .._proving import least_proven
from ..certificates import Certificate
from ..methods import LipSDP
from ..network import Network
from ._job import Job

__all__ = ["solved_together"]

_log = logging.getLogger("lmikit")
_AT_ONCE = 256  # jobs that are looked at for equal shapes before the first result


def solved_together(jobs: Sequence[Job], wanted: Sequence[int]) -> Iterator[tuple[int, Certificate, float]]:
    """(number of the job, certificate, seconds) of those of the wanted jobs that `propose_together` solves.

    The others, and those whose proofs fail, are left to `lipschitz`. Proofs are one by one.
    """
    by_method: dict[LipSDP, list[int]] = {}
    for index in wanted:
        method = _method(jobs[index])
        if method is not None:
            by_method.setdefault(method, []).append(index)
    for method, members in by_method.items():
        for first in range(0, len(members), _AT_ONCE):
            yield from _part(jobs, members[first : first + _AT_ONCE], method)


def _part(
    jobs: Sequence[Job], members: Sequence[int], method: LipSDP
) -> Iterator[tuple[int, Certificate, float]]:
    networks = [job.network for job in (jobs[k] for k in members) if isinstance(job.network, Network)]
    start = time.perf_counter()
    try:
        witnesses = method.propose_together(networks)
    except Exception:  # whatever it is, each job is tried by itself afterwards
        _log.exception("jobs could not be solved together; they are solved one by one")
        return
    each = (time.perf_counter() - start) / len(members)
    for index, network, witness in zip(members, networks, witnesses, strict=True):
        if witness is None:
            continue
        start = time.perf_counter()
        try:
            certificate = least_proven(network, method, proposal=witness)
        except LmikitError as error:
            _log.info("jobs[%d] is solved by itself (%s)", index, error)
            continue
        yield index, certificate, each + time.perf_counter() - start


def _method(job: Job) -> LipSDP | None:
    """The method of a job that could be solved with others."""
    plain = job.solver is None and job.norm is None and job.time_limit is None
    if not plain or not isinstance(job.network, Network):
        return None
    if job.method is None:
        return LipSDP() if image_plan(job.network) is None else None
    return job.method if type(job.method) is LipSDP else None  # whose `propose` is the one known here
