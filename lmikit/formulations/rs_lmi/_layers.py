"""Layers of a network as operators, and their sketched pencils."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._arrays import ArrayModule, array_module
from ..._errors import OptionError
from ...network import AbstractLinearMap, DenseMap, Network, SparseMap
from ...sketching import (
    AbstractOperator,
    AbstractProjection,
    AbstractSketch,
    Estimate,
    Gaussian,
    as_operator,
    sketched_estimate,
)

__all__ = ["Pencil", "layer_operator", "layer_pencil", "network_operators", "sketch_size", "sketched_taus"]

DEFAULT_SIZE = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Pencil:
    """The m x m matrices of a sketched layer: gram = S'W'W S and metric = S'S, on the host."""

    gram: np.ndarray
    metric: np.ndarray


def layer_operator(
    linear: AbstractLinearMap, am: ArrayModule | None = None, dtype: Any = np.float64
) -> AbstractOperator:
    """The linear map of a layer as an operator; matrices move to the array module in `dtype`."""
    am = am or array_module()
    if isinstance(linear, DenseMap):
        return as_operator(am.asarray(linear.matrix, dtype=dtype), am)
    if isinstance(linear, SparseMap):
        matrix = linear.matrix.astype(dtype)
        return (
            as_operator(matrix)
            if am.name == "numpy"
            else as_operator(am.asarray(matrix.toarray(), dtype=dtype), am)
        )
    if am.name != "numpy":
        raise OptionError(
            f"a {type(linear).__name__} multiplies on the host only; use the array module 'numpy'."
        )
    return as_operator(linear)


def network_operators(
    network: Network, am: ArrayModule | None = None, dtype: Any = np.float64
) -> list[AbstractOperator]:
    """One operator per linear map, first layer first."""
    return [layer_operator(layer.linear, am, dtype) for layer in network.layers]


def sketch_size(m: int | None, operator: AbstractOperator) -> int:
    """m cut to the number of columns; None is 32. Raises OptionError unless m is an integer of at least 1."""
    if m is None:
        m = DEFAULT_SIZE
    if isinstance(m, bool) or not isinstance(m, (int, np.integer)) or m < 1:
        raise OptionError(f"sketch size m is {m!r}; expected an integer of at least 1.")
    return min(int(m), operator.shape[1])


def layer_pencil(operator: AbstractOperator, projection: AbstractProjection) -> Pencil:
    """The pencil (S'W'W S, S'S) of one layer, in float64."""
    image = operator.am.to_numpy(projection.after(operator)).astype(np.float64)
    s = operator.am.to_numpy(projection.matrix).astype(np.float64)
    return Pencil(image.T @ image, s.T @ s)


def sketched_taus(
    operators: Sequence[AbstractOperator],
    m: int | None = None,
    sketch: AbstractSketch | None = None,
    *,
    seed: int = 0,
) -> tuple[Estimate, ...]:
    """tau_k = min tau s.t. S_k'(tau I - W_k'W_k)S_k >= 0, in closed form, one estimate per layer.

    Each is at or below sigma_max(W_k)^2: the sketched constraint is a relaxation. m is cut to the width of
    narrow layers. The product of the tau_k is no bound on anything.
    """
    sketch = sketch or Gaussian()
    return tuple(
        sketched_estimate(op, sketch_size(m, op), sketch, seed=seed + k) for k, op in enumerate(operators)
    )
