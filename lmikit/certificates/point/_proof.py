"""The proof of one multiplier group: M positive definite, and the border paid for.

THEOREM. Let Z = [[corner, f'], [f, M]] be the quadratic form of L_r in (1, x, w), z any vector. The
congruence with [[1, z'], [0, I]] turns Z into [[L_r(z), r'], [r, M]] with r = M z + f, so

    M - diag(delta) > 0,  delta > 0,  L_r(z) >= sum_i r_i^2 / delta_i   imply   Z >= 0, L_r >= 0 everywhere,

since x'Mx + 2 r'x >= sum_i (delta_i x_i^2 + 2 r_i x_i) >= -sum_i r_i^2 / delta_i. At the minimiser that a
floating-point solve proposes r is of the size of rounding, and its price is of second order. M is
proven by `AbstractHessian.proven`, delta added to its radii; L_r(z) and r are enclosed (`_lagrangian`).
"""

import dataclasses
import math

import numpy as np
import scipy.sparse as sp

from ...claims import PointClaim
from ...network import Network
from ._enclosure import EnclosedArray
from ._hessian import AbstractFactor, AbstractHessian
from ._lagrangian import Lagrangian
from ._terms import Site, term_of_kind
from ._witness import MultiplierGroup

__all__ = ["GroupProof", "fault_of", "looks_definite", "prove_group", "quadratic_form"]

_LOOKS = 2.0**-30  # of the diagonal: what a proof takes in rounding and slack, and a little more
_SHARES = (2.0**-33, 2.0**-38, 2.0**-42)  # delta_i / M_ii


@dataclasses.dataclass(frozen=True)
class GroupProof:
    """`bounds[r]` <= rows[r] . f + offsets[r] on the region, proven; `squares[r]` for claims of radius.

    `squares[r]` <= the square of every radius for which L_r >= 0 with s_r = 0. What the claim's kind does
    not ask for is NaN.
    """

    bounds: np.ndarray
    squares: np.ndarray
    shift: float


def fault_of(network: Network, claim: PointClaim, group: MultiplierGroup) -> str:
    """What makes a group unusable whatever its numbers are worth; the empty string if nothing does."""
    region = claim.region
    if not group.rows or not all(0 <= r < len(claim.rows) for r in group.rows):
        return f"a group serves rows {group.rows}; the claim has {len(claim.rows)}"
    if not ((group.scales > 0.0) & np.isfinite(group.scales)).all():
        return "a scale is not a positive finite number"
    if not (math.isfinite(group.mu) and group.mu >= 0.0) or (region.ball is None and group.mu != 0.0):
        return f"mu={group.mu!r}; expected a nonnegative number, 0 without a ball"
    if group.tau.shape != ((region.dim,) if region.box is not None else (0,)):
        return f"tau has shape {group.tau.shape}; expected ({region.dim},) with a box, (0,) without"
    if not ((group.tau >= 0.0) & np.isfinite(group.tau)).all():
        return "tau holds a number that is not nonnegative and finite"
    if len(group.layers) != network.hidden_layers:
        return f"multipliers for {len(group.layers)} hidden layers; the network has {network.hidden_layers}"
    for k in range(network.hidden_layers):
        reason = _layer_fault(Site(network, k, region), group)
        if reason:
            return f"hidden layer {k + 1}: {reason}"
    return ""


def _layer_fault(site: Site, group: MultiplierGroup) -> str:
    for item in group.layers[site.index]:
        term = term_of_kind(item.kind)
        if term is None:
            return f"no term is called {item.kind!r}"
        if set(item.parameters) != set(term.parameters):
            return f"{item.kind} has parameters {sorted(item.parameters)}; expected {list(term.parameters)}"
        arrays = (item.values, *item.parameters.values())
        if any(a.shape != (site.neurons,) or not np.isfinite(a).all() for a in arrays):
            return f"{item.kind} has an array that is not ({site.neurons},) finite numbers"
        if not term.equality and not (item.values >= 0.0).all():
            return f"{item.kind} has a negative multiplier"
        reason = term.fault(site, item.parameters, item.values != 0.0)
        if reason:
            return reason
    return ""


