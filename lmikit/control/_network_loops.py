"""A network in the loop: proposals for the gain and for regions of attraction, and what is proven."""

import dataclasses
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.optimize

from .._api import solve
from .._errors import InputError
from ..certificates.control import ControlCertificate, LoopGain, RegionOfAttraction
from ..certificates.control._arithmetic import Floats
from ..certificates.control._loops import Pairs, local_sectors, loop_maps, slopes_of
from ..certificates.control._sectors import enclose_equilibrium
from ..certificates.control._walk import reading_neurons
from ..lmi import Problem, block, diag
from ..proving import prove
from ..solvers import AbstractSolver
from ..systems import NetworkLoop
from ._result import AbstractResult, ControlResult, Proposal, attempt, undecided
from ._stability import symmetric_part

__all__ = ["AttractionResult", "loop_gain", "region_of_attraction"]

_SLACKS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
_NO_EQUILIBRIUM = (
    "no equilibrium is proven near the point found; it must not lie on the kink of an activation, such as "
    "ReLU at 0."
)


def _maps(loop: NetworkLoop, *, inputs: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    F, E, V = loop_maps(Floats(), loop, inputs=inputs)
    return F.mid, E.mid, V.mid


def _dissipation(
    problem: Problem, loop: NetworkLoop, F: np.ndarray, V: np.ndarray, slopes: Pairs
) -> tuple[Any, Any, Any]:
    """(change of x'P x + q, P, t): variables P and T = diag(t) of a problem."""
    n, N, size = loop.plant.states, V.shape[0], F.shape[1]
    P, t = problem.symmetric(n, "P"), problem.vector(N, "T") if N else None
    X, J = np.eye(n, size), np.eye(size)[n : n + N]
    total = F.T @ P @ F - X.T @ P @ X if loop.discrete else X.T @ P @ F + F.T @ P @ X
    if t is not None:
        alpha, beta = (np.concatenate([s[i] for s in slopes])[:, None] for i in (0, 1))
        low, high, T = J - alpha * V, beta * V - J, diag(t)
        total = total + low.T @ T @ high + high.T @ T @ low
    return total, P, t


def _read(problem: Problem, solution: Any, names: int) -> tuple[np.ndarray, np.ndarray]:
    values = problem.read(solution)
    T = np.maximum(np.reshape(values["T"], names), 0.0) if names else np.zeros(0)
    return symmetric_part(values["P"]), T


def loop_gain(loop: NetworkLoop, solver: AbstractSolver | None = None) -> ControlResult:
    """Prove |e - e'| <= upper |d - d'| in l2 (L2) for two trajectories of the loop from one initial state.

    From the slopes of the activations, for every bias. Undecided where the LMI has no solution, which
    does not say that the loop has no finite gain. `estimate` is the LMI's optimum. Raises InputError.
    Source: as for `lmikit.certificates.control.LoopGain`.
    """
    started, reasons = time.perf_counter(), list[str]()
    if not isinstance(loop, NetworkLoop):
        raise InputError(f"loop is a {type(loop).__name__}; expected a NetworkLoop.")
    if not (loop.wiring.free_inputs.size and loop.wiring.free_outputs.size):
        raise InputError(
            f"the loop has {loop.wiring.free_inputs.size} inputs and {loop.wiring.free_outputs.size} outputs "
            "left; expected at least one of each, whose gain it is. Add them to the plant."
        )
    estimate = _gain_estimate(loop, solver)
    if not math.isfinite(estimate):
        return undecided(["the LMI of the gain has no solution, says the solver."], started)
    certificate = attempt(loop, _gain_proposals(loop, estimate, solver), reasons)
    if certificate is None:
        return undecided(reasons, started, estimate)
    assert isinstance(certificate.claim, LoopGain)
    seconds = time.perf_counter() - started
    return ControlResult("proven", -math.inf, certificate.claim.gain, certificate, estimate, (), seconds)


def _gain_terms(problem: Problem, loop: NetworkLoop, square: Any) -> tuple[Any, Any, Any]:
    F, E, V = _maps(loop, inputs=True)
    total, P, t = _dissipation(problem, loop, F, V, slopes_of(loop))
    D = np.eye(F.shape[1])[F.shape[1] - loop.wiring.free_inputs.size :]
    return total + E.T @ E - square * (D.T @ D), P, t


def _gain_estimate(loop: NetworkLoop, solver: AbstractSolver | None) -> float:
    problem = Problem()
    square = problem.scalar("square")
    total, P, t = _gain_terms(problem, loop, square)
    problem.add(total << 0)
    problem.add(P >> 0)
    if t is not None:
        problem.add(t >= 0)
    problem.minimise(square)
    solution = solve(problem.compile(), solver)
    if solution.y is None or solution.status.name in ("INFEASIBLE", "UNBOUNDED", "FAILED"):
        return math.nan
    return math.sqrt(max(float(problem.read(solution)["square"]), 0.0))


def _gain_proposals(loop: NetworkLoop, estimate: float, solver: AbstractSolver | None) -> Iterator[Proposal]:
    """Points inside the LMI, a little above the optimum."""
    for slack in _SLACKS:
        gain = max(estimate * (1.0 + slack), 1e-12)
        problem = Problem()
        total, P, t = _gain_terms(problem, loop, gain**2)
        margin = problem.scalar("margin")
        problem.add(total + margin * np.eye(total.shape[0]) << 0)
        problem.add(P - margin * np.eye(P.shape[0]) >> 0)
        if t is not None:
            problem.add(t >= 0)
        problem.add(margin <= 1.0)
        problem.maximise(margin)
        solution = solve(problem.compile(), solver)
        if solution.y is not None:
            P_found, T = _read(problem, solution, loop.network.hidden_neurons)
            yield LoopGain(gain), {"P": P_found, "T": T}


@dataclasses.dataclass(frozen=True, eq=False)
class AttractionResult(AbstractResult):
    """Proven of a loop without inputs: {x : (x - x*)'P (x - x*) <= 1} is invariant and attracted to x*.

    verdict "proven" or "undecided" (an ellipsoid that is not found says nothing of the loop). The
    equilibrium x* lies within `radius` of `center`, entry by entry. `delta` bounds the distance of the
    preactivations' parts that are linear in x from those at x*; `volume` is that of the ellipsoid, in
    floating point. Truth-valued.
    """

    verdict: str
    P: np.ndarray | None
    center: np.ndarray
    radius: float
    delta: float
    volume: float
    certificate: ControlCertificate | None
    reasons: tuple[str, ...]
    seconds: float

    def boundary(self, points: int = 200) -> np.ndarray:
        """Points (points, 2) of the ellipse's boundary, for a loop with two states; for pictures."""
        if self.P is None or self.P.shape != (2, 2):
            raise InputError("boundary draws a proven ellipse of a loop with two states.")
        angle = np.linspace(0.0, 2.0 * np.pi, points)
        circle = np.stack([np.cos(angle), np.sin(angle)])
        return np.asarray(self.center + np.linalg.solve(np.linalg.cholesky(self.P).T, circle).T)

    def __str__(self) -> str:
        head = f"{self.verdict}, volume {self.volume:.6g}" if self else self.verdict
        return "\n  ".join((f"{head}: {self.claim}", *self.reasons))


def region_of_attraction(
    loop: NetworkLoop,
    delta: float | None = None,
    near: Any = None,
    solver: AbstractSolver | None = None,
) -> AttractionResult:
    """Prove an ellipsoid of states from which the loop, without inputs, converges to an equilibrium.

    The equilibrium is sought from `near` ((n,), default 0). Sectors of the activations hold where the first
    preactivations (and the parts of others that are linear in x, by skips) are within `delta` of those at the
    equilibrium; None searches for the delta whose
    ellipsoid is largest. For each delta the trace of P is made small. Raises InputError (activations without
    proven values, sizes). Source: Yin, Seiler and Arcak, IEEE Trans. Automat. Control 67 (2022), section III.
    """
    started = time.perf_counter()
    if not isinstance(loop, NetworkLoop):
        raise InputError(f"loop is a {type(loop).__name__}; expected a NetworkLoop.")
    if delta is not None and not 0.0 < delta < math.inf:
        raise InputError(f"delta is {delta!r}; expected a number > 0, or None.")
    if not loop.network.hidden_neurons:
        raise InputError("the network is linear; expected hidden layers. Use Feedback and lyapunov.")
    n = loop.plant.states
    start = np.zeros(n) if near is None else np.asarray(near, dtype=np.float64)
    if start.shape != (n,):
        raise InputError(f"near has shape {start.shape}; expected ({n},).")
    center, radius = _equilibrium(loop, start)
    if local_sectors(loop, center, radius, _all_reading(loop, 1e-3)) is None:
        return AttractionResult(
            "undecided", None, center, radius, math.nan, math.nan, None,
            (_NO_EQUILIBRIUM,), time.perf_counter() - started,
        )  # fmt: skip
    ellipsoids = _Ellipsoids(loop, center, radius, solver)
    best = ellipsoids.at(delta) if delta is not None else ellipsoids.largest()
    seconds = time.perf_counter() - started
    if best is None:
        if delta is not None:
            ellipsoids.explained()
        reasons = tuple(ellipsoids.reasons) or ("the LMI has no solution, says the solver.",)
        return AttractionResult("undecided", None, center, radius, math.nan, math.nan, None, reasons, seconds)
    certificate, used = best
    claim = certificate.claim
    assert isinstance(claim, RegionOfAttraction)
    return AttractionResult(
        "proven", claim.P, center, radius, used, _volume(claim.P), certificate, (), seconds
    )


def _all_reading(loop: NetworkLoop, delta: float) -> np.ndarray:
    """The same delta for every preactivation that reads the state."""
    return np.full(int(reading_neurons(loop.network).sum()), delta)


def _volume(P: np.ndarray) -> float:
    n = P.shape[0]
    return math.pi ** (n / 2) / math.gamma(n / 2 + 1) / math.sqrt(float(np.linalg.det(P)))


def _equilibrium(loop: NetworkLoop, start: np.ndarray) -> tuple[np.ndarray, float]:
    """A fixed point in floating point, and the least radius in which it is proven to exist."""

    def residual(x: np.ndarray) -> np.ndarray:
        return loop.field(x) - x if loop.discrete else loop.field(x)

    x = start
    if np.any(residual(start)):
        x = np.asarray(scipy.optimize.root(residual, start, tol=1e-14).x)
    radii = [float(f"{10.0**k:.0e}") * (1.0 + float(np.abs(x).max())) for k in range(-14, -6)]
    proven = (r for r in radii if enclose_equilibrium(loop, x, r) is not None)
    return x, next(proven, radii[-1])


@dataclasses.dataclass(eq=False)
class _Ellipsoids:
    """Proven ellipsoids for one delta after another."""

    loop: NetworkLoop
    center: np.ndarray
    radius: float
    solver: AbstractSolver | None
    reasons: list[str] = dataclasses.field(default_factory=list)
    last: Problem | None = None

    def explained(self) -> None:
        """Where an ellipsoid was asked for one delta: is the LMI proven to have no solution?"""
        if self.last is not None and prove(self.last, self.solver).status == "infeasible":
            self.reasons.append("the LMI for this delta is proven to have no solution")

    def at(self, delta: float) -> tuple[ControlCertificate, float] | None:
        certificate = attempt(self.loop, self._proposals(delta), self.reasons)
        return None if certificate is None else (certificate, delta)

    def largest(self) -> tuple[ControlCertificate, float] | None:
        """The delta with the largest proven ellipsoid: a grid, then golden steps between the neighbours."""
        found: dict[float, tuple[ControlCertificate, float] | None] = {}

        def volume(delta: float) -> float:
            found.setdefault(delta, self.at(delta))
            best = found[delta]
            claim = None if best is None else best[0].claim
            return _volume(claim.P) if isinstance(claim, RegionOfAttraction) else -1.0

        grid = [2.0**k for k in range(-5, 6)]
        values: list[float] = []
        for d in grid:  # beyond the largest ellipsoid wider sectors only cost
            values.append(volume(d))
            if values[-1] < max(values):
                break
        k = int(np.argmax(values))
        if values[k] < 0.0:
            return None
        low, high = grid[max(k - 1, 0)], grid[min(k + 1, len(values) - 1)]
        scipy.optimize.minimize_scalar(
            lambda d: -volume(float(d)), bounds=(low, high), method="bounded", options={"maxiter": 8}
        )
        return found[max(found, key=volume)]

    def _proposals(self, delta: float) -> Iterator[Proposal]:
        loop = self.loop
        deltas = _all_reading(loop, delta)
        slopes = local_sectors(loop, self.center, self.radius, deltas)
        if slopes is None:
            return
        F, _, V = _maps(loop, inputs=False)
        rows = V[reading_neurons(loop.network), : loop.plant.states]
        for margin in (1e-8, 1e-7, 1e-6, 1e-5):
            problem = Problem()
            total, P, t = _dissipation(problem, loop, F, V, slopes)
            problem.add(total << 0, margin=margin)
            problem.add(t >= 0)
            for row in rows:
                r = row[None, :]
                problem.add(block([[np.array([[delta**2]]), r], [r.T, P]]) >> 0, margin=margin)
            problem.minimise(P.trace())
            self.last = problem
            solution = solve(problem.compile(), self.solver)
            if solution.y is None or solution.status.name in ("INFEASIBLE", "UNBOUNDED"):
                return
            found, T = _read(problem, solution, loop.network.hidden_neurons)
            yield RegionOfAttraction(found, self.center, self.radius), {"T": T, "delta": deltas}
