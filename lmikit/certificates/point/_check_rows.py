"""The checker's verdict on one multiplier group: M, f and the corner as dense blocks, or in sparse form."""

import dataclasses
from typing import Any, TypeVar

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from ...claims import PointClaim
from ...network import Network
from .._check_exact import _excess as _exact_excess
from .._check_float import Blocks, Factor, _row_sums, factor, predicted_error
from .._check_float import _excess as _float_excess
from ._check_parts import Expanded, expanded, margins_at
from ._check_sparse import arrow_margins
from ._dyadic import Dyadic
from ._enclosure import EnclosedArray
from ._witness import MultiplierGroup

__all__ = ["row_margins"]

Number = TypeVar("Number", Dyadic, EnclosedArray)
_SHIFTS = (2.0**-33, 2.0**-38)


@dataclasses.dataclass
class _Bordered:
    """Blocks of M (a first one may be a vector), f by blocks (n_k, R), the corners (R,)."""

    diagonal: list[Any]
    lower: list[Any]
    border: list[Any]
    corner: Any


def row_margins(
    network: Network, claim: PointClaim, group: MultiplierGroup, loss: np.ndarray, exact: bool
) -> list[float] | str:
    """corner - ||r||^2 / e per row of the group; nonnegative means proven. A string says why not.

    `loss` (R,) is what the claim has to hold with besides, in every row. Sparse maps are unrolled
    only where squares of preactivations of a dense map couple all of its inputs (LeakyReLU, Abs)."""
    kind = Dyadic if exact else EnclosedArray
    parts = expanded(kind, network, claim, group, loss)
    sparse = [sp.issparse(w) for w in parts.weights]
    if sparse[0] and all(s or c["vv"].is_zero() for s, c in zip(sparse, parts.coefficients, strict=False)):
        return arrow_margins(network, claim, group, parts)
    return _decided(_blocks(kind, parts), exact)


def _blocks(kind: Any, parts: Expanded) -> _Bordered:
    c, diagonal, lower = parts.coefficients, [parts.first], []
    weights = [w.toarray() if sp.issparse(w) else w for w in parts.weights[:-1]]
    diagonal += [k["ww"] for k in c]
    for k, weight in enumerate(weights):
        lower.append((c[k]["vw"].columns() * kind.exact(weight)).half())
        if not c[k]["vv"].is_zero():
            gram = (c[k]["vv"].columns() * kind.exact(weight)).image(weight.T).symmetric()
            diagonal[k] = gram + diagonal[k].columns() * kind.exact(np.eye(weight.shape[1]))
    return _Bordered(diagonal, lower, parts.border, parts.corner)


