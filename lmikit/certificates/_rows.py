"""Bounds of many scalar outputs of one network at once: the multipliers and their factorisation are shared.

With T = t / rho the lifted matrix of `_lifted.py` for one output row w, divided by rho and with its last
row and column multiplied by sqrt(rho), is [[Z, -w'], [-w, rho]] with Z = the input and hidden blocks at
rho = 1: PSD shows |w (z - z')|^2 <= rho ||x - x'||^2 for the last hidden layer's values z. Z is that of
all rows, so that it is factored once; for these multipliers the least rho is w Z^-1 w'. A few tilts of the
multipliers along the layers are tried, and every row keeps the least that is proven.

Linear neurons are eliminated, as in the proof for all outputs: Z is of the other neurons and w what the row
says of them, which may be a product of maps, with radii.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from .._arrays import blas_threads
from .._witness import Witness
from ..network import Network
from ._assemble import assemble, grouped
from ._borders import least_proven, merged
from ._dissipation import eliminate
from ._feasible import always_feasible
from ._float_environment import require_ieee
from ._forms import Form, form_of
from ._proofs import in_normal_weights
from ._rational import root_upward
from ._repair import least_rho
from ._verified_cholesky import BlockTridiagonal

__all__ = ["rows_proven"]

_TILTS = (1.0, 0.4, 0.5, 0.6, 0.7, 0.78, 0.85, 0.91, 0.96, 1.04, 1.1, 1.2)  # per layer
_SHARES = (0.1, 0.3, 0.6, 1.0)  # of the closed form

_Least = Callable[[list[np.ndarray]], np.ndarray]  # from multipliers to the least rho proven per row, or NaN


def rows_proven(network: Network, witness: Witness, rows: np.ndarray) -> np.ndarray:
    """Proven bounds (p,) of the outputs w_i z, rows (p, n) exact; NaN where a row needs a proof of its own.

    z are the last hidden layer's values of `network`. Every row must be zero where the network's last map
    has a zero column, as differences of its rows are.
    """
    result = np.full(rows.shape[0], np.nan)
    if witness.kind != "lipsdp" or not network.hidden_layers or not witness.rho > 0.0:
        return result
    require_ieee()
    with blas_threads(1), np.errstate(all="ignore"):
        found = in_normal_weights(network, witness)
        if found is None:
            return result
        chain, given, rho, pow2 = found
        form = form_of(chain, eliminate_linear=True)
        picked = [t / rho for t in form.pick(given)]
        if not all(np.isfinite(t).all() and (t > 0.0).all() for t in picked):
            return result
        power = pow2[-1] if pow2 else 0
        kept = rows[:, chain.kept[-1]]
        scaled = np.ldexp(kept, -power)
        exact = (np.ldexp(scaled, power) == kept).all(axis=1)
        best = np.full(rows.shape[0], np.inf)
        least = _eliminated(form, scaled) if form.eliminates else _direct(form, scaled)
        for multipliers in _nearby(form, picked):
            best = np.fmin(best, least(multipliers))
    require_ieee()
    for k in np.flatnonzero(exact & np.isfinite(best)):
        result[k] = root_upward(float(best[k]), sum(pow2))
    return result


def _nearby(form: Form, given: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """What suits all outputs at once does not suit every row best: tilts, and mixes with the closed form."""
    for tilt in _TILTS:
        yield [t * tilt ** (k + 1.0) for k, t in enumerate(given)]
    closed = _closed(form)
    rho = least_rho(form.lift(closed))
    for share in _SHARES:
        yield [(1.0 - share) * t + share / rho * c for t, c in zip(given, closed, strict=True)]


def _closed(form: Form) -> list[np.ndarray]:
    """The closed form of the chain with wholly linear layers multiplied out, below that of `form.closed`.

    A proposal: the products round.
    """
    weights, slopes = [form.chain.weights[0]], []
    for w, (alpha, beta) in zip(form.chain.weights[1:], form.chain.slopes, strict=True):
        if (alpha == beta).all():
            weights[-1] = w @ (alpha[:, None] * weights[-1])
        else:
            weights.append(w)
            slopes.append((alpha, beta))
    found = always_feasible(dataclasses.replace(form.chain, weights=tuple(weights), slopes=tuple(slopes)))
    return [t[index] for t, index in zip(found, form.within, strict=True)]


def _direct(form: Form, rows: np.ndarray) -> _Least:
    """Z is the lifted matrix without its last block."""

    def least(multipliers: list[np.ndarray]) -> np.ndarray:
        a = form.lift(multipliers).at(1.0)
        shared = BlockTridiagonal(a.diagonal[:-1], a.lower[:-1], a.diagonal_rad[:-1], a.lower_rad[:-1])
        return least_proven(shared, rows)

    return least


def _eliminated(form: Form, rows: np.ndarray) -> _Least:
    """Z is that of the neurons with alpha < beta; what w reads of it is put into its last block."""
    chain = dataclasses.replace(form.chain, weights=(*form.chain.weights[:-1], rows))
    system = eliminate(chain)
    groups = grouped([[*level.rows, k] for k, level in enumerate(system.levels, start=1)], len(system.sizes))
    first = min(g for g, group in enumerate(groups) if any(k in group for k in system.output))
    mid, rad = [], []
    for k in range(groups[first].start, len(system.sizes)):
        nothing = np.zeros((rows.shape[0], system.sizes[k]))
        y = system.output.get(k)
        mid.append(nothing if y is None else y.value)
        rad.append(nothing if y is None or y.rad is None else y.rad)
    border, radii = np.concatenate(mid, axis=1), np.concatenate(rad, axis=1)
    without = dataclasses.replace(system, output={})

    def least(multipliers: list[np.ndarray]) -> np.ndarray:
        return least_proven(merged(assemble(without, multipliers).at(1.0), first), border, radii)

    return least
