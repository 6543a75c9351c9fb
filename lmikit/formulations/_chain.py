"""What the LipSDP formulations of a chain of layers share: rows, slopes, multipliers, witnesses."""

import dataclasses
import functools
from typing import Literal

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from .._witness import Witness
from ..lmi import Solution
from ..network import Network
from ._base import AbstractFormulation
from ._point import lowest_gain
from .iqc._slopes import check_multipliers

__all__ = ["AbstractChainFormulation", "chain_slopes"]


@dataclasses.dataclass(frozen=True, eq=False)
class AbstractChainFormulation(AbstractFormulation):
    """A form of LipSDP for a feed-forward network, multipliers per neuron or one per layer.

    Coupled multipliers ("network") are refused: they are invalid for increments (Pauli et al.,
    IEEE L-CSS 2022; f(x) = relu(x) - relu(x - 1) is a counterexample).
    """

    network: Network
    multipliers: Literal["neuron", "layer"] = "neuron"

    def __post_init__(self) -> None:
        check_multipliers(self.multipliers)

    @functools.cached_property
    def incidence(self) -> sp.csc_array:
        """Neuron to variable, (N, N) or (N, L): Lambda per neuron = incidence @ Lambda."""
        sizes = self.network.dims[1:-1]
        if self.multipliers == "neuron":
            return sp.eye_array(sum(sizes), format="csc")
        layer = np.repeat(np.arange(len(sizes)), sizes)
        return sp.csc_array(
            (np.ones(layer.size), (np.arange(layer.size), layer)), shape=(layer.size, len(sizes))
        )

    def propose(self, rho: float, T: np.ndarray, solution: Solution) -> Witness:
        """The witness with multipliers T (N,) in the order of the neurons."""
        sizes = self.network.dims[1:-1]
        return Witness(
            "lipsdp",
            rho,
            tuple(np.split(T, np.cumsum(sizes)[:-1])) if sizes else (),
            produced_by=solution.solver,
            optimum_at_least=self.lowest_gain(solution.bound_on_optimum),
        )

    def lowest_gain(self, bound_on_objective: float) -> float | None:
        """The L that a dual bound on the objective -F leaves possible (unproven), or None."""
        return lowest_gain(bound_on_objective)

    def multipliers_of(self, witness: Witness) -> np.ndarray:
        """One T per variable, (N,) or (L,) (there the largest of each layer).

        Raises InputError where the witness does not fit the network.
        """
        sizes = tuple(t.size for t in witness.multipliers)
        if witness.kind != "lipsdp" or sizes != self.network.dims[1:-1] or any(witness.layer_pow2):
            raise InputError(
                f"the witness is of kind {witness.kind!r} with multipliers {sizes}; expected 'lipsdp' with "
                f"{self.network.dims[1:-1]} and no layer scaling."
            )
        if self.multipliers == "layer":
            return np.array([t.max() for t in witness.multipliers])
        return np.concatenate([np.zeros(0), *witness.multipliers])

    def tilt(self, shrink: float) -> np.ndarray:
        """shrink^(k/(L+1)) for every variable of layer k = 1..L."""
        depth = self.network.hidden_layers
        factors = shrink ** (np.arange(1, depth + 1) / (depth + 1.0))
        return factors if self.multipliers == "layer" else np.repeat(factors, self.network.dims[1:-1])


def chain_slopes(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """(alpha, beta) of all hidden neurons, each (N,)."""
    alpha = np.concatenate([np.zeros(0), *(a for a, _ in network.slopes)])
    beta = np.concatenate([np.zeros(0), *(b for _, b in network.slopes)])
    return alpha, beta
