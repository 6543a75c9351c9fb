"""The margin problem with arbitrary quadratic terms per neuron, around an anchor, in floating point.

z = (d, u) with d = x - x0 and u = w - w0, so that neuron i has v_i = v0_i + h_i, h = V'z linear. A term is
g = vv h**2 + vw h u + ww u**2 + v h + w u + one in these coordinates. Pixels of a box are neurons with
h = d_j alone and the term (h - low)(high - h). For a plain ball d is reduced to the range of W_0'. For
multipliers y,

    L(z) = weight (row . f + offset) + mu (|d|**2 - eps**2) - sum_i y_i g_i = constant + 2 f'z + z'M z.
"""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from .._errors import InputError
from ..certificates.point import Site, is_curved, slopes_of_pieces, term_of_kind
from ..claims import AbstractRegion
from ..network import Network
from ._folding import fold
from ._problem import PieceChain

__all__ = [
    "CurveAnchor",
    "CurveTerms",
    "CurvedChain",
    "LocalTerm",
    "anchor_of",
    "curved_chain_of",
    "local_term",
]

NAMES = ("vv", "vw", "ww", "v", "w", "one")


@dataclasses.dataclass(frozen=True, eq=False)
class CurvedChain:
    """A chain with curved activations: `slopes` holds the global slope bounds as a chain of pieces."""

    network: Network
    slopes: PieceChain

    @property
    def original(self) -> Network:
        """The network that is asked about; `network` has its linear layers multiplied out."""
        return self.slopes.folding.original


def curved_chain_of(network: Network) -> CurvedChain:
    """The chain of a network with curved activations; raises InputError naming one that has no terms."""
    folding = fold(network)
    network = folding.folded
    low, high = [], []
    for k, layer in enumerate(network.layers[:-1]):
        n = layer.linear.shape[0]
        if not is_curved(layer.activation) and slopes_of_pieces(layer.activation, n) is None:
            raise InputError(
                f"hidden layer {folding.kept[k] + 1} has activation {layer.activation.name!r}; certificates "
                "at a point know identity, relu, leaky_relu, prelu, abs, tanh, sigmoid, gelu, silu, "
                "softplus, elu, mish, hardtanh and hardswish."
            )
        a, b = layer.activation.slopes_for(n, f"hidden layer {k + 1}")
        low.append(np.asarray(a))
        high.append(np.asarray(b))
    biases = tuple(layer.bias for layer in network.layers)
    slopes = PieceChain(network, network.weights, biases, tuple(low), tuple(high), folding)
    return CurvedChain(network, slopes)


@dataclasses.dataclass(frozen=True, eq=False)
class CurveAnchor:
    """The network at x0: preactivations and values per hidden layer, outputs, and the matrix V."""

    chain: CurvedChain
    region: AbstractRegion
    values: list[np.ndarray]
    images: list[np.ndarray]
    outputs: np.ndarray

    @functools.cached_property
    def reduced(self) -> bool:
        """Whether d lives in the range of W_0'."""
        w0 = self.chain.slopes.weights[0]
        return self.region.box is None and w0.shape[1] > w0.shape[0]

    @functools.cached_property
    def pixels(self) -> int:
        """Neurons that stand for the pixels of a box."""
        return 0 if self.region.box is None else self.region.dim

    @functools.cached_property
    def inputs(self) -> int:
        """The dimension of d."""
        w0 = self.chain.slopes.weights[0]
        return w0.shape[0] if self.reduced else w0.shape[1]

    @functools.cached_property
    def matrices(self) -> tuple[np.ndarray, np.ndarray]:
        """V and E, each (dim, pixels + neurons): h = V'z, u = E'z."""
        chain, r, b = self.chain.slopes, self.inputs, self.pixels
        n = int(chain.ends[-1])
        w0 = chain.weights[0]
        if self.reduced:
            w0 = np.ascontiguousarray(np.linalg.qr(w0.T)[1].T)
        v, e = np.zeros((r + n, b + n)), np.zeros((r + n, b + n))
        v[:b, :b] = np.eye(b)
        for k, w in enumerate([w0, *chain.weights[1:-1]]):
            rows = slice(0, r) if k == 0 else slice(r + chain.ends[k - 1], r + chain.ends[k])
            v[rows, b + chain.ends[k] : b + chain.ends[k + 1]] = w.T
        e[r:, b:] = np.eye(n)
        return v, e

    def point_of(self, d: np.ndarray) -> np.ndarray:
        """The input that belongs to d."""
        if self.reduced:
            d = np.linalg.qr(self.chain.slopes.weights[0].T)[0] @ d
        return np.asarray(self.region.anchor + d)


