"""HKM search directions: one factorisation of the Schur complement serves several right-hand sides."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from ..._errors import SolveFailed
from ._chain import AbstractLevelBlocks, LevelBlocks, Markov, complete
from ._compile import Compiled
from ._iterative import IterativeSchur
from ._sandwich import Products, gains_of_inverse, sandwich
from ._schur import add_inequalities, schur_complement
from ._state import DualPoint, PrimalPoint

__all__ = ["Direction", "Iterate", "SchurFactor"]

_Moved = tuple[Any, Sequence[AbstractLevelBlocks], Any, list[LevelBlocks]]
Context = contextlib.AbstractContextManager[None]

_REFINEMENTS = 3
_RIDGES = (0.0, 1e-15, 1e-13, 1e-11, 1e-9, 1e-7)


class SchurFactor:
    """The Cholesky factor of O = E'S E + G'diag(z/s)G, scaled to a unit diagonal, in one m x m array."""

    def __init__(
        self,
        problem: Compiled,
        threads: Callable[[], Context] = contextlib.nullcontext,
    ) -> None:
        """`threads()` is a context for the BLAS threads of forming and factorising."""
        m = problem.c.size
        self.threads = threads
        self.problem, self.matrix = problem, problem.am.xp.empty((m, m))
        self.scale: Any = None

    def form(self, X: list[Products], R: list[Products], z_over_s: Any) -> None:
        """Form and factorise; a ridge, relative to the diagonal, grows until the factorisation succeeds."""
        problem, out = self.problem, self.matrix
        xp = problem.am.xp
        with self.threads():
            for ridge in _RIDGES:
                schur_complement(problem, [x.A for x in X], [r.A for r in R], out)
                add_inequalities(problem, z_over_s, out)
                diagonal = xp.diagonal(out).copy()
                positive = diagonal > 0
                self.scale = xp.where(positive, 1.0 / xp.sqrt(xp.where(positive, diagonal, 1.0)), 1.0)
                out *= self.scale
                out *= self.scale[:, None]
                index = xp.arange(out.shape[0])
                out[index, index] = 1.0 + ridge
                problem.check_time()
                if problem.am.cholesky_in_place(out):
                    return
        raise SolveFailed("the Schur complement is not positive definite: the data are too badly scaled.")

    def solve(self, b: Any) -> Any:
        """O^-1 b."""
        return self.scale * self.problem.am.solve_in_place_factor(self.matrix, self.scale * b)


@dataclasses.dataclass
class Direction:
    """A step (dy, dZ, ds; dX, dz), without the d."""

    y: Any
    Z: Sequence[AbstractLevelBlocks]
    s: Any
    X: list[LevelBlocks]
    z: Any
    K: list[LevelBlocks]  # sym(X dZ R)


class Iterate:
    """One primal-dual point with everything that its directions share."""

    def __init__(
        self,
        problem: Compiled,
        point: PrimalPoint,
        dual: DualPoint,
        R: list[Markov],
        exact: float | None = None,
    ) -> None:
        """Solves are refined until their residual r has sum |r_i y_i| <= `exact` (None: never)."""
        self.problem, self.point, self.dual, self.R, self.exact = problem, point, dual, R, exact
        am = problem.am
        self.right = [
            Products.right(am, r, chain.across, gains_of_inverse(am, Z))
            for chain, r, Z in zip(problem.chains, R, point.Z, strict=True)
        ]
        self.left = [
            Products.left(am, x, chain.across) for chain, x in zip(problem.chains, dual.X, strict=True)
        ]
        self.inverse_s = 1.0 / point.s
        self.z_over_s = dual.z * self.inverse_s
        self.barrier_gradient = problem.adjoint(R, self.inverse_s)
        self.missing: list[LevelBlocks] | None = None
        self.missing_s = 0.0 * point.s
        self.missing_rhs: Any = 0.0
        if not point.feasible:
            self._measure_infeasibility()

    def _measure_infeasibility(self) -> None:
        problem, point = self.problem, self.point
        self.missing = [
            c.evaluate(point.y).plus(-1.0, Z) for c, Z in zip(problem.chains, point.Z, strict=True)
        ]
        if problem.h.size:
            self.missing_s = problem.h - problem.G @ point.y - point.s
        K = self._products(self.missing)
        self.missing_rhs = -problem.adjoint(K, self.z_over_s * self.missing_s)

    def direction(
        self, schur: "SchurFactor | IterativeSchur", target: float, correction: "Correction | None" = None
    ) -> Direction:
        """Toward X Z = target I and toward feasibility."""
        problem, dual = self.problem, self.dual
        rhs = -problem.c + target * self.barrier_gradient + self.missing_rhs
        if correction is not None:
            rhs = rhs - problem.adjoint(correction.X, correction.z)
        dy, dZ, ds, K = self._moved(schur.solve(rhs))
        if self.exact is not None:
            dy, dZ, ds, K = self._refined(schur, rhs, (dy, dZ, ds, K), self.exact)
        dX = [r.times(target).plus(-1.0, x).plus(-1.0, k) for x, k, r in zip(dual.X, K, self.R, strict=True)]
        dz = target * self.inverse_s - dual.z - self.z_over_s * ds
        if correction is not None:
            dX = [a.plus(-1.0, b) for a, b in zip(dX, correction.X, strict=True)]
            dz = dz - correction.z
        return Direction(dy, dZ, ds, dX, dz, K)

    def _moved(self, dy: Any) -> _Moved:
        """(dy, dZ, ds, sym(X dZ R))."""
        problem, missing = self.problem, self.missing
        dZ: list[AbstractLevelBlocks] = [chain.linear(dy) for chain in problem.chains]
        ds = -(problem.G @ dy) if problem.h.size else 0.0 * self.point.s
        if missing is not None:
            dZ = [a.plus(1.0, b) for a, b in zip(dZ, missing, strict=True)]
            ds = ds + self.missing_s
        K = self._products(dZ)
        return dy, dZ, ds, K

    def _products(self, dZ: Sequence[AbstractLevelBlocks]) -> list[LevelBlocks]:
        """sym(X dZ R)."""
        both = zip(self.left, dZ, self.right, strict=True)
        return [sandwich(self.problem.am, left, M, right) for left, M, right in both]

    def _refined(
        self, schur: "SchurFactor | IterativeSchur", rhs: Any, moved: _Moved, exact: float
    ) -> _Moved:
        """Iterative refinement; sym(X dZ R), which a direction needs anyway, tells the residual."""
        xp, before = self.problem.am.xp, math.inf
        best = moved
        for _ in range(_REFINEMENTS + 1):
            residual = rhs - self.missing_rhs - self.problem.adjoint(moved[3], self.z_over_s * moved[2])
            size = float(xp.abs(residual * self.point.y).sum())
            if not size < before:
                break
            best = moved
            if size <= exact or size > 0.5 * before:
                break
            before, moved = size, self._moved(moved[0] + schur.solve(residual))
        return best

    def correction(self, affine: Direction, length: float) -> "Correction | None":
        """The second-order term sym(dX dZ R), dX being the tangent of the completion.

        X + t dX is completed at the feasible t = `length`, and sym(X_t dZ R) - sym(X dZ R) is
        divided by t: the term uses the matrix that the next iterate will really be completed to.
        """
        am, parts = self.problem.am, []
        for k, chain in enumerate(self.problem.chains):
            moved = complete(am, self.dual.X[k].plus(length, affine.X[k]))
            if moved is None:
                return None
            left = Products.left(am, moved, chain.across)
            product = sandwich(am, left, affine.Z[k], self.right[k])
            parts.append(product.plus(-1.0, affine.K[k]).times(1.0 / length))
        return Correction(parts, affine.z * affine.s * self.inverse_s)


@dataclasses.dataclass
class Correction:
    """What is subtracted from (dX, dz) to second order."""

    X: list[LevelBlocks]
    z: Any
