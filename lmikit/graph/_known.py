"""Networks of layers that are 1-Lipschitz by construction, with the multipliers that show it.

`OneLipschitz` takes the weights of such layers as they were trained, forms the maps in float64, and hands
over the graph with a witness for the bound 1. Nothing is proven here: `verify_graph(graph, witness)` proves
it for the float64 maps, with the slack above 1 that their rounding needs, and `lipschitz(graph)` looks for
better multipliers. With T in the convention of `lmikit.Witness`, slopes in [0, 1] (dissipation telescopes, so
that T of a stack is that of its layers side by side):

| layer | map | T |
|---|---|---|
| AOL | phi(W D x + b), D_ii = (sum_j abs(W'W)_ij)^(-1/2) | I |
| orthogonal | phi(Q x + b), norm(Q) <= 1 | I |
| CPL | x - (2/s) W'phi(W x + b), s = norm(W)^2 | (2/s) I |
| SLL | x - 2 W'S^-1 phi(W x + b), S_ii = sum_j abs(W W')_ij q_j / q_i | 2 S^-1 |
| sandwich | sqrt(2) A'P phi(sqrt(2) P^-1 B x + b), A A' + B B' = I | P^2 |
| sorted, pairs, reflected | phi(Q x + b) on groups, norm(Q) <= 1 | lam N N' + B nu B' = I, mu = nu |

A linear map of norm at most g among them multiplies the bound by g, and T of all layers before it by g^2:
sqrt(gamma) I, sandwich layers, sqrt(gamma) B with norm(B) <= 1 are an LBDN of gain gamma.

Prach, Lampert, ECCV 2022 (AOL); Meunier, Delattre, Araujo, Allauzen, ICML 2022 (CPL); Araujo, Havens,
Delattre, Allauzen, Hu, ICLR 2023 (SLL); Wang, Manchester, ICML 2023 (sandwich, LBDN); Anil, Lucas, Grosse,
ICML 2019 (sorting).
"""

import math
from typing import Any

import numpy as np

from .._convert import as_float64, as_number
from .._errors import InputError
from ..network import resolve_activation
from ..nonlinear import AbstractGroups
from ._builder import GraphBuilder, Value
from ._graph import Graph
from ._witness import GraphWitness, Part

__all__ = ["OneLipschitz"]


