"""Bounds of many scalar outputs of one network at once: the multipliers and their factorisation are shared.

With T = t / rho the lifted matrix of `_lifted.py` for one output row w, divided by rho and with its last
row and column multiplied by sqrt(rho), is [[Z, -w'], [-w, rho]] with Z = the input and hidden blocks at
rho = 1: PSD shows |w (z - z')|^2 <= rho ||x - x'||^2 for the last hidden layer's values z. Z is that of
all rows, so that it is factored once; for these multipliers the least rho is w Z^-1 w'. A few tilts of the
multipliers along the layers are tried, and every row keeps the least that is proven.
"""

from collections.abc import Iterator

import numpy as np

from .._arrays import blas_threads
from .._witness import Witness
from ..network import Network
from ._float_environment import require_ieee
from ._forms import Form, form_of
from ._proofs import in_normal_weights
from ._rational import root_upward
from ._repair import HEADROOM, least_rho
from ._verified_cholesky import BlockTridiagonal, BorderedCholesky

__all__ = ["rows_proven"]

_TILTS = (1.0, 0.4, 0.5, 0.6, 0.7, 0.78, 0.85, 0.91, 0.96, 1.04, 1.1, 1.2)  # per layer
_SHARES = (0.1, 0.3, 0.6, 1.0)  # of the closed form


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
        if form.eliminates or not all(np.isfinite(t).all() and (t > 0.0).all() for t in picked):
            return result
        power = pow2[-1] if pow2 else 0
        kept = rows[:, chain.kept[-1]]
        scaled = np.ldexp(kept, -power)
        exact = (np.ldexp(scaled, power) == kept).all(axis=1)
        best = np.full(rows.shape[0], np.inf)
        for multipliers in _nearby(form, picked):
            best = np.fmin(best, _least(form.lift(multipliers).at(1.0), scaled))
    require_ieee()
    for k in np.flatnonzero(exact & np.isfinite(best)):
        result[k] = root_upward(float(best[k]), sum(pow2))
    return result


def _nearby(form: Form, given: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """What suits all outputs at once does not suit every row best: tilts, and mixes with the closed form."""
    for tilt in _TILTS:
        yield [t * tilt ** (k + 1.0) for k, t in enumerate(given)]
    closed = form.closed()
    rho = least_rho(form.lift(closed))
    for share in _SHARES:
        yield [(1.0 - share) * t + share / rho * c for t, c in zip(given, closed, strict=True)]


def _least(a: BlockTridiagonal, rows: np.ndarray) -> np.ndarray:
    """The least rho proven for every row with the multipliers of A, whose last block is left out; or NaN."""
    shared = BlockTridiagonal(a.diagonal[:-1], a.lower[:-1], a.diagonal_rad[:-1], a.lower_rad[:-1])
    bordered = BorderedCholesky(shared, HEADROOM)
    least = bordered.least(rows)
    return np.where(bordered.holds(rows, least), least, np.nan)
