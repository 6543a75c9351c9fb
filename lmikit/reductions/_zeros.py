"""Removal of neurons that carry no increment.

To a fixed point: those with a zero row into them, a zero column out of them, or alpha = beta = 0.
"""

import dataclasses
from typing import Any, ClassVar, Self

import numpy as np

from .._witness import Witness
from ..network import AbstractLinearMap, DenseMap, Network
from ._chain import AbstractChainReduction, bounds_only

__all__ = ["Zeros"]


@dataclasses.dataclass(frozen=True, eq=False)
class Zeros(AbstractChainReduction):
    """`network` has the neurons `carrying`, masks per hidden layer of the one before.

    A constant function becomes the linear map 0 of one input and one output, and all masks are empty.
    """

    network: Network
    carrying: tuple[np.ndarray, ...]
    exact: ClassVar[bool] = True

    @classmethod
    def apply(cls, network: Network, thorough: bool) -> Self | None:
        carrying = _carrying(network)
        constant = not (all(c.any() for c in carrying) and network.layers[-1].linear.largest_entry() > 0.0)
        if constant:
            zero = Network.from_arrays([np.zeros((1, 1))])
            return cls(zero, tuple(np.zeros_like(c) for c in carrying))
        if all(c.all() for c in carrying):
            return None
        kept = [np.flatnonzero(c) for c in carrying]
        ends = [np.arange(network.input_dim), *kept, np.arange(network.output_dim)]
        maps = [
            linear if (rows.size, columns.size) == linear.shape else linear.restricted(rows, columns)
            for linear, rows, columns in zip((x.linear for x in network.layers), ends[1:], ends, strict=False)
        ]
        slopes = [(alpha[k], beta[k]) for (alpha, beta), k in zip(network.slopes, kept, strict=True)]
        return cls(bounds_only(maps, slopes), carrying)

    def _undone(self, witness: Witness) -> Witness:
        """Multiplier 0 for what is left out, which the proof drops by the same exact rule."""
        multipliers = [np.zeros(c.size) for c in self.carrying]
        if self.network.hidden_layers:
            for full, c, t in zip(multipliers, self.carrying, witness.multipliers, strict=True):
                full[c] = t
        powers = witness.layer_pow2 if len(witness.layer_pow2) == len(self.carrying) + 1 else ()
        return dataclasses.replace(witness, multipliers=tuple(multipliers), layer_pow2=powers)


def _carrying(network: Network) -> tuple[np.ndarray, ...]:
    supports = [_support(layer.linear) for layer in network.layers]
    hidden = network.hidden_layers
    keep = [(alpha != 0.0) | (beta != 0.0) for alpha, beta in network.slopes]
    changed = True
    while changed:
        changed = False
        for k in [*range(hidden), *reversed(range(hidden))]:
            before = np.ones(network.input_dim, bool) if k == 0 else keep[k - 1]
            after = np.ones(network.output_dim, bool) if k == hidden - 1 else keep[k + 1]
            alive = keep[k] & (supports[k] @ before) & (supports[k + 1].T @ after)
            changed = changed or not np.array_equal(alive, keep[k])
            keep[k] = alive
    return tuple(keep)


def _support(linear: AbstractLinearMap) -> Any:
    """Where the matrix is not zero; dense for a dense map, whose sparse form costs more than a bound."""
    return linear.to_dense() != 0.0 if isinstance(linear, DenseMap) else linear.to_sparse() != 0
