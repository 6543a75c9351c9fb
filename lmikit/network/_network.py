"""`Network`: layers of linear maps and slope-restricted activations; the one validation seam."""

import dataclasses
import functools
import hashlib
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .._convert import floats
from .._errors import InputError
from ._activation_base import Activation
from ._activations import resolve_activation
from ._arrays_in import as_bias, as_linear_map
from ._file import read_network_file
from ._layer import Layer
from ._maps import AbstractLinearMap
from ._npz import write_npz
from ._piecewise import Identity

__all__ = ["Layer", "Network"]


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A feed-forward network: x_0 = x, x_k = phi_k(W_{k-1} x_{k-1} + b), y = W_L x_L + b_L.

    The last layer is linear (activation Identity); hidden layers are `layers[:-1]`. Raises
    InputError where layers do not chain.
    """

    layers: tuple[Layer, ...]
    input_dim: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.layers or not all(isinstance(layer, Layer) for layer in self.layers):
            raise InputError("a network needs at least one Layer; build it with Network.from_arrays.")
        _check_chain([layer.linear for layer in self.layers])
        columns = self.layers[0].linear.shape[1]
        if self.input_dim != columns:
            raise InputError(f"input_dim is {self.input_dim}; expected {columns}, the columns of W_0.")
        last = self.layers[-1]
        if not isinstance(last.activation, Identity) or (last.alpha != 1.0).any() or (last.beta != 1.0).any():
            raise InputError(
                f"the last layer has activation {last.activation!r}; expected Identity: it is linear."
            )

    @classmethod
    def from_arrays(
        cls, weights: Iterable[Any], biases: Iterable[Any] | None = None, activation: Any = "relu"
    ) -> "Network":
        """Network from weight arrays W_k of shape (out, in), at least one.

        `weights` may hold arrays of any framework that numpy can read, scipy sparse matrices and
        linear maps; they are cast to float64 exactly or refused. `biases` has one entry per
        weight (None where absent). `activation` is an `Activation`, a lower-case name, or a
        list with one per hidden layer. Raises InputError naming the array for empty lists,
        NaN, infinity, object and complex arrays and shapes that do not chain.
        """
        given = _as_list("weights", weights, "(out, in) matrices")
        if not given:
            raise InputError("weights is empty; expected at least one (out, in) matrix.")
        maps = [as_linear_map(f"weights[{k}]", w) for k, w in enumerate(given)]
        _check_chain(maps)
        offsets = [None] * len(maps) if biases is None else _as_list("biases", biases, "vectors")
        if len(offsets) != len(maps):
            raise InputError(
                f"biases has {len(offsets)} entries; expected {len(maps)}, one per weight (or None)."
            )
        sizes = [linear.shape[0] for linear in maps]
        vectors = [as_bias(f"biases[{k}]", b, n) for k, (b, n) in enumerate(zip(offsets, sizes, strict=True))]
        phis = [*_one_per_hidden_layer(activation, len(maps) - 1), Identity()]
        layers = tuple(
            Layer.of(linear, bias, phi, f"layer {k}")
            for k, (linear, bias, phi) in enumerate(zip(maps, vectors, phis, strict=True))
        )
        return cls(layers, maps[0].shape[1])

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], activation: Any = "relu") -> "Network":
        """Network from a `.npz` (W0, b0, W1, ...) or a LipSDP `.mat` file (a cell array `weights`).

        `activation` is used where the file does not name its activations; files written by
        `save` do. Raises InputError for files that are broken, incomplete or convolutional.
        """
        found = read_network_file(path)
        phis = activation if found.activations is None else list(found.activations)
        network = cls.from_arrays(found.weights, found.biases, phis)
        return cls(found.with_slopes(network.layers), network.input_dim)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `.npz` that `from_file` reads back exactly (with convolutions: `lmikit.load_network`).

        It replaces `path` in one step.
        """
        write_npz(path, self.layers)

    @property
    def hidden_layers(self) -> int:
        """L, the number of hidden layers (0 for a linear map)."""
        return len(self.layers) - 1

    @property
    def output_dim(self) -> int:
        """m."""
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
        value = floats("x", x)
        if value.ndim == 0 or value.shape[-1] != self.input_dim:
            raise InputError(f"x has shape {value.shape}; expected (..., {self.input_dim}).")
        lead = value.shape[:-1]
        value = value.reshape(-1, self.input_dim).T
        for layer in self.layers:
            value = layer.activation(layer.preactivation(value), axis=0)
        return value.T.reshape(*lead, self.output_dim)

    def jacobian(self, x: Any) -> np.ndarray:
        """W_L D_L ... D_1 W_0 (m, n_0) at x (n_0,), D_k = diag(phi_k'(v_k)).

        NaN where a preactivation sits on a kink, unless its own gradient is 0: phi_k(v_k) is then
        differentiable with gradient 0, since phi_k is Lipschitz.
        """
        value = floats("x", x)
        if value.shape != (self.input_dim,):
            raise InputError(f"x has shape {value.shape}; expected ({self.input_dim},).")
        value = value[:, None]
        result = np.eye(self.input_dim)
        for layer in self.layers:
            v = layer.preactivation(value)
            value = layer.activation(v, axis=0)
            rows = layer.linear.matvec(result)
            moves = rows.any(axis=1, keepdims=True)
            result = np.where(moves, layer.activation.derivative(v, axis=0), 0.0) * rows
        return result

    def __repr__(self) -> str:
        sizes = ["-".join(run) for run in _runs([str(n) for n in self.dims])]
        names = [name for name, _ in itertools.groupby(layer.activation.name for layer in self.layers[:-1])]
        return f"Network({'-'.join(sizes)}, {'/'.join(names) or 'linear'})"


def _runs(sizes: Sequence[str]) -> Iterable[tuple[str]]:
    for size, group in itertools.groupby(sizes):
        count = len(list(group))
        if count < 4:
            yield from [(size,)] * count
        else:
            yield (f"{size}x{count}",)


def _as_list(name: str, values: Any, of: str) -> list[Any]:
    if isinstance(values, np.ndarray) and values.ndim == 2:
        raise InputError(
            f"{name} is one array of shape {values.shape}; expected a list of {of}: pass [{name}]."
        )
    if isinstance(values, Mapping):
        raise InputError(
            f"{name} is a mapping with keys {', '.join(map(str, values))[:60]}; expected a list of {of}."
        )
    if isinstance(values, (str, bytes)):
        raise InputError(f"{name} is {values!r}; expected a list of {of}.")
    try:
        return list(values)
    except TypeError as error:
        raise InputError(f"{name} is a {type(values).__name__}; expected a list of {of}.") from error


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
            raise InputError(
                f"activation has {len(activation)} entries; expected {hidden}, one per hidden layer."
            )
        return [resolve_activation(a) for a in activation]
    resolved = resolve_activation(activation)
    if not hidden and not (isinstance(activation, str) and activation == "relu"):  # the default says nothing
        raise InputError(
            f"activation is {resolved!r}, but one weight makes a linear map without hidden layers; expected "
            "none: pass activation=[]. For a network that ends in an activation append an identity matrix "
            "to weights."
        )
    return [resolved] * hidden
