"""The product bound where a layer is sparse and too large for dense blocks: weighted row sums.

THEOREM (Schur's test; Gershgorin after a scaling). For p > 0 and every i let (|W|'|W| p)_i <= tau p_i. Then
tau I - W'W is PSD: |x'W'Wx| <= |x|'|W|'|W||x| and |W|'|W| <= diag((|W|'|W| p)_i / p_i) in the semidefinite
order. So the claim is that of every layerwise certificate, and p, which anybody can find, is not part of it.

Rounding. A sum of n nonnegative products, computed in any order, is at least (1 - n u) of the exact one less
n 2**-1075; two of them in a row and one division are covered by the factor 1 + 4 (n + 4) u, n the largest
number of nonzeros of a row or column, and by n**2 2**-900 / p_i, where entries and weights are below 2**60.
"""

import dataclasses
import math

import numpy as np

from .._errors import InexactScaling, InputError, NotCertified
from .._witness import Witness
from ..network import AbstractLinearMap, Network, is_wide, normalise, perron_weights, with_scaled_layers
from ._inflation import inflated
from ._lifted import Chain, lift
from ._rational import round_upward
from ._repair import least_rho
from ._verified_cholesky import verified_cholesky

__all__ = ["has_wide_layers", "proven_products", "row_sums"]

_U = 2.0**-53
_ROOM = 1e-9  # relative, for checkers whose weights p come out slightly different
_LARGEST = 2.0**60


def has_wide_layers(network: Network) -> bool:
    """Whether a layer is too large for dense blocks."""
    return any(is_wide(layer.linear) for layer in network.layers)


def proven_products(network: Network, witness: Witness, repair: bool) -> tuple[Witness, float]:
    """(the witness as proven, the least relative room); raises NotCertified.

    With `repair` every tau is the least that is proven, else the witness's own taus are proven.
    """
    if witness.kind != "layerwise":
        raise InputError(
            "a layer has too many entries for dense blocks: only a product of norms can be proven; use "
            "SpectralProduct() or LipSDP(), which proposes it there."
        )
    taus, network, pow2 = _prepared(network, witness, repair)
    gains = [float(np.maximum(np.abs(a), np.abs(b)).max()) for a, b in network.slopes]
    proven, room = [], math.inf
    for k, layer in enumerate(network.layers):
        tau, more = _square(layer.linear, None if repair else taus[k], k)
        proven.append(tau)
        room = min(room, more)
    needed = round_upward([*proven, *(g for gain in gains for g in (gain, gain))])
    if not repair and not witness.rho >= needed:
        raise NotCertified(
            f"rho={witness.rho:.17g} is below the product of all tau and squared slope gains, {needed:.17g}."
        )
    rho = needed if repair else witness.rho
    if not math.isfinite(rho):
        raise NotCertified("the product of the layer bounds overflows float64; rescale the layers.")
    multipliers = tuple(np.array([tau]) for tau in proven)
    return dataclasses.replace(witness, rho=rho, multipliers=multipliers, layer_pow2=pow2), room


def _prepared(
    network: Network, witness: Witness, repair: bool
) -> tuple[list[float], Network, tuple[int, ...]]:
    taus = [float(t[0]) if t.size == 1 else math.nan for t in witness.multipliers]
    if len(taus) != len(network.layers) or any(math.isnan(t) for t in taus):
        raise InputError(
            f"a 'layerwise' witness for this network has one number for each of {len(network.layers)} maps."
        )
    try:
        if repair:
            scaled, pow2 = normalise(network)
        else:
            scaled, pow2 = with_scaled_layers(network, witness.layer_pow2), witness.layer_pow2
    except InexactScaling as error:
        raise NotCertified(f"the weights cannot be scaled by powers of two: {error}") from error
    return taus, scaled, pow2


def _square(linear: AbstractLinearMap, tau: float | None, k: int) -> tuple[float, float]:
    """(tau proven, relative room) of one map; `tau` None asks for the least."""
    if is_wide(linear):
        found = row_sums(linear)
        if tau is None:
            return found * (1.0 + _ROOM), _ROOM
        if found <= tau:
            return tau, tau / found - 1.0 if found > 0.0 else math.inf
        raise _not_reached(k, tau, "its weighted row sums are larger")
    w = linear.to_dense()
    long = w if w.shape[1] >= w.shape[0] else np.ascontiguousarray(w.T)
    lifted = lift(Chain((long,), (), ()), ())
    if tau is None:
        least = inflated(lifted, least_rho(lifted))
        if least is None:
            raise NotCertified(f"no norm bound of linear map {k} could be proven; its entries span too far.")
        return least
    verdict = verified_cholesky(lifted.at(tau))
    if not verdict.ok:
        raise _not_reached(k, tau, verdict.reason)
    return tau, verdict.shift


def _not_reached(k: int, tau: float, reason: str) -> NotCertified:
    return NotCertified(
        f"tau={tau:.9g} of linear map {k} is not proven to reach the squared norm ({reason}). Verify with "
        "repair=True."
    )


def row_sums(linear: AbstractLinearMap) -> float:
    """The least tau of the theorem that the power iteration finds, rounded upwards."""
    size = abs(linear.to_sparse())
    if size.data.size and float(size.data.max()) > _LARGEST:
        return math.inf
    p, _ = perron_weights(size)
    if not ((p > 0.0).all() and (p <= _LARGEST).all()):
        return math.inf
    columns = np.bincount(size.indices, minlength=size.shape[1])
    n = float(max(np.diff(size.indptr).max(), columns.max()))
    ratios = (size.T @ (size @ p)) / p * (1.0 + 4.0 * (n + 4.0) * _U) + n * n * 2.0**-900 / p
    return float(np.nextafter(ratios.max(), math.inf))
