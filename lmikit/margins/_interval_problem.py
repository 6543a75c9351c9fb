"""The margin problem on a region with enclosures of the preactivations: stable neurons substituted.

The unknowns are d = x - anchor (through h = W_0 d where that is smaller), r_i = max(v_i, 0) for every
undecided neuron and, for the way back to the whole network, e_j = w_j - slope_j v_j for every stable one,
which is 0 at true points. Everything is an affine function of them, one row per quantity:
columns (1 | base | r | e).
"""

import dataclasses

import numpy as np

from ..certificates.point import proven_intervals
from ..claims import AbstractRegion
from ._problem import PieceChain

__all__ = ["IntervalProblem", "interval_problem"]

_NARROW = 1e-5  # of the other side: limits next to 0 would make multipliers of any size
_ROOM = 1e-9  # so that enclosures computed with another BLAS still cover the limits


@dataclasses.dataclass(frozen=True, eq=False)
class IntervalProblem:
    """`upper`, `depth` (U,) bound v and -v for the undecided neurons; `undecided`, `stable` are indices.

    `preactivations` (U, 1 + p + U + S) are the undecided neurons' v; `outputs` (m, ...) the outputs;
    `slope` (N,) that of stable neurons. `base` (n_1 or n_0 rows) maps base to W_0 d.
    """

    chain: PieceChain
    region: AbstractRegion
    anchor: np.ndarray
    through_layer: bool
    undecided: np.ndarray
    stable: np.ndarray
    layer_of: np.ndarray
    slope: np.ndarray
    upper: np.ndarray
    depth: np.ndarray
    preactivations: np.ndarray
    outputs: np.ndarray

    @property
    def base(self) -> int:
        """p."""
        w0 = self.chain.weights[0]
        return int(w0.shape[0] if self.through_layer else w0.shape[1])


def interval_problem(chain: PieceChain, region: AbstractRegion) -> IntervalProblem | None:
    """The problem on the region; None where a preactivation has no finite enclosure."""
    bounds = proven_intervals(chain.original, region)  # as the proof will ask for them
    kept = chain.folding.kept
    lower = np.concatenate([bounds.lower[k] for k in kept])
    upper = np.concatenate([bounds.upper[k] for k in kept])
    if not (np.isfinite(lower).all() and np.isfinite(upper).all()):
        return None
    left, right = np.concatenate(chain.left), np.concatenate(chain.right)
    room = _ROOM * (1e-3 + np.maximum(np.abs(lower), np.abs(upper)))
    positive = (lower >= room) | (left == right)
    negative = (upper <= -room) & ~positive
    undecided, stable = np.flatnonzero(~(positive | negative)), np.flatnonzero(positive | negative)
    slope = np.where(positive, right, left)
    w0 = chain.weights[0]
    through = w0.shape[0] <= w0.shape[1] and chain.regular
    p = w0.shape[0] if through else w0.shape[1]
    column = np.zeros(lower.size, dtype=int)
    column[undecided] = 1 + p + np.arange(undecided.size)
    column[stable] = 1 + p + undecided.size + np.arange(stable.size)
    affine = np.zeros((w0.shape[0], 1 + p + lower.size))
    affine[:, 0] = w0 @ region.anchor + chain.biases[0]
    affine[:, 1 : 1 + p] = np.eye(p) if through else w0
    rows = []
    for k in range(chain.hidden):
        own = slice(int(chain.ends[k]), int(chain.ends[k + 1]))
        index = np.arange(own.start, own.stop)
        open_ = ~(positive | negative)[own]
        rows.append(affine[open_])
        after = np.where(open_, left[own], slope[own])[:, None] * affine
        after[np.arange(index.size), column[own]] += np.where(open_, (right - left)[own], 1.0)
        affine = chain.weights[k + 1] @ after
        affine[:, 0] += chain.biases[k + 1]
    over, under = np.maximum(upper, 0.0) + room, np.maximum(-lower, 0.0) + room
    over, under = np.maximum(over, _NARROW * under), np.maximum(under, _NARROW * over)
    return IntervalProblem(
        chain,
        region,
        region.anchor,
        through,
        undecided,
        stable,
        np.repeat(np.arange(chain.hidden), chain.sizes),
        slope,
        over[undecided],
        under[undecided],
        np.vstack(rows),
        affine,
    )
