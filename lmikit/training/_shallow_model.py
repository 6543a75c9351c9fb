"""Shallow ReLU networks as the convex restriction sees them: patterns, signs, effective weights.

f(x) = sum_j a_j relu(u_j'[x; 1]) + c. Rescaling (t u_j, a_j/t) leaves f alone, so a unit is its sign
s_j = sign(a_j) and its effective weights v_j = |a_j| u_j, bias last; v~_j is v_j without the bias.
On the data the unit's activation pattern is D_j = diag(1{X u_j >= 0}), and two units may share one.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from .._errors import InputError
from ..network import Network, ReLU

__all__ = ["ShallowModel", "read_model", "regression_data"]


@dataclasses.dataclass(frozen=True, eq=False)
class ShallowModel:
    """A shallow net beside its data: X (N, d+1), last column ones; y (N,) less the output bias.

    V (n, d+1) and signs (n,) belong to the n live units, those that are active on some row and have
    a_j != 0, with a_j > 0 first; the others add nothing to f on the data, and zero weights serve them
    best. `magnitudes` is |a_j|, `live` their indices among the `hidden` units of the network.
    """

    X: np.ndarray
    y: np.ndarray
    V: np.ndarray
    signs: np.ndarray
    magnitudes: np.ndarray
    live: np.ndarray
    hidden: int
    offset: float
    patterns: np.ndarray = dataclasses.field(repr=False)  # (n, N) bool

    @property
    def units(self) -> int:
        """n."""
        return int(self.signs.size)

    @property
    def inputs(self) -> int:
        """d, without the column of ones."""
        return int(self.X.shape[1]) - 1

    @functools.cached_property
    def distinct(self) -> tuple[np.ndarray, np.ndarray]:
        """(first, which): the first of each group of equal rows of X in order, and each row's group."""
        _, index, inverse = np.unique(self.X, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(index)
        rank = np.empty_like(order)
        rank[order] = np.arange(order.size)
        return index[order], rank[inverse.ravel()]

    def crossed(self, rows: np.ndarray) -> "ShallowModel":
        """The model with the patterns of these rows of `pattern_rows` changed: (n * distinct,) bool."""
        flip = rows.reshape(self.units, -1)[:, self.distinct[1]]
        return dataclasses.replace(self, patterns=self.patterns ^ flip)

    def loss(self, V: np.ndarray) -> float:
        """The mean squared error (1/N) ||f(X) - y||^2 of the net with effective weights V."""
        outputs = np.maximum(self.X @ V.T, 0.0) @ self.signs
        return float(np.mean((outputs - self.y) ** 2))

    def features(self) -> np.ndarray:
        """A (N, n(d+1)): f(X) = A vec(V) while every unit keeps its pattern."""
        active = (self.signs[:, None] * self.patterns).T  # (N, n)
        return (active[:, :, None] * self.X[:, None, :]).reshape(self.y.size, -1)

    def network(self, V: np.ndarray, magnitudes: np.ndarray | None = None) -> Network:
        """The network with weights v_j / nu_j and s_j nu_j, zero where no unit is live."""
        nu = self.magnitudes if magnitudes is None else magnitudes
        first, outer = np.zeros((self.hidden, self.inputs + 1)), np.zeros((1, self.hidden))
        safe = np.where(nu > 0, nu, 1.0)
        first[self.live], outer[0, self.live] = V / safe[:, None], self.signs * nu
        return Network.from_arrays(
            [first[:, :-1], outer], [first[:, -1], np.array([self.offset])], activation="relu"
        )


def regression_data(X: Any, y: Any, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """X (N, inputs) and y (N,) as finite float64 arrays; raises InputError."""
    try:
        data, target = np.array(X, dtype=np.float64), np.array(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"X and y must be numeric arrays: {error}.") from error
    if data.ndim != 2 or data.shape[1] != inputs or data.shape[0] == 0:
        raise InputError(f"X has shape {data.shape}; expected (N, {inputs}), one row per sample, N >= 1.")
    if target.shape == (data.shape[0], 1):
        target = target[:, 0]
    if target.shape != (data.shape[0],):
        raise InputError(f"y has shape {target.shape}; expected ({data.shape[0]},), one target per row of X.")
    if not (np.isfinite(data).all() and np.isfinite(target).all()):
        raise InputError("X or y holds NaN or infinity; expected finite numbers: drop or fill those rows.")
    return data, target


def read_model(network: Network, X: Any, y: Any) -> ShallowModel:
    """Patterns, signs and effective weights of `network` on the data.

    Raises InputError unless the network has one hidden layer of ReLU units and one output.
    """
    if not isinstance(network, Network):
        raise InputError(f"network is a {type(network).__name__}; expected an lmikit.Network.")
    if network.hidden_layers != 1 or network.output_dim != 1:
        raise InputError(
            f"network has {network.hidden_layers} hidden layers and {network.output_dim} outputs; expected "
            "one hidden layer and one output: the convex restriction is for shallow regression nets."
        )
    activation = network.layers[0].activation
    if not isinstance(activation, ReLU):
        raise InputError(
            f"the hidden layer has activation {activation!r}; expected ReLU: activation patterns make a "
            "net piecewise linear in its weights for ReLU only."
        )
    data, target = regression_data(X, y, network.input_dim)
    ones = np.column_stack([data, np.ones(data.shape[0])])
    U = np.column_stack([network.weights[0], network.layers[0].bias])
    a, offset = network.weights[1][0], float(network.layers[1].bias[0])
    patterns = ones @ U.T >= 0.0
    live = np.flatnonzero((a != 0.0) & patterns.any(axis=0))
    live = live[np.argsort(a[live] < 0, kind="stable")]
    nu = np.abs(a[live])
    return ShallowModel(
        X=ones,
        y=target - offset,
        V=nu[:, None] * U[live],
        signs=np.sign(a[live]),
        magnitudes=nu,
        live=live,
        hidden=a.size,
        offset=offset,
        patterns=np.ascontiguousarray(patterns[:, live].T),
    )
