"""The data of one solve: cones, equalities, objective, and the linear system of the search direction.

    [ M  A' ] [dy]   [r]
    [ A  0  ] [dv] = [s],      M = H + sum over the cones of F*(W'W)^-1 F

M is factored with a multiple of A'A added (the solution stays the same, and variables that only
equalities hold do not make it singular) and a small multiple of its diagonal; steps of refinement
remove what that costs.
"""

import math
from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from ..._arrays import array_module
from ...lmi import SDP
from .._equilibrate import Factors, times
from ._blocks import Parts
from ._cone import AbstractCone
from ._cones import Orthant, SecondOrder
from ._semidefinite import Semidefinite
from ._stack import Stack, stackable

__all__ = ["Normal", "Program"]

_REGULARISATION = 1e-15
_REFINEMENTS = 4
_ROUNDING = 3e-14
_RANK = 1e-11  # of a row of A that is independent of the others, relative


class Program:
    """minimise c'y + 1/2 y'H y, F_k(y) + F0_k in K_k, A y = b: a problem in scaled units, in arrays."""

    def __init__(self, sdp: SDP, f: Factors) -> None:
        self.parts = Parts.of(sdp)
        self.c = sdp.c * f.y
        self.H = None if sdp.H is None or not sdp.H.nnz else f.y[:, None] * sdp.H.toarray() * f.y
        self.equalities = sdp.b.size
        A, b = f.A[:, None] * sdp.A.toarray() * f.y, sdp.b * f.A
        self.independent, self.contradiction = _independent(A, b)
        self.A, self.b = A[self.independent], b[self.independent]
        self.cones: list[AbstractCone] = []
        psd = self.parts.psd
        stacks, self.alone = stackable(psd, self.c.size)
        self.stacks = [k for members in stacks for k in members]  # parts in the order of the stacks
        self.cones += [Semidefinite(psd[k].scaled(f), self.c.size) for k in self.alone]
        self.cones += [Stack([psd[k] for k in members], f) for members in stacks]
        self.orthant = bool(self.parts.f0.size)
        if self.orthant:
            scalars = np.array([f.rows[k][i] ** 2 for k, i in self.parts.scalars])
            rows = np.concatenate([f.G, scalars])
            self.cones.append(Orthant(sp.csr_array(times(self.parts.F, rows, f.y)), self.parts.f0 * rows))
        self.socs = [
            SecondOrder(times(soc.C, np.full(soc.d.size, e), f.y), e * soc.d)
            for e, soc in zip(f.socs, sdp.socs, strict=True)
            if soc.d.size
        ]
        self.cones += self.socs
        self.small = not self.alone
        self.degree = sum(cone.degree for cone in self.cones)

    def multipliers(self, Z: list) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
        """(one matrix per PSD part, of the orthant, one vector per second-order cone)."""
        X: list[np.ndarray] = [np.zeros((0, 0))] * len(self.parts.psd)
        alone, end = len(self.alone), len(Z) - len(self.socs)
        z = Z[end - 1] if self.orthant else np.zeros(0)
        stacked = [matrix for stack in Z[alone : end - self.orthant] for matrix in stack]
        for k, part in zip((*self.alone, *self.stacks), (*Z[:alone], *stacked), strict=True):
            X[k] = part
        return X, z, Z[end:]

    def adjoint(self, Z: list) -> np.ndarray:
        """sum_k F_k*(Z_k)."""
        total = np.zeros(self.c.size)
        for cone, part in zip(self.cones, Z, strict=True):
            total += cone.adjoint(part)
        return total

    def offset(self, Z: list, v: np.ndarray) -> float:
        """sum_k <F0_k, Z_k> + b'v."""
        return float(self.b @ v) + sum(
            float(np.vdot(cone.F0, part)) for cone, part in zip(self.cones, Z, strict=True)
        )

    def all_equalities(self, v: np.ndarray) -> np.ndarray:
        """The multipliers of all equalities from those of the independent ones."""
        result = np.zeros(self.equalities)
        result[self.independent] = v
        return result

    def lifted(self, v: np.ndarray) -> np.ndarray:
        """A'v."""
        return np.asarray(self.A.T @ v) if v.size else np.zeros(self.c.size)

    def curved(self, y: np.ndarray) -> np.ndarray:
        """H y."""
        return np.zeros(y.size) if self.H is None else np.asarray(self.H @ y)


