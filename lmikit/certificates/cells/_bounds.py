"""What is proven about ||J||_2 on a leaf, J = W_L D_L ... D_1 W_0, in enclosures or in integers.

P is the Jacobian of the preactivations v of the first layer with neurons that are not decided, |d_i| <= s_i
its slopes.

1.  All decided: J itself is known, and U**2 I - J'J >= 0 is decided.
2.  The last hidden layer is open: with centres c_i and radii r_i of the slopes and any powers of two b_i > 0,
    J = W diag(c) P + (W diag(b)) E (diag(r / b) P) with a diagonal |E| <= 1, so that
    ||J|| <= ||W diag(c) P|| + ||W diag(b)|| ||diag(r / b) P||.
3.  A layer before it is open: ||J|| <= tau_k ||diag(s) P||, tau_k a certified Lipschitz bound of the
network from the
    values after layer k to the outputs, for the slopes that hold on the region.
4.  ||J|| <= tau_0, a certified Lipschitz bound of the whole network for these slopes.
"""

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from .._verified_cholesky import BlockTridiagonal, verified_cholesky
from ..point import Dyadic
from ._cells import Cell, CellTheory

__all__ = ["LeafBounds", "SpectralBound", "bottleneck"]

_U = 2.0**-53
_TINY = 2.0**-1000
_UP = 1.0 + 2.0**-40


class SpectralBound:
    """Decides ||A||_2 <= u for exact matrices, in integers (`exact`) or with radii for every rounding."""

    def __init__(self, exact: bool) -> None:
        self.exact = exact

    def at_most(self, a: Dyadic, u: Fraction) -> bool:
        """True is a proof; False says nothing."""
        if u < 0:
            return False
        if a.is_zero():
            return True
        return _exactly(a, u) if self.exact else _in_floats(a, u)


def _exactly(a: Dyadic, u: Fraction) -> bool:
    values = a.values if a.values.shape[0] <= a.values.shape[1] else a.values.T
    gram = np.dot(values, values.T)
    # u**2 I - gram / 4**power > 0, times the denominator of u**2 and 4**power
    square = u * u
    matrix = -gram * square.denominator
    lift = square.numerator << (2 * a.power)
    for i in range(len(matrix)):
        matrix[i, i] += lift
    return _positive_definite([[int(v) for v in row] for row in matrix])


def _positive_definite(rows: list[list[int]]) -> bool:
    """Sylvester's criterion by fraction-free elimination (Bareiss, Math. Comp. 22, 1968)."""
    previous = 1
    for k in range(len(rows)):
        pivot = rows[k][k]
        if pivot <= 0:
            return False
        for i in range(k + 1, len(rows)):
            factor = rows[i][k]
            rows[i] = [
                (pivot * b - factor * a) // previous if j > k else 0
                for j, (a, b) in enumerate(zip(rows[k], rows[i], strict=True))
            ]
        previous = pivot
    return True


def _in_floats(a: Dyadic, u: Fraction) -> bool:
    mid = a.approximate()
    mid = mid if mid.shape[0] <= mid.shape[1] else mid.T
    square = below_float(u * u)
    size = np.abs(mid)
    rad = _U * size * _UP + _TINY
    n = mid.shape[1]
    full = size + rad
    if float((full * full).sum()) * (1.0 + (full.size + 8.0) * 2.0**-52) + full.size * 2.0**-1060 < square:
        return True  # the Frobenius norm suffices
    gram = mid @ mid.T
    spread = (n + 3.0) * _U * (size @ size.T) + size @ rad.T + rad @ size.T + rad @ rad.T
    spread = spread * (1.0 + (2.0 * n + 40.0) * 2.0**-52) + n * _TINY
    matrix = square * np.eye(len(gram)) - 0.5 * (gram + gram.T)
    spread = np.maximum(spread, spread.T) + 2.0 * _U * np.abs(matrix) * _UP
    return verified_cholesky(BlockTridiagonal.dense(matrix, spread)).ok


def below_float(value: Fraction) -> float:
    """A float at or below a fraction."""
    try:
        nearest = float(value)
    except OverflowError:
        return math.copysign(np.finfo(float).max, value) if value > 0 else -math.inf
    return nearest if Fraction(nearest) <= value else math.nextafter(nearest, -math.inf)


