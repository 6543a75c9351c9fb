"""HKM search directions: one factorisation of the Schur complement serves several right-hand sides."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..._errors import SolveFailed
from ._chain import AbstractLevelBlocks, LevelBlocks, Markov
from ._compile import Compiled
from ._iterative import IterativeSchur
from ._pair import Pair, Precision
from ._sandwich import gains_of_inverse
from ._schur import add_inequalities, schur_complement
from ._state import DualPoint, PrimalPoint

__all__ = ["Direction", "Iterate", "SchurFactor"]

_Moved = tuple[Any, Sequence[AbstractLevelBlocks], Any, list[LevelBlocks]]
Context = contextlib.AbstractContextManager[None]

_REFINEMENTS = 3
_ENOUGH = 1e-2  # of the gap: what the residual of a solve in single precision may be worth
_RIDGES = (0.0, 1e-15, 1e-13, 1e-11, 1e-9, 1e-7)


class SchurFactor:
    """The Cholesky factor of O = E'S E + G'diag(z/s)G, scaled to a unit diagonal, in one m x m array."""

    def __init__(
        self,
        problem: Compiled,
        threads: Callable[[], Context] = contextlib.nullcontext,
    ) -> None:
        """`threads()` is a context for the BLAS threads of forming and factorising."""
        self.threads, self.problem = threads, problem
        self.matrix: Any = None
        self.scale: Any = None

    def form(self, pair: Pair, z_over_s: Any) -> bool:
        """Form and factorise; a ridge, relative to the diagonal, grows until the factorisation succeeds.

        False where it does not in single precision, where there is no ridge. Raises SolveFailed.
        """
        problem, m = self.problem, self.problem.c.size
        xp = problem.am.xp
        if self.matrix is None or self.matrix.dtype != pair.dtype:
            self.matrix = None  # the memory of the one is free for the other
            self.matrix = xp.empty((m, m), dtype=pair.dtype)
        out = self.matrix
        with self.threads():
            for ridge in _RIDGES[: 1 if pair.single else None]:
                X, R = [x.A for x in pair.left], [r.A for r in pair.right]
                known = list(zip(pair.left, pair.right, strict=True))
                schur_complement(pair.chains, X, R, out, problem.check_time, known)
                add_inequalities(problem, pair.scale[0] * pair.scale[1] * z_over_s, out)
                diagonal = xp.diagonal(out).astype(np.float64)
                positive = diagonal > 0
                scale = xp.where(positive, 1.0 / xp.sqrt(xp.where(positive, diagonal, 1.0)), 1.0)
                narrow = scale.astype(pair.dtype)
                out *= narrow
                out *= narrow[:, None]
                index = xp.arange(m)
                out[index, index] = 1.0 + ridge
                self.scale = scale * math.sqrt(pair.scale[0] * pair.scale[1])
                problem.check_time()
                if problem.am.cholesky_in_place(out):
                    return True
        if pair.single:
            return False
        raise SolveFailed("the Schur complement is not positive definite: the data are too badly scaled.")

    def solve(self, b: Any) -> Any:
        """O^-1 b."""
        xp, right = self.problem.am.xp, self.scale * b
        if self.matrix.dtype == np.float64:
            return self.scale * self.problem.am.solve_in_place_factor(self.matrix, right)
        size = xp.maximum(xp.abs(right).max(), np.finfo(np.float64).tiny)
        narrow = (right / size).astype(self.matrix.dtype)
        found = self.problem.am.solve_in_place_factor(self.matrix, narrow).astype(np.float64)
        return self.scale * (found * size)


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
        gap: float,
        precision: Precision,
        exact: float | None = None,
    ) -> None:
        """Solves are refined until their residual r has sum |r_i y_i| <= `exact` (None: never).

        In single precision that is a part of `gap`, and where it is not reached `precision` changes.
        """
        self.problem, self.point, self.dual, self.R = problem, point, dual, R
        self.exact, self.gap, self.precision = exact, gap, precision
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
        K = self.double.products(self.missing)
        self.missing_rhs = -problem.adjoint(K, self.z_over_s * self.missing_s)

    @functools.cached_property
    def _gains(self) -> list[list[Any]]:
        return [gains_of_inverse(self.problem.am, Z) for Z in self.point.Z]

    @functools.cached_property
    def double(self) -> Pair:
        return Pair.of(self.problem, self.dual.X, self.R, self._gains, single=False)

    @functools.cached_property
    def single(self) -> Pair:
        return Pair.of(self.problem, self.dual.X, self.R, self._gains, single=True)

    def form(self, schur: "SchurFactor | IterativeSchur") -> None:
        """Form the Schur complement, in single precision where that does."""
        if self.precision.single and not schur.form(self.single, self.z_over_s):
            self.precision.single = False
        if not self.precision.single:
            schur.form(self.double, self.z_over_s)

    def direction(
        self,
        schur: "SchurFactor | IterativeSchur",
        target: float,
        correction: "Correction | None" = None,
    ) -> Direction:
        """Toward X Z = target I and toward feasibility."""
        problem, dual = self.problem, self.dual
        rhs = -problem.c + target * self.barrier_gradient + self.missing_rhs
        if correction is not None:
            rhs = rhs - problem.adjoint(correction.X, correction.z)
        dy, dZ, ds, K = self._solved(schur, rhs)
        dX = [r.times(target).plus(-1.0, x).plus(-1.0, k) for x, k, r in zip(dual.X, K, self.R, strict=True)]
        dz = target * self.inverse_s - dual.z - self.z_over_s * ds
        if correction is not None:
            dX = [a.plus(-1.0, b) for a, b in zip(dX, correction.X, strict=True)]
            dz = dz - correction.z
        return Direction(dy, dZ, ds, dX, dz, K)

    def _solved(self, schur: "SchurFactor | IterativeSchur", rhs: Any) -> _Moved:
        """The direction of y and what follows from it."""
        if self.precision.single:
            enough = _ENOUGH * self.gap
            moved, left = self._refined(schur, rhs, self._moved(schur.solve(rhs), self.single), enough)
            if left <= enough:
                return moved
            self.precision.single = False
            self.form(schur)
        moved = self._moved(schur.solve(rhs), self.double)
        return moved if self.exact is None else self._refined(schur, rhs, moved, self.exact)[0]

    def _moved(self, dy: Any, pair: Pair) -> _Moved:
        """(dy, dZ, ds, sym(X dZ R))."""
        problem, missing = self.problem, self.missing
        dZ: list[AbstractLevelBlocks] = [chain.linear(dy) for chain in problem.chains]
        ds = -(problem.G @ dy) if problem.h.size else 0.0 * self.point.s
        if missing is not None:
            dZ = [a.plus(1.0, b) for a, b in zip(dZ, missing, strict=True)]
            ds = ds + self.missing_s
        return dy, dZ, ds, pair.products(dZ)

    def _refined(
        self, schur: "SchurFactor | IterativeSchur", rhs: Any, moved: _Moved, exact: float
    ) -> tuple[_Moved, float]:
        """Iterative refinement; sym(X dZ R), which a direction needs anyway, tells the residual.

        Also what is left: the sum of |r_i y_i|.
        """
        xp, before = self.problem.am.xp, math.inf
        pair, best = self.single if self.precision.single else self.double, moved
        for _ in range(_REFINEMENTS + 1):
            residual = rhs - self.missing_rhs - self.problem.adjoint(moved[3], self.z_over_s * moved[2])
            size = float(xp.abs(residual * self.point.y).sum())
            if not size < before:
                break
            best, last, before = moved, before, size
            if size <= exact or size > 0.5 * last:
                break
            moved = self._moved(moved[0] + schur.solve(residual), pair)
        return best, before

    def correction(self, affine: Direction, length: float) -> "Correction | None":
        """The second-order term sym(dX dZ R), dX being the tangent of the completion.

        X + t dX is completed at the feasible t = `length`, and sym(X_t dZ R) - sym(X dZ R) is
        divided by t: the term uses the matrix that the next iterate will really be completed to.
        """
        found = None
        if self.precision.single:
            found = self.single.products_at(affine.X, length, affine.Z)
        if found is None:
            found = self.double.products_at(affine.X, length, affine.Z)
        if found is None:
            return None
        parts = [new.plus(-1.0, K).times(1.0 / length) for new, K in zip(found, affine.K, strict=True)]
        return Correction(parts, affine.z * affine.s * self.inverse_s)


@dataclasses.dataclass
class Correction:
    """What is subtracted from (dX, dz) to second order."""

    X: list[LevelBlocks]
    z: Any