def prove_group(network: Network, claim: PointClaim, group: MultiplierGroup) -> GroupProof | str:
    """Bounds of every row of a group whose `fault_of` is empty; a string says why M is not proven."""
    lagrangian = Lagrangian(network, claim, group)
    hessian = lagrangian.hessian()
    try:
        factor = hessian.solver()
    except np.linalg.LinAlgError as error:
        return f"the matrix is not positive definite ({error})"
    linear = lagrangian.gradient([np.zeros((w.shape[1], len(group.rows))) for w in lagrangian.weights])
    point = _minimiser(hessian, factor, [f.mid for f in linear])
    gradient = lagrangian.gradient(point)
    room = _room(lagrangian, linear, point)
    reason = ""
    for share in _SHARES:
        verdict = hessian.proven(share)
        if not verdict.ok:
            reason = verdict.reason
            continue
        price = _price(hessian, gradient, share)
        return _bounds(lagrangian, point, price, room, verdict.shift)
    return f"the matrix is not proven positive definite: {reason}"


def looks_definite(network: Network, claim: PointClaim, group: MultiplierGroup) -> bool:
    """Whether M leaves room for the roundings of a proof, in floating point: for proposals, no proof."""
    try:
        Lagrangian(network, claim, group).hessian().solver(_LOOKS)
    except np.linalg.LinAlgError:
        return False
    return True


def quadratic_form(
    network: Network, claim: PointClaim, group: MultiplierGroup
) -> tuple[sp.csr_array, np.ndarray]:
    """M (N, N) and f (N, R) in (x, w_1, ..., w_L), in floating point: for proposals, no proof."""
    lagrangian = Lagrangian(network, claim, group)
    zero = [np.zeros((w.shape[1], len(group.rows))) for w in lagrangian.weights]
    return lagrangian.hessian().matrix(), np.vstack([f.mid for f in lagrangian.gradient(zero)])


def _minimiser(
    hessian: AbstractHessian, factor: AbstractFactor, linear: list[np.ndarray]
) -> list[np.ndarray]:
    """z = -M^-1 f with one step of refinement, per row of the group; nothing is proven of it."""
    point = [-z for z in factor.solve(linear)]
    rest = [f + image for f, image in zip(linear, hessian.times(point), strict=True)]
    return [z - step for z, step in zip(point, factor.solve(rest), strict=True)]


def _price(hessian: AbstractHessian, gradient: list[EnclosedArray], share: float) -> np.ndarray:
    """At least sum_i r_i^2 / delta_i, per row."""
    total = np.zeros(gradient[0].mid.shape[1])
    count = 0
    for main, r in zip(hessian.mains(), gradient, strict=True):
        delta = share * main
        size = r.size()
        total = total + (size / delta[:, None] * size).sum(axis=0)  # the square alone could underflow
        count += delta.size
    return np.asarray(total * (1.0 + (2.0 * count + 64.0) * 2.0**-52) + count * 2.0**-1000)


def _room(lagrangian: Lagrangian, linear: list[EnclosedArray], point: list[np.ndarray]) -> np.ndarray:
    """What is left for a checker that expands the quadratic form: some roundings of sum |f_i z_i|.

    It is no part of the proof, which would be as good without.
    """
    size = sum((np.abs(f.mid) * np.abs(z)).sum(axis=0) for f, z in zip(linear, point, strict=True))
    start = np.abs(lagrangian.value([np.zeros_like(z) for z in point], None).mid)
    return np.asarray((size + start) * (8.0 * sum(len(z) for z in point) + 256.0) * 2.0**-53)


def _bounds(
    lagrangian: Lagrangian, point: list[np.ndarray], price: np.ndarray, room: np.ndarray, shift: float
) -> GroupProof:
    """s_r = (L_r(z) + t s_r - price) / t rounded down, less `room`."""
    scales, mu = lagrangian.scales, lagrangian.group.mu

    def lowered(value: EnclosedArray) -> np.ndarray:
        spare = room + 4.0 * (value.rad + price) + 2.0**-48 * np.abs(value.mid)
        return np.nextafter(value.lower() - price * 1.01 - spare, -np.inf)

    def rounded(values: np.ndarray) -> np.ndarray:
        return np.asarray(np.nextafter(values - 2.0**-50 * np.abs(values), -np.inf))

    nothing = np.full(scales.shape, np.nan)
    if lagrangian.claim.kind == "margin":
        return GroupProof(rounded(lowered(lagrangian.value(point, None)) / scales), nothing, shift)
    if not mu > 0.0:
        return GroupProof(nothing, nothing, shift)
    return GroupProof(nothing, rounded(lowered(lagrangian.value(point, 0.0)) / mu), shift)
