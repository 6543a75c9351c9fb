"""M of networks that begin with sparse maps, and its proof by Cholesky in the order of `_order`.

The theorem of `_verified_cholesky` is about any pattern: R computed by Cholesky in floating point, in any
order of summation, has R'R = B~ + E with |E_ij| <= d_i d_j + underflow on the pattern of R'R and 0 elsewhere,
d_j^2 = gamma_j b_jj with t_j the structural nonzeros above the diagonal in column j of R. Hence row i pays

    c_i = [ sum over j of row i of the pattern of R'R of gamma_j b_jj + sum_j rad_ij + underflow ] (1 + ...).

A leaf meets itself and its neighbours; a kept unknown its leaves, its part and the parts beside it, and the
tail's first block; a block of the tail the blocks beside it, the first one all kept unknowns. Column j has
its leaves above it, its own part before j and the whole part before, in the tail the whole block before.
Entries of M outside the pattern of the maps are exactly 0, and nothing is computed of them.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._verified_cholesky import MIN_NORMAL, U, Verdict, _half_exponents
from ._arrow import ArrowFactor, ArrowPlan, coupled_rows
from ._enclosure import EnclosedArray
from ._hessian import AbstractFactor, AbstractHessian, times_block

__all__ = ["SparseBlock", "SparseHessian"]


@dataclasses.dataclass(frozen=True, eq=False)
class SparseBlock:
    """Sparse matrices a with |a - mid| <= rad; two CSR matrices, 0 exactly outside both patterns."""

    mid: sp.csr_array
    rad: sp.csr_array


Own = EnclosedArray | SparseBlock  # a vector, a dense or a sparse matrix


class _Arrow(AbstractFactor):
    def __init__(self, factor: ArrowFactor) -> None:
        self.factor = factor

    def solve(self, rhs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.factor.solve(rhs)


@dataclasses.dataclass(frozen=True, eq=False)
class SparseHessian(AbstractHessian):
    """`diagonal[k]` the own part of block k, `lower[k]` (CSR or dense) the coupling of k + 1 with k."""

    plan: ArrowPlan
    diagonal: tuple[Own, ...]
    lower: tuple[EnclosedArray | SparseBlock, ...]

    def mains(self) -> list[np.ndarray]:
        return [_main(block.mid) for block in self.diagonal]

    def solver(self, less: float = 0.0) -> AbstractFactor:
        own = [_with_main(b.mid, _main(b.mid) * (1.0 - less)) for b in self.diagonal]
        factor = ArrowFactor(self.plan, own, [_entries(b.mid) for b in self.lower])
        if not factor.ok:
            raise np.linalg.LinAlgError("a pivot is not positive")
        return _Arrow(factor)

    def times(self, point: Sequence[np.ndarray]) -> list[np.ndarray]:
        result = [times_block(block.mid, z) for block, z in zip(self.diagonal, point, strict=True)]
        for k, block in enumerate(self.lower):
            result[k + 1] += block.mid @ point[k]
            result[k] += block.mid.T @ point[k + 1]
        return result

    def matrix(self) -> sp.csr_array:
        grid: list[list[Any]] = [[None] * len(self.diagonal) for _ in self.diagonal]
        for k, block in enumerate(self.diagonal):
            own = block.mid
            grid[k][k] = sp.diags_array(own) if own.ndim == 1 else sp.csr_array(own)
        for k, below in enumerate(self.lower):
            grid[k + 1][k], grid[k][k + 1] = sp.csr_array(below.mid), sp.csr_array(below.mid.T)
        return sp.csr_array(sp.block_array(grid))

    def proven(self, share: float) -> Verdict:
        with np.errstate(all="ignore"):
            mains = self.mains()
            if not all(np.isfinite(d).all() and (d > 0.0).all() for d in mains):
                return Verdict(False, math.nan, "a diagonal entry is not a positive finite number")
            exponents = [_half_exponents(d) for d in mains]
            own = [_scaled(b.mid, e, e) for b, e in zip(self.diagonal, exponents, strict=True)]
            lower = [_scaled(b.mid, exponents[k + 1], exponents[k]) for k, b in enumerate(self.lower)]
            if not all((np.abs(_entries(b)) < 1.0).all() for b in (*own, *lower)):  # False for NaN
                return Verdict(
                    False,
                    math.nan,
                    "an off-diagonal entry reaches the geometric mean of its diagonal entries",
                )
            n = sum(d.size for d in mains)
            if (n + 4.0) * (n + 4.0) * U > 1.0:
                return Verdict(False, math.nan, f"the matrix has {n} rows; the theorem is used below 9e7")
            shifts = self._shifts([_main(b) for b in own], exponents, share, float(n))
            shifted = [np.nextafter(_main(b) - c, -np.inf) for b, c in zip(own, shifts, strict=True)]
            largest = max(float(c.max()) for c in shifts)
            if not all((d > 0.0).all() for d in shifted):
                return Verdict(False, largest, "a diagonal entry is not above the rounding margin")
            changed = [_with_main(b, d) for b, d in zip(own, shifted, strict=True)]
            if not _completes(ArrowFactor(self.plan, changed, [_entries(b) for b in lower])):
                return Verdict(False, largest, "Cholesky broke down after subtracting the rounding margin")
            return Verdict(True, largest)

    def _shifts(
        self, b: list[np.ndarray], exponents: list[np.ndarray], share: float, n: float
    ) -> list[np.ndarray]:
        """c of the theorem by blocks, `b` the equilibrated diagonals; delta = share M_ii is a radius."""
        rows = self._radii(exponents)
        for k, (main, e) in enumerate(zip(self.mains(), exponents, strict=True)):
            delta = np.ldexp(np.nextafter(share * main, np.inf), -2 * e)
            rows[k] = rows[k] + delta
        pattern = self._pattern_sums(b)
        underflow = 8.0 * n * (n + 2.0) * MIN_NORMAL
        factor = 1.0 + (2.0 * n + 64.0) * 2.0**-52
        return [(p + r + underflow) * factor for p, r in zip(pattern, rows, strict=True)]

    def _radii(self, exponents: list[np.ndarray]) -> list[np.ndarray]:
        """sum_j rad_ij in the equilibrated scale."""
        rows = []
        for block, e in zip(self.diagonal, exponents, strict=True):
            scaled = _scaled(block.rad, e, e)
            rows.append(scaled if scaled.ndim == 1 else _sums(scaled, 1))
        for k, block in enumerate(self.lower):
            scaled = _scaled(block.rad, exponents[k + 1], exponents[k])
            rows[k + 1] = rows[k + 1] + _sums(scaled, 1)
            rows[k] = rows[k] + _sums(scaled, 0)
        return rows

    def _pattern_sums(self, b: list[np.ndarray]) -> list[np.ndarray]:
        """sum of gamma_j b_jj over row i of the pattern of R'R."""
        plan, order = self.plan, self.plan.order
        leaf = 4.0 * U / (1.0 - 4.0 * U) * np.concatenate([np.zeros(0), *(b[k] for k in order.leaves)])
        kept = np.empty(plan.kept)
        for k in order.kept:
            kept[plan.positions(k)] = b[k]
        parts, before = order.parts, np.concatenate([[0], order.parts[:-1]])
        above = plan.coupling.sum(axis=0) + before[plan.part] + (np.arange(plan.kept) - order.ends[plan.part])
        kept = _gamma(above) * kept
        part = np.add.reduceat(kept, order.ends[:-1]) if parts.size else np.zeros(0)
        around = part + np.append(part[1:], 0.0) + np.concatenate([[0.0], part[:-1]])
        tail, wide = [], float(plan.kept)
        for k in order.tail:
            tail.append(float(np.sum(_gamma(wide + np.arange(b[k].size)) * b[k])))
            wide = float(b[k].size)
        of_kept = plan.coupling.T @ leaf + around[plan.part] + (tail[0] if tail else 0.0)
        of_leaf = leaf + plan.coupling @ kept
        result: dict[int, np.ndarray] = {k: of_kept[plan.positions(k)] for k in order.kept}
        for k, start in plan.leaf_at.items():
            result[k] = of_leaf[start : start + order.sizes[k]]
        chain = [float(kept.sum()), *tail, 0.0]
        for i, k in enumerate(order.tail):
            result[k] = np.full(b[k].size, math.fsum(chain[i : i + 3]))
        return [result[k] for k in range(len(b))]