class OneLipschitz:
    """Stacks layers; `finish` gives the graph and the witness. Each layer's slopes must lie in [0, 1]."""

    def __init__(self, input_dim: int, activation: Any = "relu") -> None:
        """Raises InputError for an activation with slopes outside [0, 1]: the multipliers need that."""
        self._activation = resolve_activation(activation)
        alpha, beta = self._activation.slopes_for(1, self._activation.name)
        if alpha[0] < 0.0 or beta[0] > 1.0:
            raise InputError(
                f"{self._activation.name} has slopes in [{alpha[0]}, {beta[0]}]; expected slopes in [0, 1]: "
                "CPL and SLL layers are not 1-Lipschitz with others."
            )
        self._builder = GraphBuilder()
        self._value = self._builder.input(input_dim)
        self._multipliers: list[tuple[np.ndarray, float]] = []  # with the gain of the layers before
        self._gain = 1.0

    def aol(self, weight: Any, bias: Any = None) -> "OneLipschitz":
        """phi(W D x + b)."""
        W = _matrix(weight)
        sums = np.abs(W.T @ W).sum(axis=1)
        scale = np.where(sums > 0.0, 1.0 / np.sqrt(np.where(sums > 0.0, sums, 1.0)), 0.0)
        return self.contraction(W * scale, bias)

    def contraction(self, weight: Any, bias: Any = None) -> "OneLipschitz":
        """phi(Q x + b) for a Q of norm at most 1, such as an orthogonal one."""
        W = _matrix(weight)
        self._value = self._neurons(W, bias, np.ones(W.shape[0]))
        return self

    def cpl(self, weight: Any, bias: Any = None) -> "OneLipschitz":
        """x - (2/s) W'phi(W x + b)."""
        W = _matrix(weight)
        square = float(np.linalg.norm(W, 2)) ** 2
        return self._residual(W, bias, np.full(W.shape[0], 2.0 / square if square > 0.0 else 0.0))

    def sll(self, weight: Any, q: Any = None, bias: Any = None) -> "OneLipschitz":
        """x - 2 W'S^-1 phi(W x + b); q > 0 (out,), ones where it is not given."""
        W = _matrix(weight)
        scale = np.ones(W.shape[0]) if q is None else as_float64("q", q)[0].reshape(-1)
        if scale.shape != (W.shape[0],) or not (scale > 0.0).all():
            raise InputError(f"q has shape {scale.shape}; expected {W.shape[0]} positive numbers.")
        sums = (np.abs(W @ W.T) * scale).sum(axis=1) / scale
        return self._residual(W, bias, np.where(sums > 0.0, 2.0 / np.where(sums > 0.0, sums, 1.0), 0.0))

    def sandwich(self, A: Any, B: Any, psi: Any, bias: Any = None) -> "OneLipschitz":
        """sqrt(2) A'P phi(sqrt(2) P^-1 B x + b); A (n, out), B (n, in), P = diag(psi), A A' + B B' = I."""
        left, right, scale = _matrix(A), _matrix(B), as_float64("psi", psi)[0].reshape(-1)
        n = left.shape[0]
        if right.shape[0] != n or scale.shape != (n,) or not (scale > 0.0).all():
            raise InputError(
                f"A, B and psi have shapes {left.shape}, {right.shape}, {scale.shape}; expected as many rows "
                "in A and B as positive numbers in psi."
            )
        w = self._neurons(math.sqrt(2.0) * right / scale[:, None], bias, scale**2)
        self._value = (math.sqrt(2.0) * left.T * scale) @ w
        return self

    def groups(self, function: AbstractGroups, weight: Any, bias: Any = None) -> "OneLipschitz":
        """function(Q x + b) for a Q of norm at most 1 and a nonlinearity on groups of channels."""
        Q = _matrix(weight)
        N, B = function.norm_directions, function.identities
        lam, nu = 1.0, np.zeros((B.shape[1],) * 2)
        if N.shape[1] < N.shape[0]:  # N N' spans only what B leaves
            lam, nu = 1.0 / float(np.linalg.norm(N, 2)) ** 2, np.linalg.inv(B.T @ B)
        upper = nu[np.triu_indices(len(nu))]
        each = np.concatenate([[lam], upper, upper])
        self._multipliers.append((np.tile(each, function.groups(Q.shape[0], function.name)), self._gain))
        v = Q @ self._value
        self._value = self._builder.apply(function, v if bias is None else v + bias)
        return self

    def linear(self, weight: Any, gain: float = 1.0) -> "OneLipschitz":
        """W x for a W of norm at most `gain`, which the bound is multiplied by."""
        if not 0.0 < as_number("gain", gain) < math.inf:
            raise InputError(f"gain is {gain!r}; expected a finite number above 0.")
        self._value = _matrix(weight) @ self._value
        self._gain *= float(gain)
        return self

    def finish(self) -> tuple[Graph, GraphWitness]:
        """The graph, and the witness for the bound 1, or the product of the gains."""
        graph = self._builder.output(self._value)
        multipliers = tuple(t * (self._gain / before) ** 2 for t, before in self._multipliers)
        part = Part(np.array([self._gain**2]), np.ones(1), multipliers)
        return graph, GraphWitness("dissipation", parts=(part,), produced_by="multipliers of the layers")

    def _residual(self, W: np.ndarray, bias: Any, T: np.ndarray) -> "OneLipschitz":
        if W.shape[1] != self._value.size:
            raise InputError(f"the weight has shape {W.shape}; expected ({W.shape[0]}, {self._value.size}).")
        w = self._neurons(W, bias, T)
        self._value = self._value - (W.T * T) @ w
        return self

    def _neurons(self, W: np.ndarray, bias: Any, T: np.ndarray) -> Value:
        v = W @ self._value
        if bias is not None:
            v = v + bias
        self._multipliers.append((T, self._gain))
        return self._builder.apply(self._activation, v)


def _matrix(values: Any) -> np.ndarray:
    matrix, _ = as_float64("weight", values)
    if matrix.ndim != 2:
        raise InputError(f"a weight has shape {matrix.shape}; expected a matrix (out, in).")
    return matrix
