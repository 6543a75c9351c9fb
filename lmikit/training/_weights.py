"""The arrays of a callback as a network: which are linear maps, which biases, and what may come back."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._errors import InputError
from ..network import Network
from ._callback import Arrays, read_only
from ._sketched_maps import AbstractSketchedMap, DenseSketch

__all__ = ["ChainModel", "Layout"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which entries of a list of arrays are the W_k (out, in), and which the bias of each (None: none).

    Matrices are taken in the order of the forward pass, y = W_L phi(... phi(W_0 x + b_0) ...) + b_L;
    a vector is the bias of the matrix before it. Not checked: that the callback computes just that.
    """

    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[np.dtype, ...]
    matrices: tuple[int, ...]
    biases: tuple[int | None, ...]

    @classmethod
    def of(cls, weights: Sequence[Any]) -> "Layout":
        """The layout of these arrays; raises InputError naming the array that does not fit."""
        arrays = [np.asarray(w) for w in weights]
        matrices: list[int] = []
        biases: list[int | None] = []
        for i, w in enumerate(arrays):
            if w.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
                raise InputError(f"weights[{i}] has dtype {w.dtype}; expected float32 or float64.")
            if w.ndim == 2:
                matrices.append(i)
                biases.append(None)
            elif w.ndim == 1 and matrices and biases[-1] is None and w.size == arrays[matrices[-1]].shape[0]:
                biases[-1] = i
            else:
                raise InputError(
                    f"weights[{i}] has shape {w.shape}; expected matrices (out, in) in the order of the "
                    "forward pass, each followed by at most one bias (out,). Unroll convolutions."
                )
        if not matrices:
            raise InputError("weights holds no matrix; expected [W0, b0, W1, b1, ...] or [W0, W1, ...].")
        for i, j in itertools.pairwise(matrices):
            if arrays[j].shape[1] != arrays[i].shape[0]:
                raise InputError(
                    f"weights[{j}] has shape {arrays[j].shape}, but weights[{i}] gives {arrays[i].shape[0]} "
                    f"features; expected (*, {arrays[i].shape[0]})."
                )
        shapes, dtypes = tuple(w.shape for w in arrays), tuple(w.dtype for w in arrays)
        return cls(shapes, dtypes, tuple(matrices), tuple(biases))

    def own(self, weights: Sequence[Any]) -> Arrays:
        """Read-only copies in the dtypes of this layout; raises InputError for NaN and other shapes."""
        if len(weights) != len(self.shapes):
            raise InputError(f"got {len(weights)} arrays; expected {len(self.shapes)}.")
        result = []
        for i, (w, shape, dtype) in enumerate(zip(weights, self.shapes, self.dtypes, strict=True)):
            array = np.array(w, dtype=dtype, order="C")
            if array.shape != shape or not np.isfinite(array).all():
                raise InputError(f"weights[{i}] must be finite, of shape {shape}; got shape {array.shape}.")
            result.append(read_only(array))
        return tuple(result)

    def maps(self, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        """W_0, ..., W_L."""
        return [weights[i] for i in self.matrices]

    def sketched_maps(self) -> tuple[AbstractSketchedMap, ...]:
        """What the sketched penalties act on, one per W_k."""
        return tuple(DenseSketch(self.shapes[i][0] < self.shapes[i][1]) for i in self.matrices)

    def clipped(self, weights: Sequence[np.ndarray], norms: np.ndarray) -> Arrays:
        """The nearest arrays (Frobenius) with |W_k| <= norms_k: singular values cut, biases as they are."""
        result = list(weights)
        for i, norm in zip(self.matrices, norms, strict=True):
            u, values, vt = np.linalg.svd(weights[i].astype(np.float64), full_matrices=False)
            if values[0] > norm:
                result[i] = read_only(((u * np.minimum(values, norm)) @ vt).astype(self.dtypes[i]))
        return tuple(result)

    def network(self, weights: Sequence[np.ndarray], activation: Any) -> Network:
        """The network of these arrays, cast to float64 exactly."""
        offsets = [None if i is None else weights[i] for i in self.biases]
        return Network.from_arrays(self.maps(weights), offsets, activation)

    def with_scaled_output(self, weights: Sequence[np.ndarray], factor: float) -> Arrays:
        """The arrays of factor * f: the last matrix and its bias times `factor`."""
        last = {self.matrices[-1], self.biases[-1]}
        return tuple(
            read_only((w * w.dtype.type(factor)).astype(w.dtype)) if i in last else w
            for i, w in enumerate(weights)
        )


@dataclasses.dataclass(frozen=True, eq=False)
class ChainModel:
    """Arrays in a layout, with activations: a chain."""

    layout: Layout
    activation: Any

    def network(self, weights: Sequence[np.ndarray]) -> Network:
        """The float64 network of these weights."""
        return self.layout.network(weights, self.activation)

    def with_scaled_output(self, weights: Sequence[np.ndarray], factor: float) -> Arrays:
        """The weights of factor * f."""
        return self.layout.with_scaled_output(weights, factor)