def _gamma(above: np.ndarray) -> np.ndarray:
    return np.asarray((above + 4.0) * U / (1.0 - (above + 4.0) * U))


def _main(block: Any) -> np.ndarray:
    return np.asarray(block if block.ndim == 1 else block.diagonal())


def _entries(block: Any) -> np.ndarray:
    return np.asarray(block.data if sp.issparse(block) else block)


def _with_main(block: Any, main: np.ndarray) -> Any:
    """The block with another main diagonal."""
    if block.ndim == 1:
        return main
    changed = block.copy()
    if sp.issparse(block):
        changed.setdiag(main)
    else:
        np.fill_diagonal(changed, main)
    return changed


def _scaled(block: Any, rows: np.ndarray, columns: np.ndarray) -> Any:
    """2**-rows_i block_ij 2**-columns_j, exact or with one underflow per entry."""
    if block.ndim == 1:
        return np.ldexp(block, -2 * rows)
    if not sp.issparse(block):
        return np.ldexp(block, -(rows[:, None] + columns))
    data = np.ldexp(block.data, -(coupled_rows(rows, block) + columns[block.indices]))
    return sp.csr_array((data, block.indices, block.indptr), shape=block.shape)


def _sums(block: Any, axis: int) -> np.ndarray:
    return np.asarray(block.sum(axis=axis)).ravel()


def _completes(factor: ArrowFactor) -> bool:
    """Whether the factor is finite with a positive diagonal, as the theorem asks."""
    if not factor.ok:
        return False
    squares = (*factor.factors, *factor.ends)
    finite = (factor.root, factor.v.data, *squares, *factor.panels, *factor.steps)
    return all(np.isfinite(a).all() for a in finite) and all((np.diagonal(f) > 0.0).all() for f in squares)
