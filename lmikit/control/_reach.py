"""Reach sets: multipliers for one facet after another, and the sets that are proven with them."""

import dataclasses
import itertools
import math
import time
from typing import Any

import numpy as np

from .._api import solve
from .._convert import floats
from .._errors import InputError, NotCertified
from ..certificates.control import ControlCertificate, ReachSets, verify_control
from ..certificates.control._arithmetic import Floats
from ..certificates.control._reach import (
    ReachStep,
    multiplier_shapes,
    preactivation_bounds,
    reach_network,
)
from ..certificates.control._reach_terms import PAIRS, NeuronFacts
from ..claims import Box
from ..lmi import Problem, block, det_rootn, diag
from ..network import Network
from ..solvers import AbstractSolver, Clarabel
from ..systems import NetworkLoop, StateSet
from ._result import AbstractResult

__all__ = ["ReachResult", "reach_sets"]

_MARGINS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4)  # of the scaled matrix
_WIDER = 1e-9  # of the preactivations' bounds, so that another summation order proves them too
_LARGEST_NETWORK = 100  # hidden neurons; a facet takes seconds at 40, minutes at 100
_LARGEST = 1e4  # sum of the scaled multipliers
_MOST = 700  # products of neurons, and couplings, up to which all of them are used
_FEW = frozenset((0, g) for g in range(1, 11)) | {(1, 2), (3, 4), (5, 6), (5, 10), (6, 10), (7, 10)}


@dataclasses.dataclass(frozen=True, eq=False)
class ReachResult(AbstractResult):
    """Proven sets: `sets[k]` holds the state after k steps, or `sets[1]` the outputs of a network.

    verdict "proven" or "undecided" (no sets beyond the start were proven). `certificate` proves all of
    them at once for `lmikit.check(path, subject)`. Truth-valued.
    """

    verdict: str
    sets: tuple[StateSet, ...]
    certificate: ControlCertificate | None
    reasons: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        return "\n  ".join((f"{self.verdict}: {self.claim}", *self.reasons))


def reach_sets(
    subject: Network | NetworkLoop,
    start: StateSet | Box,
    steps: int = 1,
    rows: Any = None,
    ellipsoids: bool = False,
    solver: AbstractSolver | None = None,
) -> ReachResult:
    """Prove sets in which the states of a loop lie after 1, ..., `steps` steps, or the outputs of a network.

    Every set is a box, cut by `rows` y <= offsets with the least offsets found, rows (p, n), and with
    `ellipsoids` by one of small volume; each follows from the set before it. Discrete time, without
    inputs. Seconds per facet at 40 neurons. Raises InputError (sizes, more than 100 hidden neurons,
    continuous time, activations without proven values).
    Source: as for `lmikit.certificates.control.ReachSets`.
    """
    started = time.perf_counter()
    network = reach_network(subject)
    first = StateSet(start.lower, start.upper) if isinstance(start, Box) else start
    if not isinstance(first, StateSet):
        raise InputError(f"start is a {type(start).__name__}; expected a StateSet or a Box.")
    loop = isinstance(subject, NetworkLoop)
    given, n = network.input_dim, network.output_dim
    if isinstance(subject, NetworkLoop):
        given = n = subject.plant.states
    if first.dim != given or steps < 1 or (steps > 1 and not loop):
        raise InputError(
            f"start has dimension {first.dim} and steps is {steps}; expected {given}, and "
            + ("steps >= 1." if loop else "one step for a network.")
        )
    if network.hidden_neurons > _LARGEST_NETWORK:
        raise InputError(
            f"the network has {network.hidden_neurons} hidden neurons; expected at most {_LARGEST_NETWORK}: "
            "every facet is a semidefinite program of that order. lmikit.certify_point bounds rows of larger "
            "networks on boxes."
        )
    directions = floats("rows", np.zeros((0, n)) if rows is None else rows)
    if directions.ndim != 2 or directions.shape[1] != n:
        raise InputError(f"rows has shape {directions.shape}; expected (p, {n}).")
    sets, found = [first], []
    for k in range(steps):
        step = _Step(subject, sets[-1], solver or Clarabel(chordal=False))
        goal = step.set(directions, ellipsoids)
        if goal is None:
            why = f"step {k + 1}: no multipliers are found for {step.failed}."
            return ReachResult("undecided", (first,), None, (why,), time.perf_counter() - started)
        sets.append(goal)
        found.append(step)
    try:
        certificate = verify_control(ReachSets.of(tuple(sets)), subject, _witness(found))
    except NotCertified as error:
        seconds = time.perf_counter() - started
        return ReachResult("undecided", (first,), None, (str(error),), seconds)
    return ReachResult("proven", tuple(sets), certificate, (), time.perf_counter() - started)


