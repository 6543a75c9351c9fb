"""The Lagrangian of one multiplier group, enclosed with every rounding: its Hessian, values and gradients.

With x_0 = x, v_k = W_{k-1} w_{k-1} + b_{k-1}, w_k the k-th hidden layer's values, and the terms of a layer
summed to (A, B, C, a, e, k) per neuron, row r of the claim with its scale t has

    L_r(x, w) = t (rows[r] . (W_L w_L + b_L) + offsets[r] - s_r)
                + sum_k [A v^2 + B v w + C w^2 + a v + e w + k] - mu (radius^2 - |x - x0|^2)
                - sum_j tau_j (x_j - lower_j)(upper_j - x_j).

At true points of the region every subtracted quantity is >= 0 (or = 0), so L_r >= 0 everywhere says
rows[r] . f(x) + offsets[r] >= s_r. Half the Hessian is one block-tridiagonal M for all rows:

    blocks   mu I + diag(tau) + W_0'A_1 W_0,   diag(C_k) + W_k'A_{k+1} W_k;   below   diag(B_{k+1}) W_k / 2.

For the multipliers of ReLU's product term it is the hidden matrix of LipSDP (`lmikit.Witness`).
"""

from typing import Any

import numpy as np
import scipy.sparse as sp

from ...claims import PointClaim
from ...network import Network
from .._verified_cholesky import BlockTridiagonal
from ._arrow import coupled_rows
from ._enclosure import EnclosedArray
from ._hessian import AbstractHessian, DenseHessian
from ._sparse_hessian import SparseBlock, SparseHessian
from ._terms import COEFFICIENTS, Site, term_of_kind
from ._weights import gram_is_diagonal, plan_of, weights_of
from ._witness import MultiplierGroup

__all__ = ["Lagrangian"]

_U = 2.0**-53
_TINY = 2.0**-1050


def _combined(site: Site, group: MultiplierGroup) -> dict[str, EnclosedArray]:
    """-sum over terms of multiplier * coefficient, by name."""
    zero = np.zeros(site.neurons)
    total = {name: EnclosedArray.exact(zero) for name in COEFFICIENTS}
    for item in group.layers[site.index]:
        term = term_of_kind(item.kind)
        assert term is not None, "the witness was checked"
        for name, monomials in term.coefficients(site, item.parameters).items():
            for monomial in monomials:
                value = EnclosedArray.exact(item.values)
                for factor in monomial:
                    if not (factor == 1.0).all():
                        value = value * EnclosedArray.exact(factor)
                total[name] = value if total[name].mid is zero else total[name] + value
    return {name: EnclosedArray(-value.mid, value.rad) for name, value in total.items()}


