"""Where a search begins that has multipliers of an earlier one: between those and Fast's, strictly feasible.

The matrices are linear in multipliers and output weight together, so that a small share of a point well
inside leads from a solution, which lies on the boundary, into the interior; where weights have moved the
share that makes the earlier multipliers feasible again is larger.
"""

import math
from collections.abc import Callable

import numpy as np

from ...torus import TorusWitness

__all__ = ["begun_again"]

_SHARES = 1e-3, 1e-2, 0.03, 0.1, 0.3


def begun_again(
    warm: TorusWitness, inside: np.ndarray, needed: Callable[[np.ndarray], float]
) -> tuple[np.ndarray, float, float] | None:
    """(multipliers, the output weight they need, the share of `inside`), None where no share is feasible.

    Shares grow until the weight that is needed does not fall any more.
    """
    best: tuple[np.ndarray, float, float] | None = None
    outer = np.concatenate([*warm.multipliers, *warm.head]) / warm.d_in
    for share in _SHARES:
        T = (1.0 - share) * outer + share * inside
        value = needed(T)
        if best is not None and not value < best[1]:
            break
        if math.isfinite(value):
            best = T, value, share
    return best
