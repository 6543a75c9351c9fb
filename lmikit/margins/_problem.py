"""The margin problem at a point in floating point: a chain of two-piece activations, shifted to an anchor."""

import dataclasses
import functools
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import svds

from .._errors import InputError
from ..certificates.point import slopes_of_pieces, weights_of
from ..claims import AbstractRegion
from ..network import Network
from ._folding import Folding, fold

__all__ = ["AnchoredChain", "PieceChain", "chain_of", "place_of"]

_SMALL = 800  # hidden neurons; up to there dense matrices serve, and with them second-order steps


@dataclasses.dataclass(frozen=True, eq=False)
class PieceChain:
    """What all points of one network share: weights W_0..W_L, biases, pieces, Gram matrix, norms.

    `network` has no linear hidden layers; `folding` knows the one that has, and the way back to it.
    The first weights may be CSR matrices, where the network is large and they are sparse.
    """

    network: Network
    weights: tuple[Any, ...]
    biases: tuple[np.ndarray, ...]
    left: tuple[np.ndarray, ...]
    right: tuple[np.ndarray, ...]
    folding: Folding

    @property
    def original(self) -> Network:
        """The network that is asked about."""
        return self.folding.original

    @property
    def hidden(self) -> int:
        """L."""
        return len(self.weights) - 1

    @property
    def sparse(self) -> bool:
        """Whether some weights are sparse matrices: for searches that know them only."""
        return sp.issparse(self.weights[0])

    @functools.cached_property
    def sizes(self) -> tuple[int, ...]:
        """(n_1, ..., n_L)."""
        return tuple(w.shape[0] for w in self.weights[:-1])

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """Offsets of the layers in a vector of all neurons."""
        return np.cumsum([0, *self.sizes])

    @functools.cached_property
    def gram(self) -> np.ndarray:
        """W_0 W_0'."""
        return self.weights[0] @ self.weights[0].T

    @functools.cached_property
    def regular(self) -> bool:
        """Whether W_0 W_0' is far from singular."""
        return bool((np.linalg.eigvalsh(self.gram) > 1e-9 * np.trace(self.gram)).all())

    @functools.cached_property
    def norms(self) -> tuple[float, ...]:
        """Spectral norms of W_0, ..., W_{L-1} (estimates; nothing is proven with them)."""
        values = [_norm(w) for w in self.weights[:-1]]
        return tuple(value if value > 0.0 else 1e-12 for value in values)

    @functools.cached_property
    def absolute_gram_rows(self) -> np.ndarray:
        """Row sums of |W_0'W_0|."""
        return np.asarray(abs(self.weights[0].T @ self.weights[0]).sum(axis=1)).ravel()

    @functools.cached_property
    def plain(self) -> bool:
        """Whether left = 0 everywhere: no v^2 terms, as for ReLU."""
        return not any(a.any() and b.any() for a, b in zip(self.left, self.right, strict=True))

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """A vector of all neurons by layer."""
        return [values[self.ends[k] : self.ends[k + 1]] for k in range(self.hidden)]


def _norm(w: Any) -> float:
    """The spectral norm, estimated."""
    if not sp.issparse(w):
        return float(np.linalg.norm(w, 2))
    if min(w.shape) < 3 or not w.nnz:
        return float(np.linalg.norm(w.toarray(), 2))
    start = np.ones(min(w.shape)) + 0.1 * np.cos(np.arange(min(w.shape)))  # the same result every time
    return float(svds(w, 1, v0=start, return_singular_vectors=False, tol=1e-6)[0])


def chain_of(network: Network) -> PieceChain:
    """The chain of a network; raises InputError naming an activation that is not of two pieces."""
    folding = fold(network)
    network = folding.folded
    left, right = [], []
    for k, layer in enumerate(network.layers[:-1]):
        slopes = slopes_of_pieces(layer.activation, layer.linear.shape[0])
        if slopes is None:
            raise InputError(
                f"hidden layer {folding.kept[k] + 1} has activation {layer.activation.name!r}; certificates "
                "at a point know relu, leaky_relu, prelu, abs and identity."
            )
        left.append(slopes[0])
        right.append(slopes[1])
    biases = tuple(layer.bias for layer in network.layers)
    weights = network.weights if network.hidden_neurons <= _SMALL else weights_of(network)
    return PieceChain(network, weights, biases, tuple(left), tuple(right), folding)


@dataclasses.dataclass(frozen=True, eq=False)
class AnchoredChain:
    """A chain at an anchor x0 of a region: d = x - x0, v_1 = W_0 d + offsets[0].

    `low`, `high` are the box around d (None without), `eps` the ball's radius (None without).
    """

    chain: PieceChain
    region: AbstractRegion
    offsets: tuple[np.ndarray, ...]
    values: np.ndarray
    outputs: np.ndarray
    eps: float | None
    low: np.ndarray | None
    high: np.ndarray | None

    @functools.cached_property
    def sizes_of_values(self) -> np.ndarray:
        """|v| per neuron, kept away from 0: the scale of the inequality multipliers."""
        size = np.abs(self.values)
        return np.maximum(size, 0.05 * float(np.median(size)) + 1e-6) if size.size else size

    @functools.cached_property
    def rectified(self) -> tuple[np.ndarray, np.ndarray]:
        """sigma (w0 - left v0) and sigma (w0 - right v0), both >= 0, for all neurons."""
        span = np.abs(np.concatenate(self.chain.right) - np.concatenate(self.chain.left))
        return span * np.maximum(self.values, 0.0), span * np.maximum(-self.values, 0.0)


def place_of(chain: PieceChain, region: AbstractRegion) -> AnchoredChain:
    """The chain at the region's anchor."""
    x0, values = region.anchor, []
    offsets = [chain.weights[0] @ x0 + chain.biases[0], *chain.biases[1:]]
    x = x0
    for k in range(chain.hidden):
        v = chain.weights[k] @ x + chain.biases[k]
        values.append(v)
        x = np.where(v >= 0.0, chain.right[k] * v, chain.left[k] * v)
    outputs = chain.weights[-1] @ x + chain.biases[-1]
    ball, box = region.ball, region.box
    return AnchoredChain(
        chain,
        region,
        tuple(offsets),
        np.concatenate(values) if values else np.zeros(0),
        outputs,
        None if ball is None else ball.radius,
        None if box is None else box.lower - x0,
        None if box is None else box.upper - x0,
    )