def _independent(A: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows of A that span the others, and v with A'v = 0, b'v = -1 where A y = b contradicts itself."""
    if not A.shape[0]:
        return np.zeros(0, dtype=np.int64), None
    R, order = scipy.linalg.qr(A.T, mode="r", pivoting=True)
    diagonal = np.abs(np.diagonal(R))
    rank = int((diagonal > _RANK * diagonal[0]).sum()) if diagonal.size and diagonal[0] > 0 else 0
    keep, rest = np.sort(order[:rank]), order[rank:]
    if not rest.size:
        return keep, None
    weights = scipy.linalg.lstsq(A[keep].T, A[rest].T)[0] if rank else np.zeros((0, rest.size))
    left = b[rest] - weights.T @ b[keep]
    size = np.abs(b[rest]) + np.abs(weights).T @ np.abs(b[keep])
    wrong = np.flatnonzero(np.abs(left) > 1e-9 * size)
    if not wrong.size:
        return keep, None
    v = np.zeros(b.size)
    v[keep], v[rest[wrong[0]]] = -weights[:, wrong[0]], 1.0
    return keep, v / -left[wrong[0]]


class Normal:
    """The factored system for the present scaling of the cones."""

    def __init__(self, program: Program, check: Callable[[], None]) -> None:
        self.A = program.A
        m = program.c.size
        M = np.zeros((m, m)) if program.H is None else program.H.copy()
        for cone in program.cones:
            cone.add_schur(M)
            check()
        self.M = M
        scale = float(np.abs(M.diagonal()).max(initial=0.0)) or 1.0
        self.rho = scale if self.b_size else 0.0
        self.factored = self._factor(scale)

    @property
    def b_size(self) -> int:
        return int(self.A.shape[0])

    def _factor(self, scale: float) -> bool:
        am = array_module()
        K = self.M + self.rho * (self.A.T @ self.A) if self.b_size else self.M
        diagonal = np.maximum(K.diagonal(), 1e-3 * _REGULARISATION * scale)
        shift = _REGULARISATION
        for _ in range(8):
            shifted = K.copy()
            shifted[np.diag_indices_from(shifted)] += shift * diagonal
            self.L = am.cholesky(shifted)
            if self.L is not None:
                break
            shift *= 30.0
        else:
            return False
        if self.b_size:
            B = am.solve_triangular(self.L, np.ascontiguousarray(self.A.T))
            small = am.product(np.ascontiguousarray(B.T), B)
            small[np.diag_indices_from(small)] *= 1.0 + 1e-14
            small[np.diag_indices_from(small)] += 1e-14 * float(small.diagonal().max(initial=0.0))
            self.small = am.cholesky(small)
            return self.small is not None
        return True

    def once(self, r: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """dy, dv by the factors at hand, without refinement."""
        am = array_module()
        if not self.b_size:
            return am.cholesky_solve(self.L, r), s
        r = r + self.rho * (self.A.T @ s)
        free = am.cholesky_solve(self.L, r)
        dv = am.cholesky_solve(self.small, self.A @ free - s)
        return free - am.cholesky_solve(self.L, self.A.T @ dv), dv

    def solve(self, r: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """dy, dv."""
        dy, dv = self.once(r, s)
        left, low, best = self._left(r, s, dy, dv)
        for _ in range(_REFINEMENTS):
            if best <= self.goal(r, s):
                break
            more, again = self.once(left, low)
            trial = dy + more, dv + again
            left, low, error = self._left(r, s, *trial)
            if error < best:
                dy, dv = trial
            if not error < 0.5 * best:
                break
            best = error
        return dy, dv

    def goal(self, r: np.ndarray, s: np.ndarray) -> float:
        """A residual that rounding alone leaves."""
        return _ROUNDING * (_length(r) + _length(s))

    def _left(
        self, r: np.ndarray, s: np.ndarray, dy: np.ndarray, dv: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float]:
        left = r - self.M @ dy
        if not self.b_size:
            return left, s, _length(left)
        left, low = left - self.A.T @ dv, s - self.A @ dy
        return left, low, _length(left) + _length(low)


def _length(x: np.ndarray) -> float:
    return math.sqrt(float(x @ x))
