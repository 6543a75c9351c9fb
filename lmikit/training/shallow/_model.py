"""Shallow ReLU networks as the convex restriction sees them: patterns, directions, effective weights.

f(x) = sum_j a_j relu(u_j'[x; 1]) + c with a_j in R^m. Rescaling (t u_j, a_j/t) leaves f alone, so a unit is
the direction s_j = a_j / |a_j| (a sign for one output) and its effective weights v_j = |a_j| u_j, bias
last; v~_j is v_j without the bias. On the data the unit's activation pattern is
D_j = diag(1{X u_j >= 0}), and two units may share one.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from ..._errors import InputError
from ...network import Network, ReLU
from ._fits import PatternFit, ShallowLoss, read_loss

__all__ = ["ShallowModel", "read_model"]


@dataclasses.dataclass(frozen=True, eq=False)
class ShallowModel:
    """A shallow net beside its data: X (N, d+1), last column ones, and the loss against the targets.

    V (n, d+1) and S (n, m) belong to the n live units, those that are active on some row and have
    a_j != 0; the others add nothing to f on the data, and zero weights serve them best. `magnitudes` is
    |a_j|, `live` their indices among the `hidden` units of the network.
    """

    X: np.ndarray
    fitted: ShallowLoss
    V: np.ndarray
    S: np.ndarray
    magnitudes: np.ndarray
    live: np.ndarray
    hidden: int
    patterns: np.ndarray = dataclasses.field(repr=False)  # (n, N) bool

    @property
    def units(self) -> int:
        """n."""
        return int(self.magnitudes.size)

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
        """The loss of the net with effective weights V, whatever its patterns are."""
        return self.fitted(np.maximum(self.X @ V.T, 0.0) @ self.S)

    @functools.cached_property
    def fit(self) -> PatternFit:
        """The loss as a convex function of vec(V) while every unit keeps its pattern."""
        return PatternFit(self.fitted, self.X, self.S, self.patterns)

    def network(self, V: np.ndarray, magnitudes: np.ndarray | None = None) -> Network:
        """The network with weights v_j / nu_j and nu_j s_j, zero where no unit is live."""
        nu = self.magnitudes if magnitudes is None else magnitudes
        first, outer = (
            np.zeros((self.hidden, self.inputs + 1)),
            np.zeros((self.fitted.bias.size, self.hidden)),
        )
        safe = np.where(nu > 0, nu, 1.0)
        first[self.live], outer[:, self.live] = V / safe[:, None], (self.S * nu[:, None]).T
        return Network.from_arrays(
            [first[:, :-1], outer], [first[:, -1], self.fitted.bias], activation="relu"
        )


def read_model(network: Network, X: Any, y: Any, loss: Any = "squared") -> ShallowModel:
    """Patterns, directions and effective weights of `network` on the data.

    Raises InputError unless the network has one hidden layer of ReLU units and X, y fit it.
    """
    if not isinstance(network, Network):
        raise InputError(f"network is a {type(network).__name__}; expected an lmikit.Network.")
    if network.hidden_layers != 1:
        raise InputError(
            f"network has {network.hidden_layers} hidden layers; expected one: the convex restriction is for "
            "shallow nets."
        )
    activation = network.layers[0].activation
    if not isinstance(activation, ReLU):
        raise InputError(
            f"the hidden layer has activation {activation!r}; expected ReLU: activation patterns make a "
            "net piecewise linear in its weights for ReLU only."
        )
    data, fitted = read_loss(loss, X, y, network.input_dim, network.layers[1].bias)
    ones = np.column_stack([data, np.ones(data.shape[0])])
    U = np.column_stack([network.weights[0], network.layers[0].bias])
    outer = network.weights[1].T
    nu = np.linalg.norm(outer, axis=1)
    patterns = ones @ U.T >= 0.0
    live = np.flatnonzero((nu > 0.0) & patterns.any(axis=0))
    nu = nu[live]
    return ShallowModel(
        X=ones,
        fitted=fitted,
        V=nu[:, None] * U[live],
        S=outer[live] / nu[:, None],
        magnitudes=nu,
        live=live,
        hidden=len(outer),
        patterns=np.ascontiguousarray(patterns[:, live].T),
    )
