"""Hidden layers in which every neuron is linear (alpha = beta) become part of the next map."""

import dataclasses
from typing import ClassVar, Self

import numpy as np

from .._witness import Witness
from ..network import AbstractLinearMap, DenseMap, Network, SparseMap
from ._chain import AbstractChainReduction, bounds_only

__all__ = ["LinearLayers"]


@dataclasses.dataclass(frozen=True, eq=False)
class LinearLayers(AbstractChainReduction):
    """`network` has one map for each of `groups`, the consecutive maps of the one before; `sizes` of its
    hidden layers."""

    network: Network
    groups: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]
    exact: ClassVar[bool] = False

    @classmethod
    def apply(cls, network: Network, thorough: bool) -> Self | None:
        groups: list[list[int]] = [[0]]
        for k, (alpha, beta) in enumerate(network.slopes, start=1):
            if (alpha == beta).all():
                groups[-1].append(k)
            else:
                groups.append([k])
        if len(groups) == len(network.layers):
            return None
        maps = [_product(network, group) for group in groups]
        slopes = [network.slopes[group[-1]] for group in groups[:-1]]
        return cls(bounds_only(maps, slopes), tuple(map(tuple, groups)), network.dims[1:-1])

    def _undone(self, witness: Witness) -> Witness:
        """Multiplier 0 for linear neurons, which the proof eliminates."""
        multipliers = [np.zeros(n) for n in self.sizes]
        for group, t in zip(self.groups, witness.multipliers, strict=False):
            multipliers[group[-1]] = t
        powers = [0] * (len(self.sizes) + 1)
        for group, p in zip(self.groups, witness.layer_pow2, strict=False):
            powers[group[-1]] = p
        return dataclasses.replace(witness, multipliers=tuple(multipliers), layer_pow2=tuple(powers))


def _product(network: Network, group: list[int]) -> AbstractLinearMap:
    """W_b A_{b-1} W_{b-1} ... A_a W_a for the maps a..b of the group, A_k = diag(alpha_k)."""
    first, *rest = group
    result = network.layers[first].linear
    for k in rest:
        alpha, linear = network.layers[k - 1].alpha, network.layers[k].linear
        if isinstance(result, DenseMap) or isinstance(linear, DenseMap):
            result = DenseMap(linear.to_dense() @ (alpha[:, None] * result.to_dense()))
        else:
            result = SparseMap(linear.to_sparse() @ (result.to_sparse() * alpha[:, None]).tocsr())
    return result
