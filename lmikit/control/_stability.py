"""Lyapunov functions, common ones and pole regions: proposals, and what is proven of them."""

import math
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg

from .._api import solve
from .._errors import InputError
from ..certificates.control import Lyapunov, NoCommonLyapunov, PoleOutside, PolesInRegion
from ..certificates.control._subjects import family
from ..lmi import Problem, block
from ..solvers import AbstractSolver
from ..systems import Feedback, System, as_system
from ._regions import Region, disc, half_plane
from ._result import ControlResult, Proposal, attempt, undecided

__all__ = ["as_subject", "lyapunov", "poles", "rounded", "symmetric_part"]

Linear = System | Feedback


def as_subject(system: Any) -> Linear:
    """A Feedback as it is, anything else through `as_system`."""
    return system if isinstance(system, Feedback) else as_system(system)


def rounded(system: Linear) -> System:
    """The system as one set of float matrices, for proposals."""
    return system.rounded() if isinstance(system, Feedback) else system


def symmetric_part(P: np.ndarray | float) -> np.ndarray:
    """Symmetric bit for bit; a number, as values of order 1 are read, becomes a (1, 1) matrix."""
    matrix = np.atleast_2d(P)
    return np.asarray((matrix + matrix.T) / 2)


def lyapunov(systems: Any, rate: float | None = None, solver: AbstractSolver | None = None) -> ControlResult:
    """Prove that one V(x) = x'Px, P > 0, decreases along a system, or along each of a list of systems.

    A_i'P + P A_i + 2 rate P < 0 (continuous, rate >= 0, default 0) or A_i'P A_i < rate^2 P (discrete,
    0 < rate <= 1, default 1), for all i: exponential stability, under arbitrary switching too.
    Refuted: for one system an eigenvalue is proven outside (of Re z < -rate, |z| < rate); for several
    there is proven to be no such P (with the default rate only), which does not say that they are
    unstable. `solver` (None: `lmikit.solve`'s choice) serves several systems. Raises InputError.
    Source: Boyd et al., Linear Matrix Inequalities in System and Control Theory (1994), section 5.1.
    """
    members = [as_subject(s) for s in systems] if isinstance(systems, list) else [as_subject(systems)]
    discrete = family(members)[0].discrete
    rate = (1.0 if discrete else 0.0) if rate is None else float(rate)
    if not (0.0 < rate <= 1.0 if discrete else 0.0 <= rate < math.inf):
        raise InputError(f"rate is {rate!r}; expected {'0 < rate <= 1' if discrete else 'rate >= 0'}.")
    if len(members) == 1:
        region = disc(0.0, rate) if discrete else half_plane(rate)
        return _one(members[0], Lyapunov(rate), region)
    return _several(members, rate, solver)


def _one(system: Linear, claim: Lyapunov, region: Region) -> ControlResult:
    started, reasons = time.perf_counter(), list[str]()
    A = rounded(system).A
    if _inside(region, A):
        certificate = attempt(
            system, [(claim, {"P": lyapunov_matrix(A, claim.rate, system.discrete)})], reasons
        )
        if certificate is not None:
            return _decided("proven", certificate, started)
    return _outside(system, A, region, started, reasons)


