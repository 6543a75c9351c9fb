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

import numpy as np

from ...claims import PointClaim
from ...network import Network
from .._verified_cholesky import BlockTridiagonal
from ._enclosure import EnclosedArray
from ._terms import COEFFICIENTS, Site, term_of_kind
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
        self.claim, self.group = claim, group
        self.weights = [layer.linear.to_dense() for layer in network.layers]
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

    def hessian(self) -> BlockTridiagonal:
        """M with its radii."""
        diagonal: list[np.ndarray] = []
        radii: list[np.ndarray] = []
        lower: list[np.ndarray] = []
        lower_rad: list[np.ndarray] = []
        for k in range(len(self.coefficients) + 1):
            block = self.curvature if k == 0 else self.coefficients[k - 1]["ww"]
            if k < len(self.coefficients):
                block = _with_gram(block, self.weights[k], self.coefficients[k]["vv"])
                size, b = np.abs(self.weights[k]), self.coefficients[k]["vw"].half()
                lower.append(b.mid[:, None] * self.weights[k])
                lower_rad.append(
                    (b.rad[:, None] * size + 2.0 * _U * np.abs(lower[-1])) * (1.0 + 2.0**-48) + _TINY
                )
            diagonal.append(block.mid)
            radii.append(block.rad)
        return BlockTridiagonal(tuple(diagonal), tuple(lower), tuple(radii), tuple(lower_rad))

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


def _with_gram(diagonal: EnclosedArray, weight: np.ndarray, a: EnclosedArray) -> EnclosedArray:
    """diag(diagonal) + W'diag(a)W; a vector where a = 0 exactly."""
    if not (a.mid.any() or a.rad.any()):
        return diagonal
    m = float(weight.shape[0])
    size = np.abs(weight)
    mid = weight.T @ (a.mid[:, None] * weight)
    spread = (m + 8.0) * _U * (np.abs(a.mid) + a.rad) + a.rad
    tiny = m * _TINY * (1.0 + float(size.max()))  # a w and spread w underflow first, and then meet a large w
    rad = size.T @ (spread[:, None] * size) * (1.0 + (2.0 * m + 32.0) * 2.0**-52) + tiny
    mid = np.tril(mid) + np.tril(mid, -1).T
    rad = np.maximum(rad, rad.T)
    index = np.arange(diagonal.mid.size)
    mid[index, index] += diagonal.mid
    rad[index, index] = (rad[index, index] + diagonal.rad + 2.0 * _U * np.abs(mid[index, index])) * (
        1.0 + 2.0**-48
    )
    return EnclosedArray(mid, rad)