@dataclasses.dataclass(frozen=True, eq=False)
class LeafBounds:
    """Bounds of ||J||_2 on cells; `tails` are proven tau_k, k = 0, ..., L - 1 (inf where there is none)."""

    theory: CellTheory
    tails: Sequence[float]

    def estimate(self, cell: Cell) -> float:
        """The best of the bounds above, computed in plain floats: a proposal for `holds`."""
        found = self.tails[0] if self.tails else math.inf
        if cell.linear:
            return min(found, _norm(cell.prefix.approximate()))
        if cell.layer + 1 < self.theory.hidden:
            reached = self.theory.bounds_of_slopes(cell)[:, None] * cell.prefix.approximate()
            return min(found, self.tails[cell.layer + 1] * _norm(reached))
        centre, out, back = (m.approximate() for m in self._last(cell))
        return min(found, _norm(centre) + _norm(out) * _norm(back))

    def holds(self, cell: Cell, u: Fraction, spectral: SpectralBound) -> bool:
        """Whether ||J||_2 <= u on the cell is proven."""
        if self.tails and math.isfinite(self.tails[0]) and Fraction(self.tails[0]) <= u:
            return True
        if cell.linear:
            return spectral.at_most(cell.prefix, u)
        if cell.layer + 1 < self.theory.hidden:
            tail = self.tails[cell.layer + 1]
            if not math.isfinite(tail):
                return False
            reached = Dyadic.exact(self.theory.bounds_of_slopes(cell)).columns() * cell.prefix
            return reached.is_zero() or tail == 0.0 or spectral.at_most(reached, u / Fraction(tail))
        return self._last_holds(cell, u, spectral)

    def _last_holds(self, cell: Cell, u: Fraction, spectral: SpectralBound) -> bool:
        centre, out, back = self._last(cell)
        if out.is_zero() or back.is_zero():
            return spectral.at_most(centre, u)
        sizes = [Fraction(_norm(m.approximate()) * (1.0 + 1e-11)) for m in (centre, out)]
        if sizes[0] >= u or not sizes[1]:
            return False
        left = (u - sizes[0]) / sizes[1]
        return (
            spectral.at_most(centre, sizes[0])
            and spectral.at_most(out, sizes[1])
            and spectral.at_most(back, left)
        )

    def _last(self, cell: Cell) -> tuple[Dyadic, Dyadic, Dyadic]:
        """W diag(c) P, W diag(b), diag(r / b) P of the last hidden layer; the latter of its open neurons."""
        alpha, beta = self.theory.given[cell.layer]
        weight, prefix = self.theory.matrices[cell.layer + 1], cell.prefix
        is_open = np.isnan(cell.chosen)
        chosen = Dyadic.exact(np.where(is_open, 0.0, cell.chosen))
        ends = [Dyadic.exact(np.where(is_open, end, 0.0)) for end in (alpha, beta)]
        middle = (ends[0] + ends[1]).half() + chosen
        radius = (ends[1] - ends[0]).half()
        scaled = middle.columns() * prefix
        centre = Dyadic(np.dot(weight.values, scaled.values), weight.power + scaled.power)
        index = np.flatnonzero(is_open)
        out = Dyadic(weight.values[:, index], weight.power)
        back = radius.columns() * prefix
        back = Dyadic(back.values[index], back.power)
        powers = bottleneck(out.approximate(), back.approximate())
        return centre, out.scaled(powers), back.scaled(-powers[:, None])


def bottleneck(out: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Exponents of the powers of two that balance the columns of `out` with the rows of `back`."""
    with np.errstate(all="ignore"):
        ratio = np.linalg.norm(back, axis=1) / np.linalg.norm(out, axis=0)
        exponents = np.rint(0.5 * np.log2(ratio))
    return np.where(np.isfinite(exponents), np.clip(exponents, -500, 500), 0.0).astype(np.int64)


def _norm(a: np.ndarray) -> float:
    return float(np.linalg.norm(a, 2)) if a.size else 0.0
