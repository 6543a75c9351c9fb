"""`Network`: layers of linear maps and slope-restricted activations; the one validation seam."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._errors import InputError
from ._activations import Activation, Identity, resolve_activation
from ._arrays_in import as_bias, as_linear_map
from ._maps import AbstractLinearMap

__all__ = ["Layer", "Network"]


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """x -> activation(W x + bias); `alpha`, `beta` are the slope bounds per output neuron."""

    linear: AbstractLinearMap
    bias: np.ndarray
    activation: Activation
    alpha: np.ndarray
    beta: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A feed-forward network: x_0 = x, x_k = phi_k(W_{k-1} x_{k-1} + b), y = W_L x_L + b_L.

    The last layer is linear (activation Identity); hidden layers are `layers[:-1]`.
    """

    layers: tuple[Layer, ...]
    input_dim: int

    @classmethod
    def from_arrays(
        cls,
        weights: Sequence[Any],
        biases: Sequence[Any] | None = None,
        activation: Any = "relu",
    ) -> "Network":
        """Network from weight arrays W_k of shape (out, in), at least one.

        `activation` is an `Activation`, a lower-case name, or a list with one per hidden layer.
        Raises InputError naming the array for empty lists, NaN, infinity, object arrays and
        shapes that do not chain.
        """
        if isinstance(weights, np.ndarray) and weights.ndim == 2:
            raise InputError("weights is one matrix; expected a list of matrices: pass [W].")
        weights = list(weights)
        if not weights:
            raise InputError("weights is empty; expected at least one (out, in) matrix.")
        maps = [as_linear_map(f"weights[{k}]", w) for k, w in enumerate(weights)]
        _check_chain(maps)
        if biases is None:
            biases = [None] * len(maps)
        if len(biases) != len(maps):
            raise InputError(f"biases has {len(biases)} entries; expected {len(maps)}, one per weight (None where absent).")
        vectors = [as_bias(f"biases[{k}]", b, m.shape[0]) for k, (b, m) in enumerate(zip(biases, maps, strict=True))]
        activations = _one_per_hidden_layer(activation, len(maps) - 1)
        layers = []
        for k, (linear, bias, phi) in enumerate(zip(maps, vectors, [*activations, Identity()], strict=True)):
            alpha, beta = phi.slopes_for(linear.shape[0], f"layer {k}")
            layers.append(Layer(linear, bias, phi, alpha, beta))
        return cls(tuple(layers), maps[0].shape[1])

    @property
    def hidden_layers(self) -> int:
        """L, the number of hidden layers (0 for a linear map)."""
        return len(self.layers) - 1

    @property
    def output_dim(self) -> int:
        return self.layers[-1].linear.shape[0]

    @property
    def dims(self) -> tuple[int, ...]:
        """(n_0, n_1, ..., n_L, m)."""
        return (self.input_dim, *(layer.linear.shape[0] for layer in self.layers))

    @property
    def hidden_neurons(self) -> int:
        """N = n_1 + ... + n_L."""
        return sum(self.dims[1:-1])

    @functools.cached_property
    def weights(self) -> tuple[np.ndarray, ...]:
        """Dense float64 weights W_0, ..., W_L, shapes (out, in), read-only."""
        return tuple(layer.linear.to_dense() for layer in self.layers)

    @property
    def slopes(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """(alpha, beta) per hidden layer, each of shape (n_k,)."""
        return tuple((layer.alpha, layer.beta) for layer in self.layers[:-1])

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over everything that a Lipschitz claim rests on: weights and slopes (not biases)."""
        sha = hashlib.sha256(b"lmikit-network-1\n")
        for layer in self.layers:
            sha.update(layer.linear.digest.encode())
            for slopes in (layer.alpha, layer.beta):
                sha.update(np.ascontiguousarray(slopes, dtype="<f8").tobytes())
        return sha.hexdigest()

    def __call__(self, x: Any) -> np.ndarray:
        """Forward pass for x of shape (..., n_0); returns (..., m)."""
        value = np.asarray(x, dtype=np.float64)
        if value.ndim == 0 or value.shape[-1] != self.input_dim:
            raise InputError(f"x has shape {value.shape}; expected (..., {self.input_dim}).")
        lead = value.shape[:-1]
        value = value.reshape(-1, self.input_dim).T
        for layer in self.layers:
            value = layer.activation(layer.linear.matvec(value) + layer.bias[:, None], axis=0)
        return value.T.reshape(*lead, self.output_dim)


def _check_chain(maps: Sequence[AbstractLinearMap]) -> None:
    for k in range(1, len(maps)):
        features, given = maps[k - 1].shape[0], maps[k].shape
        if given[1] != features:
            raise InputError(
                f"weights[{k}] has shape {given}, but weights[{k - 1}] outputs {features} features; "
                f"expected (*, {features}). Matrices are (out, in); transpose Keras kernels."
            )


def _one_per_hidden_layer(activation: Any, hidden: int) -> list[Activation]:
    if isinstance(activation, (list, tuple)):
        if len(activation) != hidden:
            raise InputError(f"activation has {len(activation)} entries; expected {hidden}, one per hidden layer.")
        return [resolve_activation(a) for a in activation]
    return [resolve_activation(activation)] * hidden
