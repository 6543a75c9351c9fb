"""Multipliers of LipSDP that are trained with the weights, one set per pair of outputs.

For the pair's row and multipliers T_k = c_k diag(s_k) > 0, eliminating the neurons of the last layer first
turns M(rho, T) >= 0 (see `lmikit.Witness`) into a recursion from output to input: K_{L+1} = 1 and

    K_k = 1/2 (beta - alpha)^2 T_k + 1/4 (alpha + beta)^2 W' (K_{k+1}^{-1} - W T_k^{-1} W'/2)^{-1} W,

W = W_k the map out of layer k, which needs W T_k^{-1} W'/2 < K_{k+1}^{-1}. With s = e^theta and

    2 c_k = a_k (1 + e^phi),   a_k = lambda_max(K_{k+1} W diag(s)^{-1} W'),

that holds for all theta, phi, and rho = lambda_max(W_0'K_1 W_0) is a bound's square. Each K_k is as large as
layer k and never as large as the input.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from .._eigen import top_eigenpair
from .._errors import InputError, OptionError
from .._witness import Witness
from ..reductions import as_stored
from ._pairwise_gains import AbstractPairwiseGain, Pull

__all__ = ["TrainableMultipliers", "slopes_of"]

_SLOPES = {"relu": (0.0, 1.0), "tanh": (0.0, 1.0), "abs": (-1.0, 1.0)}
_LEAST = 1e-6  # of the largest natural scale: that of a neuron without weights
_TINY = 1e-60
_INSIDE = 1e-4  # e^phi at least, of a start from witnesses
_START = {"relu": 0.0, "tanh": 0.0, "abs": -6.0}  # phi: T is twice what it must exceed, for |x| hardly above


def slopes_of(activation: str) -> tuple[float, float]:
    """(alpha, beta); raises OptionError for an activation that is not offered."""
    if activation not in _SLOPES:
        raise OptionError(f"activation is {activation!r}; expected one of {tuple(_SLOPES)}.")
    return _SLOPES[activation]


@dataclasses.dataclass(frozen=True)
class TrainableMultipliers(AbstractPairwiseGain):
    """L_ij = sqrt(rho) of multipliers per pair and neuron, trained on a logarithmic scale.

    The multipliers are further arrays at the end of the weights, `start(weights)`: one vector per hidden
    layer, of (theta, phi) for each pair, in the order of `itertools.combinations`. They are feasible
    whatever their values, so that L_ij is always a bound (up to rounding) and training only tightens it.
    `activation`: "relu" and "tanh" (slopes in [0, 1]) or "abs". Raises OptionError for another.
    """

    activation: str = "relu"

    def __post_init__(self) -> None:
        slopes_of(self.activation)

    def split(self, weights: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """([W0, b0, ...], the multipliers); raises InputError where the arrays are not both."""
        layers = sum(w.ndim == 2 for w in weights)
        ours, own = list(weights[: 2 * layers]), list(weights[2 * layers :])
        pairs = ours[-2].shape[0] * (ours[-2].shape[0] - 1) // 2 if layers else 0
        sizes = [pairs * (w.shape[0] + 1) for w in ours[:-2:2]]
        if [t.size for t in own] != sizes or layers < 2:
            raise InputError(
                f"the weights end in vectors of {[t.size for t in own]} entries; expected {sizes}, what "
                "`start` returns, after [W0, b0, ..., WL, bL] with at least one hidden layer."
            )
        return ours, own

    def start(
        self, weights: Sequence[np.ndarray], witnesses: Sequence[Witness] | None = None
    ) -> list[np.ndarray]:
        """[W0, b0, ...] with multipliers to start from: those of `witnesses`, or of the weights' sizes.

        `witnesses`, one per pair, are for example those of `pairwise_gradient` at these weights. Without
        them s is |column out of the neuron| / |row into it|.
        """
        maps = [np.asarray(w, dtype=np.float64) for w in weights[0::2]]
        rows = _differences(maps[-1])
        if witnesses is None:
            scales = _natural(maps, rows)
            phis = [np.full(len(rows), _START[self.activation])] * len(scales)
        else:
            scales = _of_witnesses(witnesses, len(rows), [len(w) for w in maps[:-1]])
            phis = self._phis(maps, scales)
        own = [
            np.concatenate([np.log(s), phi[:, None]], axis=1).ravel()
            for s, phi in zip(scales, phis, strict=True)
        ]
        return [*weights, *(a.astype(weights[0].dtype) for a in own)]

    def __call__(self, weights: Sequence[np.ndarray]) -> tuple[np.ndarray, Pull]:
        passed = self._passed(weights)
        outputs = passed.weights[-2].shape[0]
        first, second = np.triu_indices(outputs, 1)
        L = np.zeros((outputs, outputs))
        L[first, second] = L[second, first] = passed.gains

        def pull(in_L: np.ndarray) -> dict[int, np.ndarray]:
            gradients = passed.pull(in_L[first, second] + in_L[second, first])
            return {k: g.astype(weights[k].dtype) for k, g in gradients.items()}

        return L, pull

    def witnesses(self, weights: Sequence[np.ndarray]) -> tuple[Witness, ...]:
        """One proposal per pair for `pairwise_bounds(network, witnesses=...)`, which proves it."""
        passed = self._passed([w.astype(np.float64) for w in weights])
        multipliers = [level.T for level in passed.levels]
        return tuple(
            Witness(
                "lipsdp", float(g) ** 2, tuple(t[p] for t in multipliers), produced_by="TrainableMultipliers"
            )
            for p, g in enumerate(passed.gains)
        )

    def _phis(self, maps: list[np.ndarray], scales: list[np.ndarray]) -> list[np.ndarray]:
        """phi such that T = s, or the next that is feasible."""
        own = [np.concatenate([np.log(s), np.zeros((len(s), 1))], axis=1) for s in scales]
        biased = [a for w in maps for a in (w, np.zeros(len(w)))]
        for k in reversed(range(len(own))):  # a_k depends on the levels nearer the output
            passed = _Pass(biased, own, *slopes_of(self.activation))
            ratio = 2.0 / passed.levels[k].a - 1.0
            own[k][:, -1] = np.log(np.maximum(ratio, _INSIDE))
        return [a[:, -1] for a in own]

    def _passed(self, weights: Sequence[np.ndarray]) -> "_Pass":
        ours, own = self.split(weights)
        return _Pass(ours, own, *slopes_of(self.activation))


@dataclasses.dataclass(frozen=True)
class _Level:
    """What one step of the recursion keeps for its pull-back; P pairs, r rows of W, n neurons."""

    W: np.ndarray  # (P or 1, r, n)
    inverse: np.ndarray  # 1/s, (P, n)
    Q: np.ndarray  # W diag(1/s) W', (P, r, r)
    a: np.ndarray  # (P,)
    g: np.ndarray  # da = g'dQ g + (Qg)'dK (Qg)/a, (P, r)
    c: np.ndarray  # (P,)
    growth: np.ndarray  # e^phi, (P,)
    J: np.ndarray  # (I - K Q/2c)^{-1}, (P, r, r)
    H: np.ndarray  # J K
    T: np.ndarray  # (P, n)


class _Pass:
    """The recursion for all pairs at once, in float64, and its pull-back.

    dK of a level is a sum of few rank-one terms: adjoints are kept as vectors V (P, n, q) with
    coefficients (P, q), standing for sum_q coefficient_q V_q V_q'.
    """

    def __init__(self, weights: list[np.ndarray], own: list[np.ndarray], alpha: float, beta: float) -> None:
        self.weights = [w.astype(np.float64) for w in weights]
        self.width, self.middle = 0.5 * (beta - alpha) ** 2, alpha + beta
        rows = _differences(self.weights[-2])
        maps = [*(w[None] for w in self.weights[2:-2:2]), rows]
        K = np.ones((len(rows), 1, 1))
        self.levels: list[_Level] = []  # from the input to the output
        for W, array in zip(reversed(maps), reversed(own), strict=True):
            free = array.astype(np.float64).reshape(len(rows), -1)
            level, K = self._step(K, W, free[:, :-1], free[:, -1])
            self.levels.insert(0, level)
        self.first = self.weights[0]
        self.gram = self.first @ self.first.T
        self.rho, self.top = _largest(K, self.gram[None])
        self.gains = np.sqrt(self.rho)

    def _step(
        self, K: np.ndarray, W: np.ndarray, theta: np.ndarray, phi: np.ndarray
    ) -> tuple[_Level, np.ndarray]:
        inverse, growth = np.exp(-theta), np.exp(phi)
        Q = (W * inverse[:, None, :]) @ W.transpose(0, 2, 1)
        a, g = _largest(K, Q)
        c = 0.5 * a * (1.0 + growth)
        T = c[:, None] / inverse
        J = np.linalg.inv(np.eye(K.shape[1]) - (K @ Q) / (2.0 * c)[:, None, None])
        H = J @ K
        result = np.zeros((len(T), T.shape[1], T.shape[1]))
        if self.middle:
            result += 0.25 * self.middle**2 * (W.transpose(0, 2, 1) @ H @ W)
        result[:, np.arange(T.shape[1]), np.arange(T.shape[1])] += self.width * T
        return _Level(W, inverse, Q, a, g, c, growth, J, H, T), result

    def pull(self, in_L: np.ndarray) -> dict[int, np.ndarray]:
        """Gradients in the arrays, by index, for one in each pair's L (P,)."""
        in_rho = 0.5 * in_L / self.gains
        result = {0: 2.0 * (self.top.T * in_rho) @ self.top @ self.first}
        V, by = (self.gram @ self.top.T).T[:, :, None], (in_rho / self.rho)[:, None]
        for k, level in enumerate(self.levels):
            in_W, in_own, V, by = self._back(level, V, by)
            result[len(self.weights) + k] = in_own
            result[2 * k + 2] = in_W if k + 1 < len(self.levels) else self._of_rows(in_W.reshape(len(V), -1))
        return result

    def _back(
        self, level: _Level, V: np.ndarray, by: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(gradient in W, in (theta, phi), adjoint of K) from the adjoint of the K that the level made."""
        W, c = level.W, level.c
        in_T = self.width * (V**2 @ by[:, :, None])[:, :, 0]
        U = 0.5 * self.middle * (W @ V)
        HU = level.H @ U
        in_c = (in_T / level.inverse).sum(axis=1) - ((HU * (level.Q @ HU)).sum(axis=1) * by).sum(axis=1) / (
            2.0 * c**2
        )
        in_a = 0.5 * in_c * (1.0 + level.growth)
        Z = np.concatenate([HU, level.g[:, :, None]], axis=2)
        of_Z = np.concatenate([by / (2.0 * c[:, None]), in_a[:, None]], axis=1)
        WZ = W.transpose(0, 2, 1) @ Z
        in_theta = in_T * level.T - ((WZ**2 @ of_Z[:, :, None])[:, :, 0]) * level.inverse
        left = np.concatenate([HU * by[:, None, :], Z * of_Z[:, None, :]], axis=2)
        right = np.concatenate([self.middle * V, 2.0 * WZ * level.inverse[:, :, None]], axis=2)
        if len(W) == 1:
            in_W = np.tensordot(left, right, axes=([0, 2], [0, 2]))
        else:
            in_W = left @ right.transpose(0, 2, 1)
        Qg = level.Q @ level.g[:, :, None]
        before = np.concatenate([level.J.transpose(0, 2, 1) @ U, Qg], axis=2)
        of_before = np.concatenate([by, (in_a / level.a)[:, None]], axis=1)
        in_phi = 0.5 * in_c * level.a * level.growth
        return in_W, np.concatenate([in_theta, in_phi[:, None]], axis=1).ravel(), before, of_before

    def _of_rows(self, in_rows: np.ndarray) -> np.ndarray:
        """From the rows w_i - w_j to the last matrix."""
        result = np.zeros_like(self.weights[-2])
        first, second = np.triu_indices(len(result), 1)
        np.add.at(result, first, in_rows)
        np.subtract.at(result, second, in_rows)
        return result


def _natural(maps: list[np.ndarray], rows: np.ndarray) -> list[np.ndarray]:
    """|column out of the neuron| / |row into it| for each pair and hidden layer, near 1."""
    result = []
    for k, w in enumerate(maps[:-1]):
        last = k == len(maps) - 2
        out = np.abs(rows[:, 0]) if last else np.linalg.norm(maps[k + 1], axis=0)[None, :]
        scale = out / np.maximum(np.linalg.norm(w, axis=1), _TINY) * np.ones((len(rows), 1))
        scale = np.maximum(scale, _LEAST * scale.max(axis=1, keepdims=True) + _TINY)
        result.append(scale / scale.mean(axis=1, keepdims=True))
    return result


def _of_witnesses(witnesses: Sequence[Witness], pairs: int, sizes: list[int]) -> list[np.ndarray]:
    """T (pairs, n_k) per hidden layer, for the weights as they are; raises InputError."""
    plain = []
    for witness in witnesses:
        if witness.kind != "lipsdp" or [t.size for t in witness.multipliers] != sizes:
            raise InputError(f"a witness does not fit; expected kind 'lipsdp' with multipliers {sizes}.")
        plain.append(as_stored(witness))
    if len(plain) != pairs:
        raise InputError(f"got {len(plain)} witnesses; expected {pairs}, one per pair of outputs.")
    stacked = [np.array([w.multipliers[k] for w in plain]) for k in range(len(sizes))]
    return [np.maximum(t, _LEAST * t.max(axis=1, keepdims=True) + _TINY) for t in stacked]


def _differences(last: np.ndarray) -> np.ndarray:
    """w_i - w_j for i < j, (P, 1, n)."""
    first, second = np.triu_indices(len(last), 1)
    return np.asarray(last[first] - last[second], dtype=np.float64)[:, None, :]


def _largest(K: np.ndarray, Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a = lambda_max(K Q) per pair and g with da = g'dQ g + (Qg)'dK (Qg)/a.

    K = CC', g = C x for the top eigenvector x of C'QC.
    """
    if K.shape[1] == 1:
        return np.maximum(K[:, 0, 0] * np.broadcast_to(Q[:, 0, 0], len(K)), _TINY), np.sqrt(K[:, :, 0])
    C = np.linalg.cholesky(K)
    whole = C.transpose(0, 2, 1) @ Q @ C
    found = [top_eigenpair(w) for w in whole]
    a = np.maximum([value for value, _ in found], _TINY)
    return a, (C @ np.array([x for _, x in found])[:, :, None])[:, :, 0]
