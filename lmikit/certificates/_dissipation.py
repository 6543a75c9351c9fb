"""A dissipation on nonlinear neurons: what is proven, without a word of where the neurons came from.

z = (z_0, z_1, ..., z_K): z_0 is the increment of the input, z_k that of the neurons of level k. Level k
has pre-activations v_k = sum_j R_kj z_j over levels j < k, and the output is y = sum_j Y_j z_j; the rows
R_kj, Y_j may be products of maps, enclosed with radii. With slopes in [alpha, beta], S = diag(alpha + beta)
and Pi = diag(alpha beta):

    M = rho |z_0|^2 - |y|^2 + sum_k 2 z_k'T_k z_k - 2 v_k'S T_k z_k + 2 v_k'Pi T_k v_k >= 0 for all z

says ||f(x) - f(x')||^2 <= rho ||x - x'||^2. Only the order of the levels matters: a level reads levels
before it. A chain, a graph with skips and a chain whose linear neurons were eliminated all have this form.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ._enclosure import Enclosed
from ._lifted import Chain

__all__ = ["Level", "LevelDissipation", "eliminate", "nonlinear_neurons"]


@dataclasses.dataclass(frozen=True)
class Level:
    """Neurons with slopes alpha < beta, each (n,); `rows[j]` (n, n_j) reads level j, 0 being the input."""

    alpha: np.ndarray
    beta: np.ndarray
    rows: Mapping[int, Enclosed]

    @property
    def size(self) -> int:
        return self.alpha.size


@dataclasses.dataclass(frozen=True)
class LevelDissipation:
    """Levels 1..K in order, and the output's rows by level."""

    input_dim: int
    output_dim: int
    levels: tuple[Level, ...]
    output: Mapping[int, Enclosed]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of levels 0..K."""
        return (self.input_dim, *(level.size for level in self.levels))


def nonlinear_neurons(slopes: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, ...]:
    """Indices with alpha < beta, per hidden layer."""
    return tuple(np.flatnonzero(alpha < beta) for alpha, beta in slopes)


def eliminate(chain: Chain) -> LevelDissipation:
    """The dissipation of a chain whose neurons with alpha = beta are replaced by w = alpha v.

    Wholly linear layers leave no level. What a linear neuron reads becomes a skip to what reads it.
    """
    levels: list[Level] = []
    rows: dict[int, Enclosed] = {0: Enclosed(chain.weights[0])}
    for w, (alpha, beta) in zip(chain.weights[1:], chain.slopes, strict=True):
        linear, active = np.flatnonzero(alpha == beta), np.flatnonzero(alpha < beta)
        passed = {}
        if linear.size:
            into = np.ascontiguousarray(w[:, linear])
            passed = {j: r.rows(linear).scaled_rows(alpha[linear]).left(into) for j, r in rows.items()}
        if active.size:
            levels.append(Level(alpha[active], beta[active], {j: r.rows(active) for j, r in rows.items()}))
            passed[len(levels)] = Enclosed(np.ascontiguousarray(w[:, active]))
        rows = passed
    return LevelDissipation(chain.weights[0].shape[1], chain.weights[-1].shape[0], tuple(levels), rows)
