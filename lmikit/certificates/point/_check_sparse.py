"""The checker for networks that begin with sparse maps: nothing is unrolled."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from ...claims import PointClaim
from ...network import Network
from ._arrow import ArrowFactor, coupled_rows
from ._check_arrow import ArrowCheck, OwnEntries
from ._check_parts import Expanded, margins_at, summed
from ._dyadic import Dyadic
from ._hessian import times_block
from ._terms import Site
from ._weights import diagonal_gram, gram_is_diagonal, plan_of
from ._witness import MultiplierGroup

__all__ = ["arrow_margins"]

_SHIFTS = (2.0**-33, 2.0**-36, 2.0**-40)


def arrow_margins(
    network: Network, claim: PointClaim, group: MultiplierGroup, parts: Expanded
) -> list[float] | str:
    """`row_margins` for sparse maps; the decision about M is in integers whatever the arithmetic of `parts`.

    The order of elimination and the factor are proposals: those of `verify_point` serve as well as any."""
    maps = list(parts.weights[:-1])
    vv = [c["vv"].approximate() for c in parts.coefficients]
    mains = [parts.first.approximate(), *(c["ww"].approximate() for c in parts.coefficients)]
    mains = [d + diagonal_gram(w, a) for d, w, a in zip(mains, maps, vv, strict=False)] + mains[-1:]
    if not all((d > 0.0).all() and np.isfinite(d).all() for d in mains):
        return "a diagonal entry is not positive"
    e = [-((-np.frexp(d)[1].astype(np.int64)) // 2) for d in mains]
    b = [c["vw"].approximate() for c in parts.coefficients]
    rows = [0.5 * x if sp.issparse(w) else 0.5 * x[:, None] for x, w in zip(b, maps, strict=True)]
    diagonal = [_own(d, x, *pair) for d, x, pair in zip(mains, e, zip(maps, vv, strict=True), strict=False)]
    diagonal.append(np.ldexp(mains[-1], -2 * e[-1]))
    lower = [_scaled(r, w, e[k + 1], e[k]) for k, (r, w) in enumerate(zip(rows, maps, strict=True))]
    plan = plan_of(network, tuple(not gram_is_diagonal(w, a) for w, a in zip(maps, vv, strict=True)))
    try:
        check = ArrowCheck(maps, *_exactly(network, claim, group, maps, e), plan)
    except ValueError as error:
        return str(error)
    excess, factor = 0.0, None
    for shift in _SHIFTS:
        tried = ArrowFactor(plan, [_less(d, shift) for d in diagonal], lower)
        excess = check.excess(tried) if tried.ok else 0.0
        if excess > 0.0:
            factor = ArrowFactor(plan, diagonal, lower)
            break
    if factor is None:
        return "the matrix is not proven positive definite"
    border = [f.scaled(-x[:, None]) for f, x in zip(parts.border, e, strict=True)]
    y = _minimiser(factor if factor.ok else tried, maps, diagonal, lower, [f.approximate() for f in border])
    z = [np.ldexp(p, -x[:, None]) for p, x in zip(y, e, strict=True)]
    rest = [r.scaled(-x[:, None]) for r, x in zip(_gradient(parts, z), e, strict=True)]
    return margins_at(parts.corner, border, y, rest, excess)


def _own(main: np.ndarray, e: np.ndarray, w: Any, a: np.ndarray) -> Any:
    """The own part of a block in the equilibrated scale, in floating point."""
    if gram_is_diagonal(w, a):
        return np.ldexp(main, -2 * e)
    scale = sp.diags_array(np.ldexp(1.0, -e))
    gram = sp.csr_array(scale @ (w.T @ (sp.diags_array(a) @ w)) @ scale)
    return sp.csr_array(gram - sp.diags_array(gram.diagonal()) + sp.diags_array(np.ldexp(main, -2 * e)))


def _less(own: Any, shift: float) -> Any:
    return own - shift if own.ndim == 1 else sp.csr_array(own - shift * sp.eye_array(own.shape[0]))


def _scaled(row: np.ndarray, w: Any, e: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The entries of a coupling in the equilibrated scale."""
    if not sp.issparse(w):
        return np.ldexp(row * w, -(e[:, None] + before))
    return np.ldexp(coupled_rows(row, w) * w.data, -(coupled_rows(e, w) + before[w.indices]))