def _decided(z: _Bordered, exact: bool) -> list[float] | str:
    plain = [d.approximate() for d in z.diagonal]
    mains = [d if d.ndim == 1 else np.diagonal(d) for d in plain]
    if not all((d > 0.0).all() and np.isfinite(d).all() for d in mains):
        return "a diagonal entry is not positive"
    e = [np.frexp(d)[1].astype(np.int64) // 2 for d in mains]
    diagonal = [
        d.scaled(-2 * x if p.ndim == 1 else -(x[:, None] + x))
        for d, p, x in zip(z.diagonal, plain, e, strict=True)
    ]
    lower = [c.scaled(-(e[k + 1][:, None] + e[k])) for k, c in enumerate(z.lower)]
    border = [f.scaled(-x[:, None]) for f, x in zip(z.border, e, strict=True)]
    b = Blocks([d.approximate() for d in diagonal], [c.approximate() for c in lower])
    found = _factored(b, diagonal, lower, exact)
    if found is None:
        return "the matrix is not proven positive definite"
    g, excess = found
    plain_factor = factor(b, [np.zeros(d.size) for d in b.diagonals()])
    y, rest = _minimised(g if plain_factor is None else plain_factor, diagonal, lower, border)
    return margins_at(z.corner, border, y, rest, excess)


def _factored(b: Blocks, diagonal: list, lower: list, exact: bool) -> tuple[Factor, float] | None:
    """G and a proven e > 0 with B >= e I, both in the equilibrated scale."""
    if not all(np.isfinite(x).all() for x in (*b.diagonal, *b.lower)):
        return None
    sizes = [d.size for d in b.diagonals()]
    radii = None if exact else _row_sums(Blocks([d.rad for d in diagonal], [c.rad for c in lower]))
    spread = [np.zeros(n) for n in sizes] if radii is None else [2.0 * r for r in radii]
    fallback = [3.0 * error for error in predicted_error(b)]
    for times in (*([s] * len(sizes) for s in _SHIFTS), fallback):
        g = factor(b, [np.full(n, s) + r for n, s, r in zip(sizes, times, spread, strict=True)])
        if g is None:
            continue
        if radii is None:
            excess = _exact_excess([d.integers() for d in diagonal], [c.integers() for c in lower], g)
        else:
            excess = _float_excess(b, g, radii)
        excess = float(np.nextafter(excess, -np.inf))
        if excess > 0.0:
            return g, excess
    return None


def _minimised(g: Factor, diagonal: list, lower: list, border: list) -> tuple[list, list]:
    """y near -B^-1 f as floats, and r = B y + f in the checker's arithmetic."""
    rest, y = border, [np.zeros(f.approximate().shape) for f in border]
    for _ in range(2):
        step = _solved(g, [r.approximate() for r in rest])
        y = [a - s for a, s in zip(y, step, strict=True)]
        rest = _applied(diagonal, lower, border, y)
    return y, rest


def _applied(diagonal: list, lower: list, border: list, y: list[np.ndarray]) -> list:
    """B y + f."""
    kind = type(border[0])
    exact = [kind.exact(v) for v in y]
    result = []
    for k, f in enumerate(border):
        d = diagonal[k]
        own = d.columns() * exact[k] if d.approximate().ndim == 1 else _product(d, exact[k])
        if k:
            own = own + _product(lower[k - 1], exact[k - 1])
        if k + 1 < len(border):
            own = own + _product(_transposed(lower[k]), exact[k + 1])
        result.append(own + f)
    return result


def _transposed(a: Number) -> Number:
    if isinstance(a, EnclosedArray):
        return EnclosedArray(a.mid.T, a.rad.T)
    return Dyadic(a.values.T, a.power)


def _product(a: Number, y: Number) -> Number:
    """A y for a matrix that is itself enclosed."""
    if isinstance(a, Dyadic):
        from .._check_integers import matmul

        return Dyadic(matmul(a.values, y.values), a.power + y.power)
    image = y.image(a.mid)
    n = float(a.mid.shape[1])
    spread = (a.rad @ (np.abs(y.mid) + y.rad)) * (1.0 + (2.0 * n + 24.0) * 2.0**-52) + n * 2.0**-1060
    return EnclosedArray(image.mid, (image.rad + spread) * (1.0 + 2.0**-49))


def _solved(g: Factor, rhs: list[np.ndarray]) -> list[np.ndarray]:
    """(G G')^-1 rhs, in floating point."""
    diagonal, lower = g
    forward: list[np.ndarray] = []
    for k, block in enumerate(rhs):
        value = block if k == 0 else block - lower[k - 1] @ forward[-1]
        forward.append(_triangular(diagonal[k], value, 0))
    result = [_triangular(diagonal[-1], forward[-1], 1)]
    for k in range(len(rhs) - 2, -1, -1):
        result.insert(0, _triangular(diagonal[k], forward[k] - lower[k].T @ result[0], 1))
    return result


def _triangular(factor_block: np.ndarray, rhs: np.ndarray, transposed: int) -> np.ndarray:
    if factor_block.ndim == 1:
        return rhs / factor_block[:, None]
    return np.asarray(
        scipy.linalg.solve_triangular(factor_block, rhs, lower=True, trans=transposed, check_finite=False)
    )
