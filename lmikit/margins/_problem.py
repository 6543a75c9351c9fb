"""The margin problem at a point in floating point: a chain of two-piece activations, shifted to an anchor."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import svds

from .._errors import InputError
from ..certificates.point import slopes_of_pieces, sparse_maps, weights_of
from ..claims import AbstractRegion
from ..network import Identity, Network
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
        """Spectral norms of W_0, ..., W_{L-1}, between maxima and their arguments where there are `maxima`.

        Estimates; nothing is proven with them."""
        values = [_norm(self._between(k)) for k in range(self.hidden)]
        return tuple(value if value > 0.0 else 1e-12 for value in values)

    def _between(self, k: int) -> Any:
        """W_k from maxima and sums of neurons that are read alike to arguments of the next ones."""
        w = self.weights[k]
        above, number = self.maxima(k), self.alike[k]
        if above.any():
            linear, n = self.left[k] == self.right[k], w.shape[0]
            sums = sp.csr_array((np.ones(n), (number, np.arange(n))))
            largest = np.unique(number[above])
            beside = sp.csr_array(sums @ sp.diags_array(linear.astype(float)))[largest]
            w = sp.csr_array(sp.vstack([sums, beside])) @ w
        if k and self.maxima(k - 1).any():
            _, first = np.unique(self.alike[k - 1], return_index=True)
            w = w[:, first]
        return w

    @functools.cached_property
    def absolute_gram_rows(self) -> np.ndarray:
        """Row sums of |W_0'W_0|."""
        return np.asarray(abs(self.weights[0].T @ self.weights[0]).sum(axis=1)).ravel()

    @functools.cached_property
    def linear(self) -> np.ndarray:
        """Which of all neurons have no nonlinearity (N,)."""
        return np.concatenate(
            [np.zeros(0, bool), *(a == b for a, b in zip(self.left, self.right, strict=True))]
        )

    @functools.cached_property
    def alike(self) -> tuple[np.ndarray, ...]:
        """Per layer a number for each neuron, equal for those that all later layers read alike.

        Carried copies count as what they copy. A neuron above 0 only and the sum v of those like it without a
        nonlinearity are max(v_i + v, v) together, which is no larger than its arguments.
        """
        return _classes(self.weights, [a == b for a, b in zip(self.left, self.right, strict=True)])

    def maxima(self, k: int) -> np.ndarray:
        """Which neurons of layer k are the only one above 0 among their like, and not alone (n_k,) bool."""
        number, relu = self.alike[k], (self.left[k] == 0.0) & (self.right[k] == 1.0)
        linear = self.left[k] == self.right[k]
        size = number.max(initial=0) + 1
        count = [np.bincount(number[own], minlength=size) for own in (relu, linear, relu | linear)]
        whole = count[2] == np.bincount(number, minlength=count[2].size)
        return np.asarray(relu & ((count[0] == 1) & (count[1] >= 1) & whole)[number])

    @functools.cached_property
    def squares(self) -> tuple[Any, ...]:
        """The squares of the entries of W_0, ..., W_{L-1}."""
        return tuple(w.power(2) if sp.issparse(w) else w * w for w in self.weights[:-1])

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """A vector of all neurons by layer."""
        return [values[self.ends[k] : self.ends[k + 1]] for k in range(self.hidden)]


def _classes(weights: Sequence[Any], linear: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Numbers of neurons by what reads them, from the last layer on; copies are looked through."""
    result: list[np.ndarray] = []
    for k in range(len(linear) - 1, -1, -1):
        rows = sp.csr_array(weights[k + 1])
        copies = np.zeros(rows.shape[0], dtype=bool)
        if result:
            copies = linear[k + 1] & (np.diff(rows.indptr) == 1)
            copies[copies] = rows.data[rows.indptr[:-1][copies]] == 1.0
        columns = sp.csc_array(rows)
        columns.sort_indices()
        seen: dict[Any, int] = {}
        number = np.empty(rows.shape[1], dtype=np.int64)
        for i in range(rows.shape[1]):
            own = slice(columns.indptr[i], columns.indptr[i + 1])
            index, entries = columns.indices[own], columns.data[own]
            copied = copies[index]
            behind = tuple(sorted(result[0][index[copied]])) if copied.any() else ()
            key = index[~copied].tobytes(), entries[~copied].tobytes(), behind
            number[i] = seen.setdefault(key, len(seen))
        result.insert(0, number)
    return tuple(result)


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
    large = network.hidden_neurons > _SMALL
    kept = tuple(range(network.hidden_layers))
    # the product of sparse maps is dense where layers of neurons without a nonlinearity stay sparse
    folding = Folding(network, network, kept) if large and sparse_maps(network) else fold(network)
    network = folding.folded
    left, right = [], []
    for k, layer in enumerate(network.layers[:-1]):
        slopes = slopes_of_pieces(layer.activation, layer.linear.shape[0])
        if type(layer.activation) is Identity:
            slopes = (np.ones(layer.linear.shape[0]),) * 2
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
    def outcomes(self) -> list[np.ndarray]:
        """w at the anchor, by layer."""
        chain = self.chain
        pieces = zip(chain.split(self.values), chain.left, chain.right, strict=True)
        return [np.where(v >= 0.0, right * v, left * v) for v, left, right in pieces]

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