def _exactly(
    network: Network, claim: PointClaim, group: MultiplierGroup, maps: list, e: list[np.ndarray]
) -> tuple[list[Dyadic], list[Dyadic], dict[int, OwnEntries]]:
    """Diagonal, couplings and entries beside the diagonal in the own parts of B, without any rounding."""
    sites = [Site(network, k, claim.region) for k in range(network.hidden_layers)]
    c = [summed(Dyadic, site, group) for site in sites]
    first = Dyadic.exact(np.zeros(claim.region.dim))
    if claim.region.ball is not None:
        first = first + Dyadic.exact(np.full(1, group.mu))
    if claim.region.box is not None:
        first = first + Dyadic.exact(group.tau)
    mains = [first, *(k["ww"] for k in c)]
    beside: dict[int, OwnEntries] = {}
    for k, w in enumerate(maps):
        if not c[k]["vv"].is_zero():
            squares, entries = _gram(w, c[k]["vv"])
            mains[k] = mains[k] + squares
            if entries is not None:
                row, column, values = entries
                beside[k] = row, column, values.scaled(-(e[k][row] + e[k][column]))
    diagonal = [d.scaled(-2 * x) for d, x in zip(mains, e, strict=True)]
    lower = []
    for k, w in enumerate(maps):
        b, power = c[k]["vw"].values, c[k]["vw"].power
        if sp.issparse(w):
            own, shift = Dyadic(coupled_rows(b, w), power), coupled_rows(e[k + 1], w) + e[k][w.indices]
            entries_of_w = Dyadic.exact(w.data)
        else:
            own, shift, entries_of_w = Dyadic(b[:, None], power), e[k + 1][:, None] + e[k], Dyadic.exact(w)
        lower.append((own * entries_of_w).half().scaled(-shift))
    return diagonal, lower, beside


def _gram(w: sp.csr_array, a: Dyadic) -> tuple[Dyadic, OwnEntries | None]:
    """W'diag(a)W: its diagonal, and its entries below it (one for each place), for a sparse W."""
    entries = Dyadic.exact(w.data)
    weighted = Dyadic(coupled_rows(a.values, w), a.power) * entries
    own = (weighted * entries).values
    squares = np.zeros(w.shape[1], dtype=object)
    np.add.at(squares, w.indices, own)
    power = a.power + 2 * entries.power
    used, count = np.array([bool(v) for v in a.values]), np.diff(w.indptr)
    rows, columns, values = [], [], []
    for n in np.unique(count[used & (count > 1)]):
        at = w.indptr[:-1][used & (count == n)][:, None] + np.arange(n)
        i, j = np.tril_indices(n, -1)
        first, second = at[:, i].ravel(), at[:, j].ravel()
        rows.append(np.maximum(w.indices[first], w.indices[second]).astype(np.int64))
        columns.append(np.minimum(w.indices[first], w.indices[second]).astype(np.int64))
        values.append(weighted.values[first] * entries.values[second])
    if not rows:
        return Dyadic(squares, power), None
    row, column = np.concatenate(rows), np.concatenate(columns)
    place, index = np.unique(row * w.shape[1] + column, return_inverse=True)
    total = np.zeros(place.size, dtype=object)
    np.add.at(total, index, np.concatenate(values))
    return Dyadic(squares, power), (place // w.shape[1], place % w.shape[1], Dyadic(total, power))


def _minimiser(
    factor: ArrowFactor, maps: list, diagonal: list, lower: list, border: list
) -> list[np.ndarray]:
    """y near -B^-1 f, with one step of refinement, in floating point."""
    y = [-s for s in factor.solve(border)]
    rest = [times_block(d, p) + f for d, p, f in zip(diagonal, y, border, strict=True)]
    for k, (w, c) in enumerate(zip(maps, lower, strict=True)):
        matrix = sp.csr_array((c, w.indices, w.indptr), shape=w.shape) if sp.issparse(w) else c
        rest[k + 1] = rest[k + 1] + matrix @ y[k]
        rest[k] = rest[k] + matrix.T @ y[k + 1]
    return [p - s for p, s in zip(y, factor.solve(rest), strict=True)]


def _gradient(parts: Expanded, z: list[np.ndarray]) -> list[Any]:
    """M z + f, in the arithmetic of `parts`."""
    kind = type(parts.border[0])
    point = [kind.exact(p) for p in z]
    result = []
    for k, (p, f) in enumerate(zip(point, parts.border, strict=True)):
        own = parts.first if k == 0 else parts.coefficients[k - 1]["ww"]
        total = own.columns() * p + f
        if k:
            b = parts.coefficients[k - 1]["vw"].columns()
            total = total + (b * point[k - 1].image(parts.weights[k - 1])).half()
        if k + 1 < len(point):
            c = parts.coefficients[k]
            inner = (c["vw"].columns() * point[k + 1]).half()
            if not c["vv"].is_zero():
                inner = inner + c["vv"].columns() * p.image(parts.weights[k])
            total = total + inner.image(parts.weights[k].T)
        result.append(total)
    return result
