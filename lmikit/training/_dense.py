"""A fully connected network on rows, in the dtype of its arrays: passes there and back.

v_k = W_k x_k + b_k, x_{k+1} = phi(v_k), linear output; weights are [W_0, b_0, W_1, b_1, ...], W_k (out, in).
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._errors import OptionError
from ..network import Activation, Network, PReLU

__all__ = ["DensePass", "Shuffled", "dense_forward", "dense_network", "initial_weights", "phi_of"]

Phi = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

_ACTIVATIONS = ("relu", "abs", "half_abs", "tanh")


class DensePass:
    """Outputs (N, m) for rows X, and gradients given the loss's in them; `phi`: v -> (phi(v), phi'(v))."""

    def __init__(self, weights: Sequence[np.ndarray], X: np.ndarray, phi: Phi) -> None:
        self._weights, self._inputs = weights, [X]
        self._slopes: list[np.ndarray] = []
        for k in range(len(weights) // 2 - 1):
            value, slope = phi(self._inputs[-1] @ weights[2 * k].T + weights[2 * k + 1])
            self._inputs.append(value)
            self._slopes.append(slope)
        self.outputs = self._inputs[-1] @ weights[-2].T + weights[-1]

    def _back(self, gradient: np.ndarray) -> list[np.ndarray]:
        """The loss's gradients in v_0, v_1, ..., the last of which is given."""
        found = [gradient]
        for k in range(len(self._slopes), 0, -1):
            found.append((found[-1] @ self._weights[2 * k]) * self._slopes[k - 1])
        return found[::-1]

    def in_weights(self, gradient: np.ndarray) -> list[np.ndarray]:
        """The loss's gradients in [W_0, b_0, ...]."""
        pairs = zip(self._inputs, self._back(gradient), strict=True)
        return [a for x, g in pairs for a in (g.T @ x, g.sum(axis=0))]

    def in_rows(self, gradient: np.ndarray) -> np.ndarray:
        """The loss's gradients in the rows of X."""
        return np.asarray(self._back(gradient)[0] @ self._weights[0])


class Shuffled:
    """Rows of each minibatch, from the step alone: every epoch is a permutation by (seed, epoch).

    `whole`: the rest of a shuffle that fills no minibatch is left out.
    """

    def __init__(self, count: int, size: int, seed: int, *, whole: bool) -> None:
        self.size, self._count, self._seed = size, count, seed
        self.per_epoch = count // size if whole else -(-count // size)
        self._epoch, self._order = -1, np.arange(count)

    def rows(self, step: int) -> np.ndarray:
        """The indices of the minibatch of this step."""
        epoch, batch = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self._seed, epoch]).permutation(self._count)
        return self._order[batch * self.size : (batch + 1) * self.size]


def phi_of(activation: str) -> Phi:
    """v -> (phi(v), phi'(v)) in the dtype of v, by name; raises OptionError."""
    if activation not in _ACTIVATIONS:
        raise OptionError(f"activation is {activation!r}; expected one of {_ACTIVATIONS}.")
    return functools.partial(_phi, activation)


def _phi(name: str, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(phi(v), phi'(v))."""
    if name == "relu":
        return np.maximum(v, 0), v > 0
    if name == "abs":
        return np.abs(v), np.sign(v)
    if name == "half_abs":
        slope = np.ones_like(v)
        slope[:, 0::2] = np.sign(v[:, 0::2])
        return v * slope, slope
    w = np.tanh(v)
    return w, 1 - w * w


def initial_weights(dims: Sequence[int], seed: int = 0, dtype: Any = np.float64) -> list[np.ndarray]:
    """[W0, b0, ...] for layers of these sizes: normal entries of variance 2/n_in, biases zero (He et al.)."""
    rng = np.random.default_rng([seed, 0x57])
    weights = []
    for n_in, n_out in itertools.pairwise(dims):
        weights.append((rng.standard_normal((n_out, n_in)) * math.sqrt(2.0 / n_in)).astype(dtype))
        weights.append(np.zeros(n_out, dtype=dtype))
    return weights


def dense_forward(weights: Sequence[np.ndarray], X: np.ndarray, activation: str = "relu") -> np.ndarray:
    """Outputs (N, m) of [W0, b0, W1, b1, ...]."""
    last = len(weights) // 2 - 1
    for k in range(last + 1):  # `DensePass` would keep every layer's values
        X = X @ weights[2 * k].T + weights[2 * k + 1]
        if k < last:
            X = _phi(activation, X)[0]
    return X


def dense_network(weights: Sequence[np.ndarray], activation: str = "relu") -> Network:
    """The `Network` that `DenseLoss` trains; for "half_abs" every neuron is a PReLU of slope -1 or 1."""
    hidden: list[Activation] | str = activation
    if activation == "half_abs":
        hidden = [PReLU(np.where(np.arange(len(w)) % 2 == 0, -1.0, 1.0)) for w in weights[0:-2:2]]
    return Network.from_arrays(weights[0::2], weights[1::2], hidden)