class Lagrangian:
    """L of one group; the rows are those of the group, in its order."""

    def __init__(self, network: Network, claim: PointClaim, group: MultiplierGroup) -> None:
        self.network, self.claim, self.group = network, claim, group
        self.weights = weights_of(network)
        self.biases = [EnclosedArray.exact(layer.bias) for layer in network.layers]
        sites = [Site(network, k, claim.region) for k in range(network.hidden_layers)]
        self.coefficients = [_combined(site, group) for site in sites]
        self.rows = claim.rows[list(group.rows)]  # (R, m)
        self.scales = group.scales
        n0 = network.input_dim
        curvature = EnclosedArray.exact(np.full(n0, group.mu if claim.region.ball is not None else 0.0))
        if claim.region.box is not None:
            curvature = curvature + EnclosedArray.exact(group.tau)
        self.curvature = curvature

    def hessian(self) -> AbstractHessian:
        """M with its radii."""
        diagonal: list[Any] = []
        lower: list[Any] = []
        square = []
        for k in range(len(self.coefficients) + 1):
            block: Any = self.curvature if k == 0 else self.coefficients[k - 1]["ww"]
            if k < len(self.coefficients):
                c = self.coefficients[k]
                vv = c["vv"]
                square.append(not gram_is_diagonal(self.weights[k], np.abs(vv.mid) + vv.rad))
                if square[-1]:
                    block = _with_gram(block, self.weights[k], vv)
                elif not vv.is_zero():
                    block = _with_diagonal_gram(block, self.weights[k], vv)
                lower.append(_coupling(self.weights[k], c["vw"].half()))
            diagonal.append(block)
        if sp.issparse(self.weights[0]):
            return SparseHessian(plan_of(self.network, tuple(square)), tuple(diagonal), tuple(lower))
        mids, radii = tuple(b.mid for b in diagonal), tuple(b.rad for b in diagonal)
        return DenseHessian(
            BlockTridiagonal(mids, tuple(b.mid for b in lower), radii, tuple(b.rad for b in lower))
        )

    def preactivations(self, point: list[np.ndarray]) -> list[EnclosedArray]:
        """v_1, ..., v_L and the outputs at (x, w_1, ..., w_L), each block (n_k, R)."""
        return [
            EnclosedArray.exact(z).image(w) + b.columns()
            for z, w, b in zip(point, self.weights, self.biases, strict=True)
        ]

    def gradient(self, point: list[np.ndarray]) -> list[EnclosedArray]:
        """M z + f, half the gradient at z = (x, w_1, ..., w_L), by blocks (n_k, R)."""
        v = self.preactivations(point)
        result: list[EnclosedArray] = []
        for k, z in enumerate(point):
            value = EnclosedArray.exact(z)
            if k == 0:
                grad = self._region_gradient(value)
            else:
                c = self.coefficients[k - 1]
                grad = c["ww"].columns() * value + (c["vw"].columns() * v[k - 1]).half()
                grad = grad + c["w"].columns().half()
            if k < len(self.coefficients):
                c, w = self.coefficients[k], EnclosedArray.exact(point[k + 1])
                inner = c["vv"].columns() * v[k] + (c["vw"].columns() * w).half() + c["v"].columns().half()
            else:
                inner = (EnclosedArray.exact(self.scales[None, :]) * EnclosedArray.exact(self.rows.T)).half()
            result.append(grad + inner.image(self.weights[k].T))
        return result

    def _region_gradient(self, x: EnclosedArray) -> EnclosedArray:
        """mu (x - x0) + tau (x - (lower + upper) / 2)."""
        region = self.claim.region
        zero = np.zeros_like(x.mid)
        total = EnclosedArray.exact(zero)
        if region.ball is not None:
            mu = EnclosedArray.exact(np.full((1, 1), self.group.mu))
            total = total + mu * (x - EnclosedArray.exact(region.ball.x0[:, None]))
        if region.box is not None:
            lower, upper = (EnclosedArray.exact(a[:, None]) for a in (region.box.lower, region.box.upper))
            tau = EnclosedArray.exact(self.group.tau[:, None])
            total = total + tau * (x - (lower + upper).half())
        return total

    def value(self, point: list[np.ndarray], radius: float | None) -> EnclosedArray:
        """L_r + t s_r at z, one entry per row: L without the bound; the ball's radius may be replaced."""
        v = self.preactivations(point)
        total = self._region_value(EnclosedArray.exact(point[0]), radius)
        for k, c in enumerate(self.coefficients):
            w, pre = EnclosedArray.exact(point[k + 1]), v[k]
            inner = (c["vv"].columns() * pre + c["vw"].columns() * w + c["v"].columns()) * pre
            inner = inner + (c["ww"].columns() * w + c["w"].columns()) * w + c["one"].columns()
            total = total + inner.total()
        outputs = (EnclosedArray.exact(self.rows.T) * v[-1]).total()
        offsets = EnclosedArray.exact(self.claim.offsets[list(self.group.rows)])
        return total + EnclosedArray.exact(self.scales) * (outputs + offsets)

    def _region_value(self, x: EnclosedArray, radius: float | None) -> EnclosedArray:
        region = self.claim.region
        total = EnclosedArray.exact(np.zeros(x.mid.shape[1]))
        if region.ball is not None:
            r = EnclosedArray.exact(np.full(1, region.ball.radius if radius is None else radius))
            away = x - EnclosedArray.exact(region.ball.x0[:, None])
            mu = EnclosedArray.exact(np.full(1, self.group.mu))
            total = total + mu * ((away * away).total() - r * r)
        if region.box is not None:
            low = x - EnclosedArray.exact(region.box.lower[:, None])
            high = EnclosedArray.exact(region.box.upper[:, None]) - x
            total = total - (EnclosedArray.exact(self.group.tau[:, None]) * (low * high)).total()
        return total


