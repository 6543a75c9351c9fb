"""The parts of Z in the checker's own expansion of the Lagrangian, in either arithmetic, and Z at a point."""

import dataclasses
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np

from ...claims import PointClaim
from ...network import Network
from ._dyadic import Dyadic
from ._enclosure import EnclosedArray
from ._terms import COEFFICIENTS, Site, term_of_kind
from ._weights import weights_of
from ._witness import MultiplierGroup

__all__ = ["Expanded", "expanded", "margins_at", "summed"]

Number = TypeVar("Number", Dyadic, EnclosedArray)


@dataclasses.dataclass
class Expanded:
    """Coefficients per layer, curvature of x, maps, f by blocks (n_k, R), the corners (R,)."""

    coefficients: list[dict[str, Any]]
    first: Any
    weights: tuple[Any, ...]
    border: list[Any]
    corner: Any


def summed(kind: type[Number], site: Site, group: MultiplierGroup) -> dict[str, Number]:
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


def expanded(
    kind: Any, network: Network, claim: PointClaim, group: MultiplierGroup, loss: np.ndarray
) -> Expanded:
    """The group's Lagrangian less the claim, `loss` (R,) included."""
    region, hidden = claim.region, network.hidden_layers
    weights = weights_of(network)
    biases = [kind.exact(layer.bias) for layer in network.layers]
    sites = [Site(network, k, region) for k in range(hidden)]
    c: list[dict[str, Any]] = [summed(kind, site, group) for site in sites]
    chosen = list(group.rows)
    scales, rows = kind.exact(group.scales), kind.exact(np.ascontiguousarray(claim.rows[chosen].T))
    ones = kind.exact(np.ones(len(chosen)))
    gap = kind.exact(claim.offsets[chosen]) - kind.exact(claim.lower[chosen]) - kind.exact(loss[chosen])
    corner = scales * ((rows * biases[-1].columns()).total() + gap)
    first, linear, constant = _region_part(kind, claim, group)
    border = []
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
        else:
            pull = (scales * rows).half()
        border.append(f + pull.image(weights[k].T))
    return Expanded(c, first, weights, border, corner + constant * ones)


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


def margins_at(corner: Any, border: list, point: list, rest: list, excess: float) -> list[float]:
    """corner + f'y + y'r - ||r||^2 / e per row, r = B y + f; its sign is exact."""
    square = None
    for y, r, f in zip(point, rest, border, strict=True):
        corner = corner + (type(f).exact(y) * (r + f)).total()
        own = (r * r).total()
        square = own if square is None else square + own
    return _margins(corner, square, excess)


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
