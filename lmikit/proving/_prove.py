"""`prove`: the one call from a problem to what is proven of it."""

import dataclasses
import math
import os
import time
from fractions import Fraction
from typing import Any

import numpy as np

from .._api import solve
from .._errors import InputError, NotCertified, OptionError
from .._progress import ProgressCallback
from ..certificates.sdp import SDPCertificate, verify_sdp
from ..lmi import SDP, Problem, Status
from ..solvers import AbstractSolver
from ._search import ProofSearch

__all__ = ["ProvenSDP", "prove"]


@dataclasses.dataclass(frozen=True, eq=False)
class ProvenSDP:
    """What is proven of a problem; truth-valued: whether anything is.

    status "optimum" (lower <= optimum <= upper), "feasible" (a feasible y, optimum <= upper),
    "infeasible", "unbounded" or "undecided". `lower` and `upper` are proven, or -inf and inf; for a
    `Problem` they are in its own objective (its sign and constant), else of the SDP. `y` is proven
    feasible where there are no equalities; with them a feasible point is within rounding of it.
    `certificate` carries the proof (None: nothing is proven); `estimate` is the solver's objective and
    proves nothing. `reasons` says what stood in the way of a side that is not proven.
    """

    status: str
    lower: float
    upper: float
    y: np.ndarray | None
    certificate: SDPCertificate | None
    reasons: tuple[str, ...]
    estimate: float
    solver: str
    solver_status: str
    seconds_solving: float
    seconds_proving: float

    def __bool__(self) -> bool:
        return self.certificate is not None

    @property
    def width(self) -> float:
        """(upper - lower) / max(1, |upper|, |lower|), inf where a side is missing."""
        if not (math.isfinite(self.lower) and math.isfinite(self.upper)):
            return math.inf
        return (self.upper - self.lower) / max(1.0, abs(self.lower), abs(self.upper))

    @property
    def claim(self) -> str:
        """What is proven of the SDP, in words."""
        return "nothing is proven" if self.certificate is None else self.certificate.claim

    @property
    def _assumed(self) -> str:
        """What the sentence about the optimum has to add; a claim of unboundedness assumes nothing."""
        bounded = self.certificate is not None and self.certificate.witness.bounds is not None
        return "; among the y with |y_i| <= bounds_i" if bounded else ""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the certificate; raises NotCertified where nothing is proven, InputError for the path."""
        if self.certificate is None:
            raise NotCertified("nothing is proven of this problem; " + "; ".join(self.reasons))
        self.certificate.save(path)

    def __str__(self) -> str:
        head = {
            "optimum": f"optimum in [{self.lower!r}, {self.upper!r}], proven",
            "feasible": f"feasible, optimum <= {self.upper!r}, proven; no lower bound is proven",
            "infeasible": "infeasible, proven",
            "unbounded": "unbounded, proven",
        }.get(self.status, "undecided")
        if self.status == "undecided" and math.isfinite(self.lower):
            head = f"undecided whether feasible; optimum >= {self.lower!r}, proven"
        return "\n  ".join((head + self._assumed, *self.reasons))


def prove(
    problem: SDP | Problem,
    solver: AbstractSolver | None = None,
    time_limit: float | None = None,
    *,
    bounds: Any = None,
    progress: ProgressCallback | None = None,
) -> ProvenSDP:
    """Solve an SDP or a hand-written LMI problem and prove the outcome: two bounds, or that there is no y.

    Every feasible y has c'y + 1/2 y'Hy >= lower, one of them has <= upper. `solver` (None: the one that
    `lmikit.solve` chooses) and `time_limit` (seconds for all solves together) only decide how good the
    proposals are; the proof is made from their points by verified arithmetic and never trusts them.
    `bounds`, a number or (m,), says that |y_i| <= bounds_i may be assumed: claims then name it.

    A side whose feasible set has no interior may stay unproven: `reasons` says so. Raises InputError for
    anything but an SDP or a Problem, and where bounds do not fit; OptionError for the time limit.
    Source: Jansson, Chaykin and Keil, SIAM J. Numer. Anal. 46 (2007), Theorems 3.1 and 3.2.
    """
    sdp = problem.compile() if isinstance(problem, Problem) else problem
    if not isinstance(sdp, SDP):
        raise InputError(f"problem is a {type(problem).__name__}; expected lmikit.lmi.SDP or Problem.")
    if time_limit is not None and not time_limit > 0:
        raise OptionError(f"time_limit is {time_limit!r}; expected seconds > 0 or None.")
    limits = None if bounds is None else _bounds(bounds, sdp.variables)
    started = time.perf_counter()
    search = ProofSearch(
        sdp, solver, None if time_limit is None else started + time_limit, limits, progress, solve
    )
    witness, reasons = search.run()
    certificate, why = None, tuple[str, ...]()
    if witness is not None:
        try:
            certificate = verify_sdp(sdp, witness)
        except NotCertified as error:
            why = (str(error),)
    total = time.perf_counter() - started
    return _result(problem, search, certificate, (*why, *reasons), total)


def _bounds(bounds: Any, m: int) -> np.ndarray:
    values = np.array(np.broadcast_to(np.asarray(bounds, dtype=np.float64), (m,)))
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise InputError("bounds holds a negative or infinite number; expected |y_i| <= bounds_i.")
    return values


def _result(
    problem: SDP | Problem,
    search: ProofSearch,
    certificate: SDPCertificate | None,
    reasons: tuple[str, ...],
    total: float,
) -> ProvenSDP:
    lower = certificate.lower if certificate is not None else None
    upper = certificate.upper if certificate is not None else None
    low, high = -math.inf if lower is None else lower, math.inf if upper is None else upper
    status = "undecided" if certificate is None else certificate.status
    estimate = math.nan if search.solution is None else search.solution.objective
    if isinstance(problem, Problem):
        low, high = _own_objective(problem, low, high)
        estimate = problem.sign * estimate + problem.offset
    side = None if certificate is None else certificate.witness.primal or certificate.witness.primal_ray
    return ProvenSDP(
        status="undecided" if status == "bounded" else status,
        lower=low,
        upper=high,
        y=None if side is None else side.y,
        certificate=certificate,
        reasons=reasons,
        estimate=estimate,
        solver="" if search.solution is None else search.solution.solver,
        solver_status=Status.FAILED.name if search.solution is None else search.solution.status.name,
        seconds_solving=search.solving,
        seconds_proving=max(0.0, total - search.solving),
    )


def _own_objective(problem: Problem, low: float, high: float) -> tuple[float, float]:
    """Bounds of the SDP as bounds of sign * objective + offset, rounded outwards."""
    if problem.sign < 0:
        low, high = -high, -low
    offset = problem.exact_offset()
    if math.isfinite(low):
        low = _rounded(Fraction(low) + offset, -math.inf)
    if math.isfinite(high):
        high = _rounded(Fraction(high) + offset, math.inf)
    return low, high


def _rounded(exact: Fraction, toward: float) -> float:
    value = float(exact)
    beyond = Fraction(value) >= exact if toward > 0 else Fraction(value) <= exact
    return value if beyond else math.nextafter(value, toward)
