"""The data of one solve: cones, equalities, objective, and the linear system of the search direction.

    [ M  A' ] [dy]   [r]
    [ A  0  ] [dv] = [s],      M = H + sum over the cones of F*(W'W)^-1 F

M is factored with a multiple of A'A added (the solution stays the same, and variables that only
equalities hold do not make it singular) and a small multiple of its diagonal; steps of refinement
remove what that costs.
"""

from collections.abc import Callable

import numpy as np
import scipy.linalg

from ..._arrays import array_module
from ...lmi import SDP
from ._blocks import Parts
from ._cone import AbstractCone
from ._cones import Orthant, SecondOrder
from ._semidefinite import Semidefinite

__all__ = ["Normal", "Program"]

_REGULARISATION = 1e-15
_REFINEMENTS = 4
_RANK = 1e-11  # of a row of A that is independent of the others, relative


class Program:
    """minimise c'y + 1/2 y'H y, F_k(y) + F0_k in K_k, A y = b."""

    def __init__(self, sdp: SDP) -> None:
        self.parts = Parts.of(sdp)
        self.c = np.asarray(sdp.c)
        self.H = None if sdp.H is None or not sdp.H.nnz else sdp.H.toarray()
        self.equalities = sdp.b.size
        A, b = sdp.A.toarray(), np.asarray(sdp.b)
        self.independent, self.contradiction = _independent(A, b)
        self.A, self.b = A[self.independent], b[self.independent]
        self.cones: list[AbstractCone] = []
        for part in self.parts.psd:
            self.cones.append(Semidefinite(part, self.c.size))
        self.orthant = Orthant(self.parts.F, self.parts.f0)
        self.cones.append(self.orthant)
        self.socs = [SecondOrder(soc.C, soc.d) for soc in sdp.socs if soc.d.size]
        self.cones += self.socs
        self.degree = sum(cone.degree for cone in self.cones)

    def adjoint(self, Z: list) -> np.ndarray:
        """sum_k F_k*(Z_k)."""
        return sum(
            (cone.adjoint(part) for cone, part in zip(self.cones, Z, strict=True)), np.zeros(self.c.size)
        )

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

    def _once(self, r: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        am = array_module()
        if not self.b_size:
            return am.cholesky_solve(self.L, r), s
        r = r + self.rho * (self.A.T @ s)
        free = am.cholesky_solve(self.L, r)
        dv = am.cholesky_solve(self.small, self.A @ free - s)
        return free - am.cholesky_solve(self.L, self.A.T @ dv), dv

    def solve(self, r: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """dy, dv."""
        dy, dv = self._once(r, s)
        best = self._error(r, s, dy, dv)
        for _ in range(_REFINEMENTS):
            left, low = r - self.M @ dy - self.A.T @ dv, s - self.A @ dy
            more, again = self._once(left, low)
            trial = dy + more, dv + again
            error = self._error(r, s, *trial)
            if not error < 0.5 * best:
                if error < best:
                    dy, dv = trial
                break
            (dy, dv), best = trial, error
        return dy, dv

    def _error(self, r: np.ndarray, s: np.ndarray, dy: np.ndarray, dv: np.ndarray) -> float:
        return float(np.linalg.norm(r - self.M @ dy - self.A.T @ dv) + np.linalg.norm(s - self.A @ dy))
