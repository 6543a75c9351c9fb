"""Small LMIs in dense arithmetic, from a strictly feasible point: the same method without its bookkeeping.

    minimise c'y  s.t.  S(y) = F0 + sum_a (E y)_a sym(p_a q_a') PSD,  s = h - G y >= 0.

Mehrotra's predictor-corrector on the HKM direction (sources in `_interior_point`). With V = (P, Q) the Schur
complement needs V'XV and V'RV only, R = S^-1: for a few dozen rows the kernels then cost as much as the
interpreter, and levels, sparse formats and searches for step lengths would cost more than both.
"""

import dataclasses
import math
import time
from typing import Any

import numpy as np

from ..._arrays import ArrayModule
from ..._progress import Progress
from ...lmi import SDP, Dual, Solution, Status
from ._interior_point import INTERRUPTED, InteriorLimits

__all__ = ["is_small", "solve_small"]

_LARGEST = 160  # rows: beyond it levels pay
_MOST_TERMS = 200
_MOST_ITERATIONS = 40  # what needs more is left to the general method
_RETREATS = (0.0, 0.5, 0.9, 0.99)  # of the variables that pay for the objective
_NEAR = 0.95  # of the way to the boundary
_CORRECTIONS = 2  # second-order corrections per factorisation, while they lengthen the step
_LONG = 0.85  # steps that need no further correction
_SHRINK = 0.9  # between two tries of a step length
_SHORTEST = 1e-3
_LEAST_TOL = 1e-9


@dataclasses.dataclass
class _Program:
    """The problem in dense arrays, E y = w the weights of the terms."""

    am: ArrayModule
    c: np.ndarray
    F0: np.ndarray
    P: np.ndarray
    Q: np.ndarray
    V: np.ndarray  # (P, Q)
    E: np.ndarray
    G: np.ndarray
    h: np.ndarray

    @classmethod
    def of(cls, am: ArrayModule, sdp: SDP) -> "_Program":
        lmi = next(lmi for lmi in sdp.lmis if lmi.size)
        P, Q = lmi.P.toarray(), lmi.Q.toarray()
        V = np.hstack([P, Q])
        return cls(am, sdp.c, lmi.F0.toarray(), P, Q, V, lmi.E.toarray(), sdp.G.toarray(), sdp.h)

    @property
    def degree(self) -> int:
        return int(self.F0.shape[0] + self.h.size)

    def linear(self, y: np.ndarray) -> np.ndarray:
        """S(y) - F0."""
        half = self.am.product(self.P * (self.E @ y), self.Q.T)
        return 0.5 * (half + half.T)

    def adjoint(self, A: np.ndarray) -> np.ndarray:
        """d<A, S(y)>/dy for symmetric A."""
        return np.asarray(((self.P * self.am.product(A, self.Q)).sum(axis=0)) @ self.E)

    def gram(self, A: np.ndarray) -> np.ndarray:
        """V'AV."""
        return np.asarray(self.am.product(self.V.T, self.am.product(A, self.V)))

    def schur(self, X: np.ndarray, R: np.ndarray, z_over_s: np.ndarray) -> np.ndarray:
        """<A_i, sym(X A_j R)> + G'diag(z/s)G, A_i the matrix of variable i."""
        r = self.P.shape[1]
        x, i = self.gram(X), self.gram(R)
        H = x[:r, :r] * i[r:, r:] + x[r:, r:] * i[:r, :r]
        cross = x[:r, r:] * i[r:, :r]  # (p_a'X q_b)(q_a'R p_b)
        H = 0.25 * (H + cross + cross.T)
        M = self.am.product(self.E.T, self.am.product(H, self.E))
        return np.asarray(M + (self.G.T * z_over_s) @ self.G if self.h.size else M)


@dataclasses.dataclass
class _Iterate:
    y: np.ndarray
    S: np.ndarray
    L: np.ndarray  # factor of S
    s: np.ndarray
    X: np.ndarray
    z: np.ndarray


