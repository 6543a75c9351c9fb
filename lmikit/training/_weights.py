"""The arrays of a callback as a network: which are linear maps, which biases, and what may come back."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._errors import InputError
from ..maps import Convolution2d
from ..network import Network
from ..sketching import norm_bound
from ._callback import Arrays, own_copies, read_only
from ._sketched_maps import SketchedMap

__all__ = ["Layout"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which entries of a list of arrays are the W_k (out, in), and which the bias of each (None: none).

    Matrices are taken in the order of the forward pass, y = W_L phi(... phi(W_0 x + b_0) ...) + b_L;
    a vector is the bias of the matrix before it. An array of four axes is the kernel of a convolution with
    the geometry that `like` has at its place, and its bias has one entry per channel. Not checked:
    that the callback computes just that.
    """

    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[np.dtype, ...]
    matrices: tuple[int, ...]
    biases: tuple[int | None, ...]
    like: tuple[Convolution2d | None, ...]  # per W_k
    outputs: tuple[int | None, ...]  # the arrays that scale the output
    activation: Any = "relu"

    @classmethod
    def of(
        cls, weights: Sequence[Any], activation: Any = "relu", convolutions: Sequence[Convolution2d] = ()
    ) -> "Layout":
        """The layout of these arrays; raises InputError naming the array that does not fit.

        `convolutions` has one entry per array of four axes, whose kernel has that array's shape.
        """
        arrays = [np.asarray(w) for w in weights]
        matrices: list[int] = []
        biases: list[int | None] = []
        like: list[Convolution2d | None] = []
        for i, w in enumerate(arrays):
            if w.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
                raise InputError(f"weights[{i}] has dtype {w.dtype}; expected float32 or float64.")
            if w.ndim == 2 or (w.ndim == 4 and convolutions):
                matrices.append(i)
                biases.append(None)
                like.append(None if w.ndim == 2 else _geometry(i, w, convolutions, like))
            elif w.ndim == 1 and matrices and biases[-1] is None and w.size == arrays[matrices[-1]].shape[0]:
                biases[-1] = i
            else:
                raise InputError(
                    f"weights[{i}] has shape {w.shape}; expected matrices (out, in) in the order of the "
                    "forward pass, each followed by at most one bias (out,). Kernels of convolutions need "
                    "convolutions=[Convolution2d(...), ...], their geometry, where that is an argument."
                )
        if not matrices:
            raise InputError("weights holds no matrix; expected [W0, b0, W1, b1, ...] or [W0, W1, ...].")
        if len(convolutions) != sum(c is not None for c in like):
            raise InputError(f"got {len(convolutions)} convolutions; expected one per array of four axes.")
        sizes = [arrays[i].shape if c is None else c.shape for i, c in zip(matrices, like, strict=True)]
        for k in range(1, len(sizes)):
            if sizes[k][1] != sizes[k - 1][0]:
                raise InputError(
                    f"weights[{matrices[k]}] has shape {arrays[matrices[k]].shape} and takes {sizes[k][1]} "
                    f"features, but weights[{matrices[k - 1]}] gives {sizes[k - 1][0]}."
                )
        shapes, dtypes = tuple(w.shape for w in arrays), tuple(w.dtype for w in arrays)
        outputs = (matrices[-1], biases[-1])
        return cls(shapes, dtypes, tuple(matrices), tuple(biases), tuple(like), outputs, activation)

    def own(self, weights: Sequence[Any]) -> Arrays:
        """Read-only copies in the dtypes of this layout; raises InputError for NaN and other shapes."""
        return own_copies(weights, self.shapes, self.dtypes)

    def maps(self, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        """W_0, ..., W_L."""
        return [weights[i] for i in self.matrices]

    def sketched_maps(self) -> tuple[SketchedMap, ...]:
        """What the sketched penalties act on, one per W_k."""
        return tuple(SketchedMap.of(self.shapes[i], c) for i, c in zip(self.matrices, self.like, strict=True))

    def norms(self, weights: Sequence[np.ndarray]) -> np.ndarray:
        """|W_k|, not proven."""
        found = []
        for each, w in zip(self.sketched_maps(), self.maps(weights), strict=True):
            own = w.astype(np.float64)
            found.append(
                norm_bound(each.operator(own), 1e-3).value if w.ndim == 4 else np.linalg.norm(own, 2)
            )
        return np.array(found)

    def clipped(self, weights: Sequence[np.ndarray], norms: np.ndarray) -> Arrays:
        """The nearest arrays (Frobenius) with |W_k| <= norms_k: singular values cut, biases as they are.

        Kernels are scaled down instead.
        """
        result = list(weights)
        for i, norm, own in zip(self.matrices, norms, self.norms(weights), strict=True):
            w = weights[i].astype(np.float64)
            if own <= norm:
                continue
            if w.ndim == 4:
                w = w * (norm / own)
            else:
                u, values, vt = np.linalg.svd(w, full_matrices=False)
                w = (u * np.minimum(values, norm)) @ vt
            result[i] = read_only(w.astype(self.dtypes[i]))
        return tuple(result)

    def network(self, weights: Sequence[np.ndarray]) -> Network:
        """The network of these arrays, cast to float64 exactly."""
        maps: list[Any] = []
        offsets: list[np.ndarray | None] = []
        for w, i, c in zip(self.maps(weights), self.biases, self.like, strict=True):
            bias = None if i is None else weights[i]
            maps.append(w if c is None else dataclasses.replace(c, kernel=w))
            pixels = 1 if c is None else c.output_shape[1] * c.output_shape[2]
            offsets.append(bias if bias is None or c is None else np.repeat(bias, pixels))
        return Network.from_arrays(maps, offsets, self.activation)

    def with_scaled_output(self, weights: Sequence[np.ndarray], factor: float) -> Arrays:
        """The arrays of factor * f."""
        return tuple(
            read_only((w * w.dtype.type(factor)).astype(w.dtype)) if i in self.outputs else w
            for i, w in enumerate(weights)
        )


def _geometry(
    i: int, w: np.ndarray, convolutions: Sequence[Convolution2d], before: Sequence[Convolution2d | None]
) -> Convolution2d:
    """The next of the convolutions, for the kernel weights[i]."""
    place = sum(c is not None for c in before)
    found = convolutions[place] if place < len(convolutions) else None
    if not isinstance(found, Convolution2d) or found.kernel.shape != w.shape:
        raise InputError(
            f"weights[{i}] has shape {w.shape}, and convolutions[{place}] is {type(found).__name__}"
            f"{f' of {found.kernel.shape}' if isinstance(found, Convolution2d) else ''}; expected a "
            "Convolution2d with a kernel of that shape."
        )
    return found