def _coupling(weight: Any, b: EnclosedArray) -> EnclosedArray | SparseBlock:
    """diag(b) W."""
    sparse = sp.issparse(weight)
    entries = weight.data if sparse else weight
    mid, rad = (coupled_rows(a, weight) if sparse else a[:, None] for a in (b.mid, b.rad))
    value = mid * entries
    spread = (rad * np.abs(entries) + 2.0 * _U * np.abs(value)) * (1.0 + 2.0**-48) + _TINY
    if not sparse:
        return EnclosedArray(value, spread)
    pattern = weight.indices, weight.indptr
    return SparseBlock(*(sp.csr_array((data, *pattern), shape=weight.shape) for data in (value, spread)))


def _with_gram(diagonal: EnclosedArray, weight: Any, a: EnclosedArray) -> EnclosedArray | SparseBlock:
    """diag(diagonal) + W'diag(a)W."""
    m = float(weight.shape[0])
    size = abs(weight)
    spread = (m + 8.0) * _U * (np.abs(a.mid) + a.rad) + a.rad
    tiny = m * _TINY * (1.0 + float(size.max()))  # a w and spread w underflow first, and then meet a large w
    factor = 1.0 + (2.0 * m + 32.0) * 2.0**-52
    if sp.issparse(weight):
        return _sparse_gram(diagonal, weight, a.mid, spread, (factor, tiny))
    mid = weight.T @ (a.mid[:, None] * weight)
    rad = size.T @ (spread[:, None] * size) * factor + tiny
    mid = np.tril(mid) + np.tril(mid, -1).T
    rad = np.maximum(rad, rad.T)
    index = np.arange(diagonal.mid.size)
    mid[index, index] += diagonal.mid
    rad[index, index] = _on_diagonal(rad[index, index], diagonal.rad, mid[index, index])
    return EnclosedArray(mid, rad)


def _with_diagonal_gram(diagonal: EnclosedArray, weight: Any, a: EnclosedArray) -> EnclosedArray:
    """The same where no row with a_i != 0 has two entries: a vector."""
    used = (a.mid != 0.0) | (a.rad != 0.0)
    rows = sp.csr_array(weight)[used]
    square = EnclosedArray.exact(rows.data) * EnclosedArray.exact(rows.data)
    full = np.diff(rows.indptr) > 0  # in the order of the entries
    own = EnclosedArray(a.mid[used][full], a.rad[used][full]) * square
    m = float(np.bincount(rows.indices).max(initial=0))  # terms of a sum
    mid, size, spread = (_by_column(rows, v) for v in (own.mid, np.abs(own.mid), own.rad))
    rad = (spread + m * _U * size) * (1.0 + (2.0 * m + 32.0) * 2.0**-52) + m * _TINY
    return diagonal + EnclosedArray(mid, rad)


def _by_column(rows: sp.csr_array, values: np.ndarray) -> np.ndarray:
    return np.asarray(np.bincount(rows.indices, values, rows.shape[1]), dtype=np.float64)


def _on_diagonal(rad: np.ndarray, own: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.asarray((rad + own + 2.0 * _U * np.abs(total)) * (1.0 + 2.0**-48))


def _sparse_gram(
    diagonal: EnclosedArray, weight: Any, a: np.ndarray, spread: np.ndarray, room: tuple[float, float]
) -> SparseBlock:
    """The same in the pattern of W'W and the diagonal, which products of ones find: they cancel nowhere."""
    factor, tiny = room

    def with_data(data: np.ndarray) -> Any:
        return sp.csr_array((data, weight.indices, weight.indptr), shape=weight.shape)

    ones, size = with_data(np.ones(weight.nnz)), with_data(np.abs(weight.data))
    pattern = sp.csr_array(ones.T @ ones)
    pattern.data[:] = 1.0
    mid = weight.T @ with_data(coupled_rows(a, weight) * weight.data)
    rad = size.T @ with_data(coupled_rows(spread, weight) * size.data) * factor + tiny * pattern
    mid = sp.tril(mid) + sp.tril(mid, -1).T + sp.diags_array(diagonal.mid)
    rad = rad.maximum(rad.T)
    main = _on_diagonal(rad.diagonal(), diagonal.rad, mid.diagonal())
    rad = rad - sp.diags_array(rad.diagonal()) + sp.diags_array(main)
    return SparseBlock(sp.csr_array(mid), sp.csr_array(rad))