@dataclasses.dataclass
class _Direction:
    y: np.ndarray
    S: np.ndarray
    s: np.ndarray
    X: np.ndarray
    z: np.ndarray


def solve_small(
    am: ArrayModule, sdp: SDP, warm_start: np.ndarray | None, limits: InteriorLimits
) -> Solution | None:
    """The solution; None where the problem is not small, has no feasible start, or stops short of one."""
    if warm_start is None or not is_small(sdp) or limits.tol < _LEAST_TOL:
        return None
    program = _Program.of(am, sdp)
    start = _start(program, warm_start)
    return None if start is None else _SmallRun(program, sdp, start, limits).run()


def is_small(sdp: SDP) -> bool:
    """Whether dense arithmetic is the cheaper one."""
    sizes = [(lmi.size, lmi.P.shape[1]) for lmi in sdp.lmis if lmi.size]
    return len(sizes) == 1 and sizes[0][0] <= _LARGEST and max(sizes[0][1], sdp.variables) <= _MOST_TERMS


def _start(program: _Program, y: np.ndarray) -> _Iterate | None:
    """The point with what pays for the objective drawn back as far as feasibility takes; X = mu S^-1."""
    if not np.isfinite(y).all():
        return None
    paying = program.c * y < 0
    for back in _RETREATS:
        at = np.where(paying, (1.0 - back) * y, y)
        S, s = program.F0 + program.linear(at), program.h - program.G @ at
        L = program.am.cholesky(S)
        if L is None or not (s > 0).all():
            continue
        mu = float(np.abs(program.c * at).sum())
        if not (mu > 0.0 and math.isfinite(mu)):
            return None
        return _Iterate(at, S, L, s, mu * program.am.inverse_from_cholesky(L), mu / s)
    return None


