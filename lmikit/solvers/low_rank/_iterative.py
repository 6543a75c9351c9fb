"""Conjugate gradients in place of the Cholesky factor of the Schur complement.

A product with O is one `sandwich`: O(sum n_k^3) work and O(sum n_k^2) memory, linear in the number of levels.
The preconditioner is the inverse of the completion of O, known on windows of twelve levels, every sixth
level, as X is completed from its cliques: with L_w the Cholesky factor of the principal submatrix of window
w, and N_w the variables that are not in the window before, it is the sum of L_w^-T [on N_w] L_w^-1. It
agrees with O on every window (Vecchia, J. R. Stat. Soc. B 50, 1988; Kolotilina and Yeremin, SIAM J. Matrix
Anal. 14, 1993); the sum of the inverses of all windows, an additive Schwarz method, takes twice as many
products.
"""

from collections.abc import Iterator
from typing import Any

from ._compile import Compiled, LevelLMI
from ._pair import Pair
from ._schur import shared_diagonal, window

__all__ = ["IterativeSchur", "schur_product"]

_WINDOW, _STRIDE = 12, 6  # levels
_RIDGES = (1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1.0)


def schur_product(pair: Pair, z_over_s: Any, v: Any) -> Any:
    """O v without O: F*(sym(X F(v) R)) + G'diag(z/s)G v."""
    problem = pair.problem
    K = pair.products([chain.linear(v) for chain in problem.chains])
    return problem.adjoint(K, -z_over_s * (problem.G @ v) if problem.h.size else z_over_s)


def _windows(chain: LevelLMI) -> Iterator[tuple[int, int]]:
    """(first, last) levels; every two neighbours lie in a window together."""
    used = [k for k, level in enumerate(chain.levels) if level.simple is not None]
    if not used:
        return
    first, end = used[0], used[-1]
    while True:
        last = min(first + _WINDOW - 1, end)
        yield first, last
        if last == end:
            return
        first += _STRIDE


class IterativeSchur:
    """Solves with O to a relative residual; the same interface as `SchurFactor`."""

    def __init__(self, problem: Compiled, tol: float = 1e-5, steps: int = 400) -> None:
        self.problem, self.tol, self.steps = problem, tol, steps
        self.products = 0
        self.pair: Pair | None = None
        self.z_over_s: Any = None
        self.blocks: list[tuple[slice, int, Any, Any]] = []
        self.others: Any = None

    def form(self, pair: Pair, z_over_s: Any) -> bool:
        """Factorise the preconditioner's blocks."""
        problem, xp = self.problem, self.problem.am.xp
        self.pair, self.z_over_s, self.blocks = pair, z_over_s, []
        diagonal = xp.zeros(problem.c.size)
        if problem.h.size:
            diagonal += problem.G.multiply(problem.G).T @ z_over_s
        covered = xp.zeros(problem.c.size, dtype=bool)
        for chain, x, r in zip(problem.chains, pair.left, pair.right, strict=True):
            shared_diagonal(chain, x.A, r.A, diagonal)
            done = 0
            for first, last in _windows(chain):
                rows, tile = window(chain, x.A, r.A, first, last)
                self.blocks.append((rows, max(0, done - rows.start), *self._factor(tile, diagonal[rows])))
                covered[rows], done = True, rows.stop
        self.others = xp.where(covered | (diagonal <= 0), 0.0, 1.0 / xp.where(diagonal > 0, diagonal, 1.0))
        return True

    def _factor(self, tile: Any, extra: Any) -> tuple[Any, Any]:
        """(Cholesky factor of the tile scaled to a unit diagonal, the scale)."""
        am, xp = self.problem.am, self.problem.am.xp
        index = xp.arange(tile.shape[0])
        tile[index, index] += extra
        scale = 1.0 / xp.sqrt(xp.maximum(tile[index, index], 1e-300))
        tile *= scale
        tile *= scale[:, None]
        for ridge in _RIDGES:
            tile[index, index] = 1.0 + ridge
            factor = am.cholesky(tile)
            if factor is not None:
                return factor, scale
        tile[...] = xp.eye(tile.shape[0])
        return tile, scale

    def _product(self, v: Any) -> Any:
        self.products += 1
        assert self.pair is not None
        return schur_product(self.pair, self.z_over_s, v)

    def _precondition(self, v: Any) -> Any:
        result = self.others * v
        solve = self.problem.am.solve_triangular
        for rows, known, factor, scale in self.blocks:
            half = solve(factor, scale * v[rows])
            half[:known] = 0.0
            result[rows] += scale * solve(factor, half, transposed=True)
        return result

    def solve(self, b: Any) -> Any:
        """O^-1 b by preconditioned conjugate gradients; the residual is measured in the preconditioner."""
        x, r = 0.0 * b, b.copy()
        u = self._precondition(r)
        p, ru = u.copy(), float(r @ u)
        goal = self.tol**2 * ru
        for _ in range(self.steps):
            if not ru > goal:
                break
            Op = self._product(p)
            curvature = float(p @ Op)
            if not curvature > 0:
                break
            t = ru / curvature
            x, r = x + t * p, r - t * Op
            u = self._precondition(r)
            ru, before = float(r @ u), ru
            p = u + (ru / before) * p
        return x