def anchor_of(chain: CurvedChain, region: AbstractRegion) -> CurveAnchor:
    """The network at the region's anchor."""
    values, images = forward(chain.network, region.anchor)
    outputs = chain.network.layers[-1].linear.to_dense() @ images[-1] + chain.network.layers[-1].bias
    return CurveAnchor(chain, region, values, images, outputs)


def forward(network: Network, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Preactivations and values of the hidden layers."""
    values, images = [], []
    for layer, w in zip(network.layers[:-1], network.weights[:-1], strict=True):
        values.append(w @ x + layer.bias)
        x = layer.activation(values[-1])
        images.append(x)
    return values, images


@dataclasses.dataclass(frozen=True, eq=False)
class LocalTerm:
    """A term at the anchor: `numbers` (k, 6) for the k neurons `where`; `layer` -1 for pixels."""

    kind: str
    layer: int
    parameters: Mapping[str, np.ndarray]
    equality: bool
    where: np.ndarray
    numbers: np.ndarray


def local_term(
    anchor: CurveAnchor, layer: int, kind: str, parameters: Mapping[str, np.ndarray], used: np.ndarray
) -> LocalTerm:
    """The registered term of that kind on the neurons `used` of a layer, moved to the anchor."""
    site = Site(anchor.chain.network, layer, anchor.region)
    term = term_of_kind(kind)
    assert term is not None, "proposed kinds are registered"
    c = dict.fromkeys(NAMES, np.zeros(site.neurons))
    for name, monomials in term.coefficients(site, parameters).items():
        c[name] = sum((np.prod(m, axis=0) for m in monomials), np.zeros(site.neurons))
    v, w = anchor.values[layer], anchor.images[layer]
    numbers = np.stack(
        [
            c["vv"],
            c["vw"],
            c["ww"],
            2.0 * c["vv"] * v + c["vw"] * w + c["v"],
            c["vw"] * v + 2.0 * c["ww"] * w + c["w"],
            (c["vv"] * v + c["vw"] * w + c["v"]) * v + (c["ww"] * w + c["w"]) * w + c["one"],
        ],
        axis=1,
    )
    where = np.flatnonzero(used)
    return LocalTerm(kind, layer, parameters, term.equality, where, numbers[where])


def pixel_term(anchor: CurveAnchor) -> LocalTerm:
    """(h - low)(high - h) for the pixels of a box."""
    box = anchor.region.box
    assert box is not None, "called for regions with a box"
    low, high = box.lower - anchor.region.anchor, box.upper - anchor.region.anchor
    zero = np.zeros_like(low)
    numbers = np.stack([zero - 1.0, zero, zero, low + high, zero, -low * high], axis=1)
    return LocalTerm("pixel", -1, {}, False, np.arange(low.size), numbers)


class CurveTerms:
    """All terms of one problem: the neuron of each, their numbers (N, 6), which are equalities."""

    def __init__(self, anchor: CurveAnchor, terms: list[LocalTerm]) -> None:
        chain = anchor.chain.slopes
        self.anchor = anchor
        self.parts = ([pixel_term(anchor)] if anchor.pixels else []) + terms
        starts = [0 if t.layer < 0 else anchor.pixels + int(chain.ends[t.layer]) for t in self.parts]
        self.neuron = np.concatenate([t.where + s for t, s in zip(self.parts, starts, strict=True)])
        self.numbers = np.vstack([t.numbers for t in self.parts])
        self.free = np.concatenate([np.full(len(t.where), t.equality) for t in self.parts])
        self.ends = np.cumsum([0, *(len(t.where) for t in self.parts)])

    def summed(self, y: np.ndarray) -> np.ndarray:
        """-sum of y_i times the numbers, per neuron (pixels + neurons, 6)."""
        total = np.zeros((self.anchor.matrices[0].shape[1], 6))
        np.add.at(total, self.neuron, -y[:, None] * self.numbers)
        return total
