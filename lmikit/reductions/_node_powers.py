"""Exact powers of two by node of a graph, near what one unit of the input can make of its value."""

import dataclasses
import math
from typing import ClassVar, Self

import numpy as np

from .._errors import InexactScaling
from ..graph import Affine, Apply, Graph, GraphWitness, Part
from ..network import Slopes
from ._base import AbstractReduction

__all__ = ["NodePowers", "gains_along_paths"]

_PLAIN = 16  # powers up to which all stay 0: norms along paths are far above the gains of deep sums
_PLAIN_LIFTED = 3  # the same where D_in, D_out and multipliers share one scale: norms other than l2
_LARGEST = 500  # powers beyond which products leave the range of float64


@dataclasses.dataclass(frozen=True, eq=False)
class NodePowers(AbstractReduction[Graph, GraphWitness]):
    """`network` holds the values of node k divided by 2**powers[k]; the input keeps its unit."""

    network: Graph
    powers: tuple[int, ...]
    exact: ClassVar[bool] = True

    @classmethod
    def apply(cls, network: Graph, thorough: bool) -> Self | None:
        """None where norms along paths are near 1 already, or a map cannot be scaled without loss."""
        powers = _powers(network)
        if max(map(abs, powers)) <= (_PLAIN_LIFTED if thorough else _PLAIN):
            return None
        try:
            return cls(_scaled(network, powers), powers)
        except InexactScaling:
            return None

    def undo(self, witness: GraphWitness) -> GraphWitness:
        """T of node k times 4**(p - powers[k]), D_in times 4**p, p the power of the output; D_out stays."""
        last = self.powers[-1]
        applied = self.network.applied

        def restored(part: Part) -> Part:
            pairs = zip(applied, part.multipliers, strict=True)
            multipliers = tuple(np.ldexp(t, 2 * (last - self.powers[k])) for k, t in pairs)
            return dataclasses.replace(part, d_in=np.ldexp(part.d_in, 2 * last), multipliers=multipliers)

        lowest = witness.optimum_at_least
        return dataclasses.replace(
            witness,
            parts=tuple(map(restored, witness.parts)),
            optimum_at_least=None if lowest is None else math.ldexp(lowest, last),
        )


def gains_along_paths(graph: Graph) -> list[float]:
    """Per node the sum over its parents of norms times their gains, in floating point: nothing is proven."""
    gains: list[float] = []
    for node in graph.nodes:
        if isinstance(node, Affine):
            terms = zip(node.maps, node.parents, strict=True)
            gains.append(sum(float(np.linalg.norm(m.to_dense(), 2)) * gains[p] for m, p in terms))
        elif isinstance(node, Apply):
            slope = 1.0 if node.grouped else float(max(np.abs(node.alpha).max(), np.abs(node.beta).max()))
            gains.append(slope * gains[node.parent])
        else:
            gains.append(1.0)
    return gains


def _powers(graph: Graph) -> tuple[int, ...]:
    usable = [g if 0.0 < g < math.inf else 1.0 for g in gains_along_paths(graph)]
    return tuple(min(max(round(math.log2(g)), -_LARGEST), _LARGEST) for g in usable)


def _scaled(graph: Graph, powers: tuple[int, ...]) -> Graph:
    nodes = list(graph.nodes)
    for k, node in enumerate(nodes):
        if isinstance(node, Affine):
            pairs = zip(node.maps, node.parents, strict=True)
            nodes[k] = Affine(tuple(m.scaled(powers[p] - powers[k]) for m, p in pairs), node.parents)
        elif isinstance(node, Apply) and not node.grouped:
            change = powers[node.parent] - powers[k]
            alpha, beta = np.ldexp(node.alpha, change), np.ldexp(node.beta, change)
            nodes[k] = Apply(Slopes(alpha, beta), node.parent, node.size)
    return Graph(tuple(nodes))
