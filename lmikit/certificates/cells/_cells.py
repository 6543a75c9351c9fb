"""Cells of activation patterns in exact numbers.

Every activation is phi(v) = left v for v <= 0 and right v for v >= 0. While all neurons of the layers
before layer k have one slope, the preactivations of layer k are affine functions of the input; their
coefficients are kept as integers over one power of two. A path of splits (neuron, sign) names the open cell
{x : sign_t v_t(x) > 0 for every t of the path}.

THEOREM 1 (coverage). Let X be convex with interior points. Split only neurons whose affine form is not
zero, both signs each time. Then almost every x of X lies in the open cell of exactly one leaf: {v_t = 0} of a
form that is not zero is a hyperplane or empty. A neuron whose form is zero on a cell is constant
there, so that its slope does not matter.

THEOREM 2 (bound). f is Lipschitz, so on X its constant is the supremum of ||J(x)||_2 over the points of
differentiability in any subset of full measure of X (Rademacher; Fubini for almost all segments of a
direction, and continuity). Hence it is at most L where every leaf's open cell is empty in X or has ||J||_2
<= L on it.
"""

import dataclasses
from functools import cached_property

import numpy as np

from ..._errors import InputError
from ...network import Identity, Network
from ..point import Dyadic, slopes_of_pieces

__all__ = ["Cell", "CellTheory", "Pairs"]

Pairs = tuple[tuple[np.ndarray, np.ndarray], ...]
Path = tuple[tuple[int, int, int], ...]  # (hidden layer, neuron, sign)


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """A node of the tree: a path of signs, and what follows from it.

    `layer` is the first hidden layer (from 0) with neurons that are not decided; the number of hidden
    layers where there is none. `forms[k]` (n_k, n_0 + 1) holds coefficients and constant of the affine
    preactivations of layer k <= `layer` (of the outputs, after the last). `slopes` are those of the
    layers before, `chosen` (n_k,) those of `layer`, NaN where not decided; `hidden` is L.
    """

    layer: int
    forms: tuple[Dyadic, ...]
    slopes: tuple[np.ndarray, ...]
    chosen: np.ndarray
    path: Path
    hidden: int

    @property
    def linear(self) -> bool:
        """Whether the whole network is affine on the cell."""
        return self.layer == self.hidden

    @cached_property
    def undecided(self) -> np.ndarray:
        """The neurons of `layer` without a slope."""
        return np.flatnonzero(np.isnan(self.chosen))

    @cached_property
    def prefix(self) -> Dyadic:
        """The Jacobian (n_k, n_0) of the preactivations of `layer`, or of the outputs."""
        form = self.forms[self.layer]
        return Dyadic(form.values[:, :-1], form.power)


class CellTheory:
    """A network of two-piece activations in exact numbers; `root` and `split` make its cells.

    `slopes` (alpha, beta) per hidden layer contain every difference quotient on the region; a neuron
    with alpha = beta is decided by that. Raises InputError for other activations and sizes.
    """

    def __init__(self, network: Network, slopes: Pairs) -> None:
        self.network, self.given = network, slopes
        self.hidden = network.hidden_layers
        self.pieces = [_pieces(network, k) for k in range(self.hidden)]
        if len(slopes) != self.hidden:
            raise InputError(
                f"slopes has {len(slopes)} entries; expected {self.hidden}, one per hidden layer."
            )
        for (alpha, beta), (left, _) in zip(slopes, self.pieces, strict=True):
            if alpha.shape != left.shape or beta.shape != left.shape:
                raise InputError("slopes are not one pair of numbers per hidden neuron.")
        self.matrices = [Dyadic.exact(layer.linear.to_dense()) for layer in network.layers]
        self.biases = [Dyadic.exact(layer.bias).columns() for layer in network.layers]

    def root(self) -> Cell:
        """The cell of the empty path."""
        first, bias = self.matrices[0], self.biases[0]
        return self._entered((self._with_constant(first, bias),), (), ())

    def split(self, cell: Cell, neuron: int) -> tuple[Cell, Cell]:
        """The cells with v > 0 and with v < 0 of an undecided neuron of the cell's layer."""
        if cell.linear or not 0 <= neuron < cell.chosen.size or not np.isnan(cell.chosen[neuron]):
            raise InputError(f"neuron {neuron} of hidden layer {cell.layer} is not there to be split.")
        left, right = self.pieces[cell.layer]
        children = []
        for sign, slope in ((1, right[neuron]), (-1, left[neuron])):
            chosen = cell.chosen.copy()
            chosen[neuron] = slope
            path = (*cell.path, (cell.layer, neuron, sign))
            children.append(
                self._advanced(Cell(cell.layer, cell.forms, cell.slopes, chosen, path, self.hidden))
            )
        return children[0], children[1]

    def bounds_of_slopes(self, cell: Cell) -> np.ndarray:
        """At least |slope| of every neuron of the cell's layer, (n_k,)."""
        alpha, beta = self.given[cell.layer]
        return np.where(np.isnan(cell.chosen), np.maximum(np.abs(alpha), np.abs(beta)), np.abs(cell.chosen))

    def _advanced(self, cell: Cell) -> Cell:
        if np.isnan(cell.chosen).any():
            return cell
        k = cell.layer
        scaled = cell.forms[k] * Dyadic.exact(cell.chosen).columns()
        linear = _product(self.matrices[k + 1], scaled)
        last = Dyadic(linear.values[:, -1:], linear.power) + self.biases[k + 1]
        body = Dyadic(linear.values[:, :-1], linear.power)
        return self._entered(
            (*cell.forms, self._with_constant(body, last)), (*cell.slopes, cell.chosen), cell.path
        )

    def _entered(self, forms: tuple[Dyadic, ...], slopes: tuple[np.ndarray, ...], path: Path) -> Cell:
        """The cell at the layer of the last form, with what is decided there without a split."""
        k = len(slopes)
        if k == self.hidden:
            return Cell(k, forms, slopes, np.zeros(0), path, k)
        alpha, beta = self.given[k]
        chosen = np.where(alpha == beta, alpha, np.nan)
        right = self.pieces[k][1]
        for i in np.flatnonzero(np.isnan(chosen)):
            if not any(forms[k].values[i]):
                chosen[i] = right[i]
        return self._advanced(Cell(k, forms, slopes, chosen, path, self.hidden))

    def _with_constant(self, body: Dyadic, constant: Dyadic) -> Dyadic:
        power = max(body.power, constant.power)
        parts = [m.values * (1 << (power - m.power)) for m in (body, constant)]
        return Dyadic(np.hstack(parts), power)


def _product(a: Dyadic, b: Dyadic) -> Dyadic:
    return Dyadic(np.dot(a.values, b.values), a.power + b.power)


def _pieces(network: Network, k: int) -> tuple[np.ndarray, np.ndarray]:
    layer, size = network.layers[k], network.dims[k + 1]
    if isinstance(layer.activation, Identity):
        return np.ones(size), np.ones(size)
    found = slopes_of_pieces(layer.activation, size)
    if found is None:
        raise InputError(
            f"layer {k} has activation {layer.activation.name!r}; cells of patterns are for activations of "
            "two linear pieces: relu, leaky_relu, prelu, abs. Use lmikit.lipschitz(network, region=...)."
        )
    return found
