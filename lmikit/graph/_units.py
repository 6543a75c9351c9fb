"""Units for the values of a graph: powers of two near what one unit of the input can make of them."""

import math

import numpy as np

from ._graph import Graph
from ._nodes import Affine, Apply

__all__ = ["units"]

_PLAIN = 16  # powers up to which the units stay 1: norms along paths are far above the gains of deep sums
_LARGEST = 500  # powers beyond which products of units leave the range of float64


def units(graph: Graph, plain: int = _PLAIN) -> list[float]:
    """Per node a power of two near its gain by norms along paths; 1 for a gain of 0 or out of range.

    All are 1 where none is beyond 2**plain or below 2**-plain.
    """
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
    result = [_power(g) for g in gains]
    near = all(2.0**-plain <= u <= 2.0**plain for u in result)
    return [1.0] * len(result) if near else result


def _power(gain: float) -> float:
    if not (0.0 < gain < math.inf):
        return 1.0
    return math.ldexp(1.0, min(max(round(math.log2(gain)), -_LARGEST), _LARGEST))
