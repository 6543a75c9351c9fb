"""Exact power-of-two scaling of single neurons.

With W_{k-1} replaced by D^-1 W_{k-1} and W_k by W_k D, D = diag(2**p) over hidden layer k, the matrix M
of `lmikit.Witness` becomes diag(I, D, I) M diag(I, D, I) if T_k becomes D T_k D: the same bounds are
proven, rho is unchanged. Trained networks hold neurons whose weights are 1e-8 of their neighbours'; a
method that starts from equal multipliers needs the row into and the column out of each neuron alike.
"""

import dataclasses
from typing import ClassVar, Self

import numpy as np

from .._witness import Witness
from ..network import DenseMap, Network
from ._chain import AbstractChainReduction, bounds_only

__all__ = ["NeuronPowers"]

_SWEEPS = 3
_WORTHWHILE = 3  # binades between the powers of one layer; below it nothing is gained
_MOST = 400  # binades: products of two rows stay in range


@dataclasses.dataclass(frozen=True, eq=False)
class NeuronPowers(AbstractChainReduction):
    """`network` has the norm of every neuron's row near that of its column, by 2**p, p per hidden layer.

    Osborne, "On pre-conditioning of matrices", J. ACM 7 (1960), with the ends of the chain fixed.
    """

    network: Network
    powers: tuple[np.ndarray, ...]
    exact: ClassVar[bool] = True

    @classmethod
    def apply(cls, network: Network, thorough: bool) -> Self | None:
        """None where the powers would span fewer than three binades in every layer."""
        weights = [np.array(w) for w in network.weights]
        powers = [np.zeros(w.shape[0], dtype=int) for w in weights[:-1]]
        for _ in range(_SWEEPS):
            for k, total in enumerate(powers):
                p = _powers(weights[k], weights[k + 1])
                weights[k] = np.ldexp(weights[k], -p[:, None])
                weights[k + 1] = np.ldexp(weights[k + 1], p)
                total += p
        if all(np.ptp(p) < _WORTHWHILE for p in powers) or any(np.abs(p).max() > _MOST for p in powers):
            return None
        return cls(bounds_only([DenseMap(w) for w in weights], network.slopes), tuple(powers))

    def _undone(self, witness: Witness) -> Witness:
        """T_i 4**-p_i."""
        multipliers = tuple(
            np.ldexp(t, -2 * p) for t, p in zip(witness.multipliers, self.powers, strict=True)
        )
        return dataclasses.replace(witness, multipliers=multipliers)


def _powers(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """p with |row of `before`| 2**-p near |column of `after`| 2**p; 0 where either is zero or not finite."""
    row, column = np.linalg.norm(before, axis=1), np.linalg.norm(after, axis=0)
    usable = (row > 0.0) & (column > 0.0) & np.isfinite(row) & np.isfinite(column)
    ratio = np.log2(np.where(usable, row, 1.0)) - np.log2(np.where(usable, column, 1.0))
    return np.round(0.5 * ratio).astype(int)
