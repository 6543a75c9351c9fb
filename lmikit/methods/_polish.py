"""From a solver's point to a strictly feasible one, and a few ascent steps where the solver stopped early."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from .._progress import ProgressCallback
from .._witness import Witness
from ..network import Network
from ._neuron_scaling import neuron_scaled
from ._proposal import Run, proposed_witness
from ._recursion import EliminatedChain, Evaluation, chain_of, evaluate

__all__ = ["polished"]

_TILTS = (0.0, *(c * 10.0**-p for p in range(11, 1, -1) for c in (1.0, 2.0, 5.0)))
_MIXES = (1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 0.1)
_TIGHT = 2e-7  # relative distance of rho to the solver's lower bound that leaves nothing to gain
_STEPS = 200


def polished(
    network: Network,
    witness: Witness,
    start: Witness,
    *,
    ascend: bool,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
) -> Witness:
    """`witness` with the least rho for its multipliers, made feasible, and improved if it is loose.

    Both witnesses are for `network` itself. The multipliers are tilted, or mixed with
    `start`'s, as little as makes the elimination succeed; where rho then stays above the solver's
    lower bound, or there is none, and `ascend` is set, `NeuronScaling`'s ascent goes on from there. Returns
    `witness` as it is where no mix is feasible: `verify` has further repairs.
    """
    chain = chain_of(network)
    with np.errstate(over="ignore", invalid="ignore"):  # slopes of 1e-300: what overflows is not feasible
        best = _feasible(chain, _lambdas(witness), _lambdas(start), witness.rho)
        if best is None or best.rho > start.rho:
            best = _better(best, evaluate(chain, [1.0 / x for x in _lambdas(start)]))
    if best is None:
        return witness
    lowest, suffix = witness.optimum_at_least, ""
    if ascend and chain.hidden_layers and (lowest is None or best.rho > lowest**2 * (1.0 + _TIGHT)):
        run = Run("ascent", time_limit, progress)
        best = neuron_scaled(chain, best, run, 0.1 * _TIGHT, _STEPS)
        suffix = ", ascent"
    found = proposed_witness(chain, best, witness.produced_by + suffix)
    return dataclasses.replace(found, layer_pow2=(), optimum_at_least=lowest)


def _lambdas(witness: Witness) -> tuple[np.ndarray, ...]:
    return tuple(2.0 / witness.rho * t for t in witness.multipliers)


def _feasible(
    chain: EliminatedChain, Lambda: tuple[np.ndarray, ...], fallback: tuple[np.ndarray, ...], claimed: float
) -> Evaluation | None:
    """The best of tilts and mixes; one that reaches the rho that the solver claims ends the search."""
    best: Evaluation | None = None
    for candidate in (*_tilted(Lambda), *_mixed(Lambda, fallback)):
        if any((x <= 0.0).any() for x in candidate):
            continue
        found = evaluate(chain, [1.0 / x for x in candidate])
        if found is not None and (best is None or found.rho < best.rho):
            best = found
        if best is not None and best.rho <= claimed * (1.0 + _TIGHT):
            break
    return best


def _better(first: Evaluation | None, second: Evaluation | None) -> Evaluation | None:
    found = [at for at in (first, second) if at is not None]
    return min(found, key=lambda at: at.rho, default=None)


def _tilted(Lambda: tuple[np.ndarray, ...]) -> Iterator[list[np.ndarray]]:
    """Lambda_k (1 + e)^-k: T_k (1 + e)^(L + 1 - k) and rho (1 + e)^(L + 1), the repair of `verify`."""
    for e in _TILTS:
        yield [x * (1.0 + e) ** -(k + 1.0) for k, x in enumerate(Lambda)]


def _mixed(Lambda: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> Iterator[list[np.ndarray]]:
    for share in _MIXES:
        yield [(1.0 - share) * x + share * y for x, y in zip(Lambda, other, strict=True)]