class _SmallRun:
    def __init__(self, program: _Program, sdp: SDP, start: _Iterate, limits: InteriorLimits) -> None:
        self.program, self.sdp, self.at, self.limits = program, sdp, start, limits
        self.value = float(program.c @ start.y)
        self.bound = -math.inf
        self.iteration = 0
        self.unmet = 1.0  # what is left of the first residual of the multipliers' equations

    def run(self) -> Solution | None:
        try:
            while self.iteration <= _MOST_ITERATIONS:
                gap = self._measured()
                if gap <= self.limits.tol:
                    return self._solution(Status.SOLVED, f"relative gap {max(gap, 0.0):.1e}")
                if time.perf_counter() >= self.limits.deadline:
                    return self._solution(Status.LIMIT, "time limit")
                if self.iteration >= self.limits.iterations:
                    return self._solution(Status.LIMIT, "iteration limit")
                if not self._step():
                    return None
                self.iteration += 1
        except KeyboardInterrupt:
            return self._solution(Status.LIMIT, INTERRUPTED)
        return None

    def _measured(self) -> float:
        """The relative gap; the dual objective is held back by what its residual may be worth."""
        program, at = self.program, self.at
        self.value = float(program.c @ at.y)
        residual = program.c - program.adjoint(at.X) + at.z @ program.G
        dual = -float((at.X * program.F0).sum()) - float(at.z @ program.h)
        doubt = float(np.abs(residual * at.y).sum())
        scale = max(abs(self.value), abs(dual), float(np.abs(program.c * at.y).sum()))
        if doubt <= 1e-3 * scale and self.unmet <= 1e-2:
            self.bound = max(self.bound, min(self.value, dual - 2.0 * doubt))
        if self.limits.progress is not None:
            seconds = time.perf_counter() - self.limits.started
            total = self.limits.iterations
            step = Progress("interior point", self.iteration, total, self.value, self.bound, seconds)
            self.limits.progress(step)
        return (self.value - self.bound) / scale if scale > 0.0 else math.inf

    def _step(self) -> bool:
        """One predictor and one corrector; False where it leads nowhere."""
        program, am, at = self.program, self.program.am, self.at
        R = am.inverse_from_cholesky(at.L)
        factor = am.cholesky(program.schur(at.X, R, at.z / at.s))
        if factor is None:
            return False
        barrier = program.adjoint(R) - (1.0 / at.s) @ program.G
        mu = (float((at.X * at.S).sum()) + float(at.z @ at.s)) / program.degree
        affine = self._direction(factor, R, barrier, 0.0, None)
        ahead, above = self._lengths(affine)
        left = self._complementarity(affine, min(ahead, 1.0), min(above, 1.0)) / program.degree / mu
        sigma = min(1.0, max(left, 1e-3) ** 2)
        if min(ahead, above) < 0.1:
            sigma = max(sigma, 0.3)
        best, lengths = affine, (0.0, 0.0)
        for _ in range(_CORRECTIONS):
            step = self._direction(factor, R, barrier, max(sigma, 1e-4) * mu, best)
            found = self._lengths(step)
            if min(1.0, found[0]) * min(1.0, found[1]) <= min(1.0, lengths[0]) * min(1.0, lengths[1]):
                break
            best, lengths = step, found
            if min(found) >= _LONG:
                break
        ahead, above = (min(1.0, _NEAR * length) for length in lengths)
        return min(ahead, above) >= _SHORTEST and self._moved(best, ahead, above)

    def _direction(
        self, factor: Any, R: np.ndarray, barrier: np.ndarray, mu: float, before: _Direction | None
    ) -> _Direction:
        """The solution of the linearised conditions X S = mu I, with the second-order term of `before`."""
        program, am, at = self.program, self.program.am, self.at
        right, second, second_z = mu * barrier - program.c, 0.0, 0.0
        if before is not None:
            half = am.product(am.product(before.X, before.S), R)
            second, second_z = 0.5 * (half + half.T), before.z * before.s / at.s
            right = right - program.adjoint(second) + second_z @ program.G
        y = am.cholesky_solve(factor, right)
        S, s = program.linear(y), -(program.G @ y)
        half = am.product(am.product(at.X, S), R)
        X = mu * R - at.X - 0.5 * (half + half.T) - second
        z = mu / at.s - at.z - at.z / at.s * s - second_z
        return _Direction(y, S, s, X, z)

    def _lengths(self, d: _Direction) -> tuple[float, float]:
        """How far (multipliers, point) can be moved, from below within a factor; at most 1 / _NEAR."""
        at = self.at
        return self._length(at.X, d.X, at.z, d.z), self._length(at.S, d.S, at.s, d.s)

    def _length(self, A: np.ndarray, dA: np.ndarray, a: np.ndarray, da: np.ndarray) -> float:
        t = 1.0 / _NEAR
        falling = da < 0.0
        if falling.any():
            t = min(t, float((-a[falling] / da[falling]).min()))
        while t > _SHORTEST and self.program.am.cholesky(A + t * dA) is None:
            t *= _SHRINK
        return t

    def _complementarity(self, d: _Direction, ahead: float, above: float) -> float:
        at = self.at
        value = float(((at.X + ahead * d.X) * (at.S + above * d.S)).sum())
        return value + float((at.z + ahead * d.z) @ (at.s + above * d.s))

    def _moved(self, d: _Direction, ahead: float, above: float) -> bool:
        program, at = self.program, self.at
        y = at.y + above * d.y
        S, s = program.F0 + program.linear(y), program.h - program.G @ y
        L = program.am.cholesky(S)
        if L is None or not (s > 0.0).all():
            return False
        self.at = _Iterate(y, S, L, s, at.X + ahead * d.X, at.z + ahead * d.z)
        self.unmet *= 1.0 - ahead
        return True

    def _solution(self, status: Status, reason: str) -> Solution:
        X = (self.at.X if lmi.size else np.zeros((0, 0)) for lmi in self.sdp.lmis)
        return Solution(
            status=status,
            y=self.at.y,
            dual=Dual(X=tuple(X), z=self.at.z),
            objective=self.sdp.objective(self.at.y),
            bound_on_optimum=self.bound,
            seconds=time.perf_counter() - self.limits.started,
            iterations=self.iteration,
            solver="LowRank",
            native_status=reason,
        )