def lyapunov_matrix(A: np.ndarray, rate: float, discrete: bool) -> np.ndarray:
    """P of the Lyapunov equation with a right-hand side of -I, in floating point."""
    eye = np.eye(A.shape[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
        if discrete:
            return symmetric_part(scipy.linalg.solve_discrete_lyapunov(A.T / rate, eye))
        return symmetric_part(scipy.linalg.solve_continuous_lyapunov((A + rate * eye).T, -eye))


def _inside(region: Region, A: np.ndarray) -> bool:
    values = np.linalg.eigvals(A) if A.size else np.zeros(0)
    return all(float(np.linalg.eigvalsh(region.matrix(z)).max()) < 0.0 for z in values.tolist())


def _decided(verdict: str, certificate: Any, started: float) -> ControlResult:
    return ControlResult(
        verdict, -math.inf, math.inf, certificate, math.nan, (), time.perf_counter() - started
    )


def _outside(
    system: Linear, A: np.ndarray, region: Region, started: float, reasons: list[str]
) -> ControlResult:
    """Prove that an eigenvalue lies outside, or say that neither side is proven."""
    certificate = attempt(system, _pole_proposals(A, region), reasons)
    if certificate is not None:
        return _decided("refuted", certificate, started)
    return undecided(reasons or ["an eigenvalue lies on the boundary, as far as floats tell."], started)


def _pole_proposals(A: np.ndarray, region: Region) -> Iterator[Proposal]:
    if not A.size:
        return
    values = np.linalg.eigvals(A)
    excess = [float(np.linalg.eigvalsh(region.matrix(z)).max()) for z in values.tolist()]
    worst = complex(values[int(np.argmax(excess))])
    if max(excess) <= 0.0:
        return
    q = np.linalg.eigh(region.matrix(worst))[1][:, -1]
    level, m = float((q.conj() @ region.L @ q).real), complex(q.conj() @ region.M @ q)
    B = level / 2 * np.eye(A.shape[0]) + m * A
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
        P = scipy.linalg.solve_continuous_lyapunov(B, -np.eye(A.shape[0], dtype=complex))
    if not np.isfinite(P).all():
        return
    P = (P + P.conj().T) / 2
    v = np.linalg.eigh(P)[1][:, 0]
    yield (
        PoleOutside(region.L, region.M),
        {
            "q": np.stack([q.real, q.imag])[:, :, None],
            "P_re": np.ascontiguousarray(P.real),
            "P_im": np.ascontiguousarray(P.imag),
            "v": np.stack([v.real, v.imag])[:, :, None],
        },
    )


def poles(system: Any, region: Region) -> ControlResult:
    """Prove that all eigenvalues of A lie in an LMI region, or that one does not.

    L (x) P + M (x) (A P) + M' (x) (P A') < 0 with P > 0. Undecided near the boundary and where A has nearly
    defective eigenvalues. Raises InputError.
    Source: Chilali and Gahinet, IEEE Trans. Automat. Control 41 (1996), Theorem 2.2.
    """
    started, reasons = time.perf_counter(), list[str]()
    subject = as_subject(system)
    if not isinstance(region, Region):
        raise InputError(
            f"region is a {type(region).__name__}; expected half_plane, disc, sector or a Region."
        )
    A = rounded(subject).A
    if _inside(region, A):
        certificate = attempt(subject, _region_proposals(A, region), reasons)
        if certificate is not None:
            return _decided("proven", certificate, started)
    return _outside(subject, A, region, started, reasons)


def _region_proposals(A: np.ndarray, region: Region) -> Iterator[Proposal]:
    """P = V V* with the eigenvectors V turns the inequality into that of every eigenvalue; else by an SDP."""
    claim = PolesInRegion(region.L, region.M)
    V = np.linalg.eig(A)[1] if A.size else np.zeros((0, 0))
    yield claim, {"P": symmetric_part((V @ V.conj().T).real)}
    n, k = A.shape[0], region.L.shape[0]
    problem = Problem()
    P, t = problem.symmetric(n, "P"), problem.scalar("t")
    AP = A @ P
    rows = [
        [
            float(region.L[i, j]) * P + float(region.M[i, j]) * AP + float(region.M[j, i]) * AP.T
            for j in range(k)
        ]
        for i in range(k)
    ]
    problem.add(block(rows) + t * np.eye(n * k) << 0)
    problem.add(P - t * np.eye(n) >> 0)
    problem.add(P.trace() == float(n))
    problem.maximise(t)
    solution = solve(problem.compile())
    if solution.y is not None:
        yield claim, {"P": symmetric_part(problem.read(solution)["P"])}


def _several(members: list[Linear], rate: float, solver: AbstractSolver | None) -> ControlResult:
    started, reasons = time.perf_counter(), list[str]()
    subject, discrete = tuple(members), members[0].discrete
    As = [rounded(s).A for s in members]
    certificate = attempt(subject, _common(As, rate, discrete, solver), reasons)
    if certificate is not None:
        return _decided("proven", certificate, started)
    if rate == (1.0 if discrete else 0.0):
        certificate = attempt(subject, _alternative(As, discrete, solver), reasons)
        if certificate is not None:
            return _decided("refuted", certificate, started)
    return undecided(reasons, started)


def _common(
    As: list[np.ndarray], rate: float, discrete: bool, solver: AbstractSolver | None
) -> Iterator[Proposal]:
    n = As[0].shape[0]
    problem = Problem()
    P, t = problem.symmetric(n, "P"), problem.scalar("t")
    problem.add(P - t * np.eye(n) >> 0)
    for A in As:
        change = A.T @ P @ A - rate**2 * P if discrete else A.T @ P + P @ A + 2.0 * rate * P
        problem.add(change + t * np.eye(n) << 0)
    problem.add(P.trace() == float(n))
    problem.maximise(t)
    solution = solve(problem.compile(), solver)
    if solution.y is not None:
        yield Lyapunov(rate), {"P": symmetric_part(problem.read(solution)["P"])}


def _alternative(As: list[np.ndarray], discrete: bool, solver: AbstractSolver | None) -> Iterator[Proposal]:
    n = As[0].shape[0]
    problem = Problem()
    X, t = [problem.symmetric(n) for _ in As], problem.scalar("t")
    total: Any = -t * np.eye(n)
    size: Any = 0.0
    for A, Xi in zip(As, X, strict=True):
        problem.add(Xi - 1e-7 * np.eye(n) >> 0)
        total = total + (A @ Xi @ A.T - Xi if discrete else A @ Xi + Xi @ A.T)
        size = size + Xi.trace()
    problem.add(total >> 0)
    problem.add(size == float(n))
    problem.maximise(t)
    solution = solve(problem.compile(), solver)
    if solution.y is not None:
        values = problem.read(solution)
        yield NoCommonLyapunov(), {"X": np.stack([symmetric_part(values[Xi]) for Xi in X])}
