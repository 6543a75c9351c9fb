"""Reflections and (max, min) pairs as one neuron per group, where that makes the LMI smaller."""

import dataclasses
from typing import ClassVar, Self

from .._errors import InputError
from ..formulations.graph import GraphGain
from ..graph import Apply, Graph, GraphWitness, without_groups
from ._base import AbstractReduction

__all__ = ["GroupNeurons"]

_DENSE = 1000  # neurons of a graph without levels
_CEILING = 4000  # neurons of a graph whose linear skips are local in other coordinates


@dataclasses.dataclass(frozen=True, eq=False)
class GroupNeurons(AbstractReduction[Graph, GraphWitness]):
    """`network` is `without_groups` of the graph before; the proof rewrites it again.

    Both forms show the same infimum, but that of the constraint on groups may need infinite multipliers.
    """

    network: Graph
    exact: ClassVar[bool] = True

    @classmethod
    def apply(cls, network: Graph, thorough: bool) -> Self | None:
        """None without groups, where they have no such form, and where it would be large without levels."""
        if not any(isinstance(node, Apply) and node.grouped for node in network.nodes):
            return None
        try:
            smaller = without_groups(network)
        except InputError:
            return None
        small = smaller.hidden_neurons <= _DENSE
        small = small or (smaller.hidden_neurons < _CEILING and GraphGain(smaller).feedback is not None)
        return cls(smaller) if small else None

    def undo(self, witness: GraphWitness) -> GraphWitness:
        return dataclasses.replace(witness, rewritten=True)