def _witness(steps: list["_Step"]) -> dict[str, np.ndarray]:
    bounds = {name: np.stack([getattr(s.facts, name) for s in steps]) for name in ("lower", "upper")}
    for place, mine in (("first", steps[:1]), ("later", steps[1:])):
        for name in steps[0].shapes:
            parts = [np.stack([facet[name] for facet in s.facets]) for s in mine]
            bounds[f"{place} {name}"] = np.stack(parts) if parts else np.zeros(0)
    return bounds


class _Step:
    """The facets of the next set, found one after another, with their multipliers."""

    def __init__(
        self, subject: Network | NetworkLoop, given: StateSet, solver: AbstractSolver | None
    ) -> None:
        low, high = preactivation_bounds(subject, given)
        room = _WIDER * (1e-3 + np.maximum(np.abs(low), np.abs(high)))
        self.facts = NeuronFacts(reach_network(subject), low - room, high + room)
        self.solver = solver
        self.proof = ReachStep(Floats(), subject, given, self.facts)
        self.V, self.Y = self.proof.V.mid, self.proof.Y.mid
        self.shapes = multiplier_shapes(given, self.facts)
        self.facets: list[dict[str, np.ndarray]] = []
        self.failed = ""
        self.scale = self._scaling()
        self.left, self.right, self.places = self._products()

    def _scaling(self) -> np.ndarray:
        """S with z = S (a vector of entries in about [-1, 1]; 1)."""
        given, n = self.proof.given, self.proof.given.dim
        facets = self.facts.facets  # 3 and 4 bound w
        low, high = -facets[2, 3], facets[2, 4]
        low, high = np.concatenate([given.lower, low]), np.concatenate([given.upper, high])
        size = n + self.facts.lower.size + 1
        S = np.eye(size)
        half = 0.5 * (high - low)
        S[np.arange(size - 1), np.arange(size - 1)] = np.where(half > 1e-12, half, 1.0)
        S[:-1, -1] = 0.5 * (low + high)
        return S

    def _products(self) -> tuple[np.ndarray, np.ndarray, list[tuple[str, tuple[int, ...]]]]:
        """Rows a, b of affine functions of the scaled z with a b >= 0, and the multiplier of each pair."""
        given, n = self.proof.given, self.proof.given.dim
        size, N = self.scale.shape[0], self.facts.lower.size
        domain = np.zeros((self.shapes["domain"][0], size))
        domain[0, -1] = 1.0
        domain[1:, :n] = np.vstack([np.eye(n), -np.eye(n), -given.rows])
        domain[1:, -1] = np.concatenate([-given.lower, given.upper, given.offsets])
        left, right, places = [], [], list[tuple[str, tuple[int, ...]]]()

        def add(name: str, index: tuple[int, ...], a: np.ndarray, b: np.ndarray) -> None:
            left.append(a)
            right.append(b)
            places.append((name, index))

        for i, j in itertools.combinations(range(len(domain)), 2):
            if len(domain) <= 24 or i == 0 or j - i == n or i > 2 * n:
                add("domain", (i, j), domain[i], domain[j])
        one, J = np.eye(size)[-1], np.eye(size)[n : n + N]
        v, w, c = self.facts.facets
        lines = v[:, :, None] * self.V + w[:, :, None] * J + c[:, :, None] * one  # (FACETS, N, size)
        every = len(PAIRS) * N <= _MOST
        for k, (g, h) in enumerate(PAIRS):
            if every or (g, h) in _FEW:
                for i in range(N):
                    add("neurons", (k, i), lines[g, i], lines[h, i])
        a, b, usable = self.facts.sectors
        for i in np.flatnonzero(usable).tolist():
            add("sector", (i,), J[i] - a[i] * self.V[i], b[i] * self.V[i] - J[i])
        first, second, a, b = self.facts.couplings
        if first.size <= _MOST:
            for k, (p, q) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
                dv, dw = self.V[p] - self.V[q], J[p] - J[q]
                add("coupling", (k,), dw - a[k] * dv, b[k] * dv - dw)
        A, B = np.array(left) @ self.scale, np.array(right) @ self.scale
        sizes = np.sqrt(np.abs(A).max(axis=1)), np.sqrt(np.abs(B).max(axis=1))
        self.weights = np.maximum(sizes[0] * sizes[1], 1e-150) ** 2  # products of unit size for the solver
        return A, B, places

    def _facts(self, problem: Problem) -> Any:
        """The sum of all facts with variable multipliers, of the scaled z."""
        theta = problem.vector(len(self.places), "theta")
        problem.add(theta >= 0)
        problem.add(np.ones(len(self.places)) @ theta <= _LARGEST)  # opposite facts could grow together
        half = self.left.T @ diag(theta) @ (self.right * (0.5 / self.weights)[:, None])
        total = half + half.T
        given, n = self.proof.given, self.proof.given.dim
        if given.round:
            ball = problem.scalar("ball")
            problem.add(ball >= 0)
            size = self.scale.shape[0]
            curve = np.hstack([given.shape, np.zeros((n, size - n - 1)), -given.shift[:, None]]) @ self.scale
            one = np.eye(size)[[-1]]
            total = total + ball * (one.T @ one - curve.T @ curve)
        return total

    def _read(self, values: Any) -> dict[str, np.ndarray]:
        found = {name: np.zeros(shape) for name, shape in self.shapes.items()}
        theta = np.maximum(np.ravel(values["theta"]), 0.0) / self.weights
        for (name, index), value in zip(self.places, theta.tolist(), strict=True):
            if name == "domain":
                found[name][index] = found[name][index[::-1]] = 0.5 * value
            else:
                found[name][index] = value
        if self.proof.given.round:
            found["ball"] = np.array(max(float(values["ball"]), 0.0))
        return found

    def half_space(self, row: np.ndarray) -> float | None:
        """The least offset that is proven for row y <= offset; its multipliers are kept."""
        line = row @ self.Y @ self.scale
        one = np.eye(line.size)[[-1]]
        unit = max(float(np.abs(line[:-1]).sum()), 1e-300)
        for margin in _MARGINS:
            problem = Problem()
            offset = problem.scalar("offset")  # from the value at the middle, in units of the range
            line_only = line.copy()
            line_only[-1] = 0.0
            cross = 0.5 / unit * one.T @ line_only[None, :]
            left = offset * (one.T @ one) - (cross + cross.T)
            problem.add(left - self._facts(problem) >> 0, margin=margin)
            problem.minimise(offset)
            solution = solve(problem.compile(), self.solver)
            if solution.y is None or solution.status.name in ("INFEASIBLE", "UNBOUNDED", "FAILED"):
                continue
            values = problem.read(solution)
            found = float(line[-1]) + unit * float(values["offset"])
            mine = {name: unit * array for name, array in self._read(values).items()}
            if self._holds(self.proof.half_space(row, found), mine):
                self.facets.append(mine)
                return found
        return None

    def _holds(self, left: Any, mine: dict[str, np.ndarray]) -> bool:
        with np.errstate(all="ignore"):
            return Floats().definite(left - self.proof.facts_matrix(mine, ()))

    def ellipsoid(self, box: StateSet) -> tuple[np.ndarray, np.ndarray] | None:
        """(shape, shift) of one with a small volume."""
        half = np.maximum(0.5 * (box.upper - box.lower), 1e-12)
        middle = 0.5 * (box.lower + box.upper)
        one, n = np.eye(self.scale.shape[0])[[-1]], box.dim
        y = (self.Y @ self.scale - middle[:, None] @ one) / half[:, None]
        for margin in _MARGINS:
            problem = Problem()
            shape, shift = problem.symmetric(n, "shape"), problem.matrix(n, 1, "shift")
            curve = shape @ y - shift @ one
            facts = self._facts(problem)
            problem.add(block([[one.T @ one - facts, curve.T], [curve, np.eye(n)]]) >> 0, margin=margin)
            problem.maximise(det_rootn(shape))
            solution = solve(problem.compile(), self.solver)
            if solution.y is None or solution.status.name in ("INFEASIBLE", "UNBOUNDED", "FAILED"):
                continue
            values = problem.read(solution)
            Q = np.reshape(values["shape"], (n, n)) / half
            b = np.ravel(values["shift"]) + Q @ middle
            mine = self._read(values)
            if self._holds(self.proof.ellipsoid(Q, b), mine):
                self.facets.append(mine)
                return Q, b
        return None

    def set(self, rows: np.ndarray, ellipsoid: bool) -> StateSet | None:
        """The next set; None where a facet is not proven, which `failed` names."""
        n = self.Y.shape[0]
        offsets = []
        for i, row in enumerate(np.vstack([-np.eye(n), np.eye(n), rows])):
            found = self.half_space(row)
            if found is None or not math.isfinite(found):
                self.failed = f"facet {i}"
                return None
            offsets.append(found)
        values = np.array(offsets)
        lower, upper = -values[:n], values[n : 2 * n]
        box = StateSet(np.minimum(lower, upper), upper, rows, values[2 * n :])
        if not ellipsoid:
            self.facets.append({name: np.zeros(shape) for name, shape in self.shapes.items()})
            return box
        curve = self.ellipsoid(box)
        if curve is None:
            self.failed = "the ellipsoid"
            return None
        return dataclasses.replace(box, shape=curve[0], shift=curve[1])
