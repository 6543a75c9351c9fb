"""The two proofs: the lifted LipSDP matrix, and one matrix per linear map.

`prove_*` take a witness as it is; `repair_*` search for one that can be proven. Both end in
`verified_cholesky`; nothing else in this room creates a proof. THEOREMS:

lipsdp. If the lifted matrix of `_lifted.py` is PSD for some T >= 0 then
||f(x) - f(x')||^2 <= rho ||x - x'||^2 for all x, x' (Fazlyab et al., NeurIPS 2019, Theorem 2, with
diagonal multipliers; incremental quadratic constraints per neuron).

layerwise. If tau_k I - W_k'W_k is PSD for every linear map and |slopes| <= m_k in hidden layer k, then
rho = prod tau_k prod m_k^2 does (composition of Lipschitz maps). tau I - W'W is PSD exactly if the
lifted [[tau I, W'], [W, I]] is, whose entries are exact.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from .._errors import InputError, NotCertified
from .._witness import Witness
from ..network import Network, normalise, with_scaled_layers
from ._forms import Form, form_of
from ._inflation import inflated
from ._lifted import Chain, Lifted, lift, reduce_exact_zeros
from ._one_map import LARGE_MAP, proven_square
from ._rational import round_upward
from ._repair import HEADROOM, least_rho, propose_multipliers
from ._verified_cholesky import BlockTridiagonal, Verdict, verified_cholesky
from ._wide_layers import has_wide_layers, proven_products

__all__ = ["Proof", "in_normal_weights", "prove", "repair"]

_LARGEST_POW2 = 2200  # beyond it, scaling a nonzero float is never exact


@dataclasses.dataclass(frozen=True)
class Proof:
    """What was proven: the witness as proven, and the largest rounding shift it survived."""

    witness: Witness
    shift: float
    zero_rule: bool = False
    eliminates: bool = False  # neurons with alpha = beta have no multiplier


def prove(network: Network, witness: Witness, eliminate: bool = True) -> Proof:
    """Prove exactly what the witness says; raises NotCertified.

    With `eliminate`, neurons with alpha = beta are folded into the maps and their multipliers do not matter.
    """
    _check_sizes(network, witness)
    _check_numbers(witness)
    if has_wide_layers(network):
        return Proof(*proven_products(network, witness, repair=False))
    chain = _chain(_scaled(network, witness.layer_pow2))
    if chain is None:
        return Proof(witness, 0.0, zero_rule=True)
    if witness.kind == "layerwise":
        return Proof(witness, _prove_layers(chain, witness).shift)
    form = form_of(chain, eliminate)
    multipliers = form.pick(witness.multipliers)
    shift = _prove_lipsdp(form, multipliers, witness.rho).shift
    if form.eliminates:
        full = form.spread(multipliers, network.dims[1:-1])
        witness = dataclasses.replace(witness, multipliers=full)
    return Proof(witness, shift, eliminates=form.eliminates)


def repair(network: Network, witness: Witness) -> Proof:
    """The best proof found near the witness, in exactly normalised weights; raises NotCertified."""
    _check_sizes(network, witness)
    if has_wide_layers(network):
        return Proof(*proven_products(network, witness, repair=True))
    scaled, pow2 = _normalised(network, witness)
    chain = _chain(scaled)
    if chain is None:
        zeros = tuple(np.zeros(n) for n in _sizes(network, witness.kind))
        return Proof(_replace(witness, 0.0, zeros, pow2), 0.0, zero_rule=True)
    if witness.kind == "layerwise":
        return _repair_layers(chain, witness, pow2)
    return _repair_lipsdp(network, chain, witness, pow2)


def in_normal_weights(
    network: Network, witness: Witness
) -> tuple[Chain, list[np.ndarray], float, tuple[int, ...]] | None:
    """The chain, multipliers, rho and layer_pow2 of a "lipsdp" witness where every weight is normalised.

    None where the function is constant.
    """
    _check_sizes(network, witness)
    scaled, pow2 = _normalised(network, witness)
    chain = _chain(scaled)
    return None if chain is None else (chain, *_rescaled(witness, pow2), pow2)


def _sizes(network: Network, kind: str) -> tuple[int, ...]:
    return network.dims[1:-1] if kind == "lipsdp" else (1,) * len(network.layers)


def _check_sizes(network: Network, witness: Witness) -> None:
    expected = _sizes(network, witness.kind)
    given = tuple(t.size for t in witness.multipliers)
    if given != expected:
        raise InputError(
            f"a {witness.kind!r} witness for this network has multipliers of sizes {given}; "
            f"expected {expected}. Was it made for another network?"
        )
    if witness.layer_pow2 and len(witness.layer_pow2) != len(network.layers):
        raise InputError(
            f"the witness has {len(witness.layer_pow2)} powers of two; expected {len(network.layers)}, "
            "one per linear map, or none."
        )


def _check_numbers(witness: Witness) -> None:
    if not (math.isfinite(witness.rho) and witness.rho >= 0.0):
        raise NotCertified(f"rho is {witness.rho}; expected a finite number, zero or more.")
    for k, t in enumerate(witness.multipliers):
        if not (np.isfinite(t).all() and (t >= 0.0).all()):
            raise NotCertified(f"multipliers[{k}] holds NaN, infinity or a negative number; expected T >= 0.")


def _scaled(network: Network, pow2: tuple[int, ...]) -> Network:
    if any(abs(p) > _LARGEST_POW2 for p in pow2):
        raise NotCertified(f"layer_pow2 is {pow2}; expected powers within {_LARGEST_POW2}.")
    try:
        return with_scaled_layers(network, pow2)
    except InputError as error:
        raise NotCertified(f"the weights cannot be scaled as the witness says: {error}") from error


def _normalised(network: Network, witness: Witness) -> tuple[Network, tuple[int, ...]]:
    try:
        return normalise(network)
    except InputError:
        return _scaled(network, witness.layer_pow2), witness.layer_pow2


def _chain(network: Network) -> Chain | None:
    return reduce_exact_zeros(network.weights, network.slopes)


def _replace(
    witness: Witness, rho: float, multipliers: tuple[np.ndarray, ...], pow2: tuple[int, ...]
) -> Witness:
    return dataclasses.replace(witness, rho=rho, multipliers=multipliers, layer_pow2=pow2)


def _prove_lipsdp(form: Form, multipliers: Sequence[np.ndarray], rho: float) -> Verdict:
    lifted = form.lift(multipliers)
    verdict = verified_cholesky(lifted.at(rho))
    if not verdict.ok:
        margin = _missing_margin(lifted.at(rho))
        raise NotCertified(
            f"at rho={rho:.9g} the lifted LMI has margin {margin:.1e} ({verdict.reason}); expected a "
            "positive one. Verify with repair=True, or solve more accurately.",
            margin,
        )
    return verdict


def _missing_margin(a: BlockTridiagonal) -> float:
    """-eta, eta the least power of ten with A + eta diag(A) proven PD; a figure for messages only."""
    for power in range(-16, 1):
        eta = 10.0**power
        grown = [
            d * (1.0 + eta) if d.ndim == 1 else d + np.diag(np.abs(np.diagonal(d)) * eta) for d in a.diagonal
        ]
        if verified_cholesky(dataclasses.replace(a, diagonal=tuple(grown))).ok:
            return -eta
    return -math.inf


def _norm_matrix(w: np.ndarray) -> Lifted:
    """The lifted matrix of one linear map, the longer side first because that block stays diagonal."""
    wide = w if w.shape[1] >= w.shape[0] else np.ascontiguousarray(w.T)  # same norm
    return lift(Chain((wide,), (), ()), ())


def _gains(chain: Chain) -> Iterator[float]:
    """m_k twice per hidden layer."""
    for alpha, beta in chain.slopes:
        largest = float(max(np.abs(alpha).max(), np.abs(beta).max()))
        yield from (largest, largest)


def _prove_layers(chain: Chain, witness: Witness) -> Verdict:
    shift = 0.0
    taus = [float(t[0]) for t in witness.multipliers]
    for k, (w, tau) in enumerate(zip(chain.weights, taus, strict=True)):
        verdict = verified_cholesky(_norm_matrix(w).at(tau))
        if not verdict.ok:
            raise NotCertified(
                f"tau={tau:.9g} of linear map {k} is not proven to reach the squared norm "
                f"({verdict.reason}). Verify with repair=True."
            )
        shift = max(shift, verdict.shift)
    needed = round_upward([*taus, *_gains(chain)])
    if not witness.rho >= needed:
        raise NotCertified(
            f"rho={witness.rho:.17g} is below the product of all tau and squared slope gains, {needed:.17g}."
        )
    return Verdict(True, shift)


def _repair_layers(chain: Chain, witness: Witness, pow2: tuple[int, ...]) -> Proof:
    taus = []
    shift = 0.0
    for k, w in enumerate(chain.weights):
        lifted = _norm_matrix(w)
        found = inflated(lifted, least_rho(lifted))
        if found is None:
            raise NotCertified(f"no norm bound of linear map {k} could be proven; its entries span too far.")
        taus.append(found[0])
        shift = max(shift, found[1])
    rho = round_upward([*taus, *_gains(chain)])
    if not math.isfinite(rho):
        raise NotCertified("the product of the layer bounds overflows float64; rescale the layers.")
    return Proof(_replace(witness, rho, tuple(np.array([tau]) for tau in taus), pow2), shift)


def _repair_lipsdp(network: Network, chain: Chain, witness: Witness, pow2: tuple[int, ...]) -> Proof:
    given, rho = _rescaled(witness, pow2)
    if len(chain.weights) == 1 and min(chain.weights[0].shape) >= LARGE_MAP:
        square = proven_square(chain.weights[0], rho, HEADROOM)
        if square is not None:
            return Proof(_replace(witness, square[0], (), pow2), square[1])
    form = form_of(chain, eliminate_linear=True)

    def proof(multipliers: Sequence[np.ndarray], found: tuple[float, float]) -> Proof:
        full = form.spread(multipliers, network.dims[1:-1])
        return Proof(_replace(witness, found[0], full, pow2), found[1], eliminates=form.eliminates)

    reduced = form.pick(given)
    found = _as_claimed(form, reduced, rho)
    if found is not None:
        return proof(reduced, found)
    for multipliers, least in propose_multipliers(form, reduced, rho):
        found = inflated(form.lift(multipliers), least)
        if found is not None:
            return proof(multipliers, found)
    raise NotCertified(
        "no multipliers near the witness, and not the closed form either, could be proven: the entries "
        "of the lifted matrix leave the range of float64, or those of one layer span too far. Rescale "
        "the layers."
    )


def _as_claimed(form: Form, given: Sequence[np.ndarray], rho: float) -> tuple[float, float] | None:
    """(rho, shift) where the claim holds with these multipliers: nothing to repair, at most a smaller rho.

    So a method whose multipliers are feasible is certified for what it claims, and methods that
    are ordered by construction stay so; only claims that fail are searched around.
    """
    if not all(np.isfinite(t).all() and (t > 0.0).all() for t in given) or not math.isfinite(rho):
        return None
    lifted = form.lift(given)
    least = least_rho(lifted)
    if least < rho:  # what is proven below the claim proves it
        found = inflated(lifted, least)
        if found is not None and found[0] < rho:
            return found
    verdict = verified_cholesky(lifted.at(rho), HEADROOM)
    return (rho, verdict.shift) if verdict.ok else None


def _rescaled(witness: Witness, pow2: tuple[int, ...]) -> tuple[list[np.ndarray], float]:
    """The witness in weights scaled by 2**-pow2, exact up to overflow and underflow.

    With d = pow2 - layer_pow2 and x_k = 2**c_k z_k, c_k = d_0 + ... + d_{k-1}: the LMI divided by
    4**c_{L+1} has T_k 4**(c_k - c_{L+1}) and rho 4**-c_{L+1}.
    """
    layers = len(witness.multipliers) + 1
    old = witness.layer_pow2 or (0,) * layers
    new = pow2 or (0,) * layers
    c = [0]
    for p, q in zip(old, new, strict=True):
        c.append(c[-1] + max(-_LARGEST_POW2, min(_LARGEST_POW2, q - p)))
    with np.errstate(all="ignore"):
        given = [np.ldexp(t, _clamped(2 * (c[k + 1] - c[-1]))) for k, t in enumerate(witness.multipliers)]
        rho = float(np.ldexp(witness.rho, _clamped(-2 * c[-1])))
    return given, rho


def _clamped(power: int) -> int:
    return max(-5000, min(5000, power))
