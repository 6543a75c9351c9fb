"""The checker's own expansion of the Lagrangian into M, f and the corner, in either arithmetic."""

import dataclasses
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
import scipy.linalg

from ...claims import PointClaim
from ...network import Network
from .._check_exact import _excess as _exact_excess
from .._check_float import Blocks, Factor, _row_sums, factor, predicted_error
from .._check_float import _excess as _float_excess
from ._dyadic import Dyadic
from ._enclosure import EnclosedArray
from ._terms import COEFFICIENTS, Site, term_of_kind
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

    `loss` (R,) is what the claim has to hold with besides, in every row."""
    z = _expanded(Dyadic if exact else EnclosedArray, network, claim, group, loss)
    return _decided(z, exact)


def _summed(kind: type[Number], site: Site, group: MultiplierGroup) -> dict[str, Number]:
    """minus the sum of multiplier times coefficient, by name."""
    total = {name: kind.exact(np.zeros(site.neurons)) for name in COEFFICIENTS}
    for item in group.layers[site.index]:
        term = term_of_kind(item.kind)
        assert term is not None, "fault_of has been asked"
        for name, products in term.coefficients(site, item.parameters).items():
            for product in products:
                value = kind.exact(-item.values)
                for part in product:
                    value = value * kind.exact(part)
                total[name] = total[name] + value
    return total


def _expanded(
    kind: Any, network: Network, claim: PointClaim, group: MultiplierGroup, loss: np.ndarray
) -> _Bordered:
    region, hidden = claim.region, network.hidden_layers
    weights = [layer.linear.to_dense() for layer in network.layers]
    biases = [kind.exact(layer.bias) for layer in network.layers]
    sites = [Site(network, k, region) for k in range(hidden)]
    c: list[dict[str, Any]] = [_summed(kind, site, group) for site in sites]
    chosen = list(group.rows)
    scales, rows = kind.exact(group.scales), kind.exact(np.ascontiguousarray(claim.rows[chosen].T))
    ones = kind.exact(np.ones(len(chosen)))
    gap = kind.exact(claim.offsets[chosen]) - kind.exact(claim.lower[chosen]) - kind.exact(loss[chosen])
    corner = scales * ((rows * biases[-1].columns()).total() + gap)
    first, linear, constant = _region_part(kind, claim, group)
    diagonal, lower, border = [first, *(k["ww"] for k in c)], [], []
    for k in range(hidden + 1):
        if k == 0:
            f = linear.columns() * kind.exact(np.ones((1, len(chosen))))
        else:
            own = (c[k - 1]["vw"] * biases[k - 1] + c[k - 1]["w"]).half()
            f = own.columns() * kind.exact(np.ones((1, len(chosen))))
        if k < hidden:
            b = biases[k]
            pull = (c[k]["vv"] * b + c[k]["v"].half()).columns() * kind.exact(np.ones((1, len(chosen))))
            constant = constant + ((c[k]["vv"] * b + c[k]["v"]) * b + c[k]["one"]).total()
            lower.append((c[k]["vw"].columns() * kind.exact(weights[k])).half())
            if not c[k]["vv"].is_zero():
                gram = (c[k]["vv"].columns() * kind.exact(weights[k])).image(weights[k].T).symmetric()
                eye = kind.exact(np.eye(weights[k].shape[1]))
                diagonal[k] = gram + diagonal[k].columns() * eye
        else:
            pull = (scales * rows).half()
        border.append(f + pull.image(weights[k].T))
    return _Bordered(diagonal, lower, border, corner + constant * ones)


def _region_part(
    kind: type[Number], claim: PointClaim, group: MultiplierGroup
) -> tuple[Number, Number, Number]:
    """mu + tau, half the linear coefficients of x, and the constant that the region's terms give."""
    zero = np.zeros(claim.region.dim)
    square, linear, constant = kind.exact(zero), kind.exact(zero), kind.exact(np.zeros(1))
    ball, box = claim.region.ball, claim.region.box
    if ball is not None:
        mu, x0 = kind.exact(np.full(1, group.mu)), kind.exact(ball.x0)
        radius = kind.exact(np.full(1, ball.radius))
        square, linear = square + mu, linear - mu * x0
        constant = constant + mu * ((x0 * x0).total() - radius * radius)
    if box is not None:
        tau, low, high = kind.exact(group.tau), kind.exact(box.lower), kind.exact(box.upper)
        square, linear = square + tau, linear - (tau * (low + high)).half()
        constant = constant + (tau * low * high).total()
    return square, linear, constant


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
    corner = z.corner
    square = None
    for point, r, f in zip(y, rest, border, strict=True):
        corner = corner + (type(f).exact(point) * (r + f)).total()
        own = (r * r).total()
        square = own if square is None else square + own
    return _margins(corner, square, excess)


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


def _margins(corner: Any, square: Any, excess: float) -> list[float]:
    """corner - square / excess per row; its sign is exact."""
    if isinstance(corner, EnclosedArray):
        price = (square.mid + square.rad) / excess * (1.0 + 2.0**-48)
        values = corner.lower() - price
        return [float(v) if np.isfinite(v) else -np.inf for v in np.nextafter(values, -np.inf)]
    result = []
    for a, s in zip(corner.fractions(), square.fractions(), strict=True):
        value = a - s / Fraction(excess)
        shown = float(value)
        result.append(-5e-324 if shown == 0.0 and value < 0 else shown)
    return result
