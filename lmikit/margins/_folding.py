"""Linear hidden layers, multiplied out for the search and written back into what it found.

The search works on the folded network, whose maps are rounded products. Its multipliers are lifted to the
original one: with e = w - v for the neurons of every linear layer, which is 0 at true points, the
Lagrangian is a quadratic form in (z, e), z the unknowns of the folded network; at e = 0 it is the folded
one. The multiplier of e that makes its derivative vanish at the minimiser, and one of e^2 that outweighs the
coupling (Schur complement, row sums), leave the bound as it was. The lines depend on the row, so that
every row gets a group of its own.
"""

import dataclasses

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from .._errors import SolveFailed
from ..certificates.point import (
    MultiplierGroup,
    PointWitness,
    TermMultipliers,
    point_digest,
    quadratic_form,
)
from ..claims import PointClaim
from ..network import DenseMap, Identity, Layer, Network

__all__ = ["Folding", "fold"]


@dataclasses.dataclass(frozen=True, eq=False)
class Folding:
    """`folded` is `original` with its linear hidden layers multiplied out; `kept` are the others' indices."""

    original: Network
    folded: Network
    kept: tuple[int, ...]

    @property
    def trivial(self) -> bool:
        """Whether there was nothing to fold."""
        return self.folded is self.original

    def lifted(self, witness: PointWitness) -> PointWitness:
        """The witness for the original network; raises SolveFailed where M is not positive definite."""
        if self.trivial:
            return witness
        claim = witness.claim
        groups = tuple(g for group in witness.groups for g in _lifted(self, claim, group))
        return dataclasses.replace(witness, digest=point_digest(self.original), groups=groups)


def fold(network: Network) -> Folding:
    """Multiply every linear hidden layer into the next map, in floating point."""
    layers: list[Layer] = []
    kept: list[int] = []
    matrix: np.ndarray | None = None
    bias = np.zeros(0)
    hidden = network.hidden_layers
    if not any(type(layer.activation) is Identity for layer in network.layers[:-1]):
        return Folding(network, network, tuple(range(hidden)))
    for k, layer in enumerate(network.layers):
        weight = layer.linear.to_dense()
        offset = layer.bias if matrix is None else weight @ bias + layer.bias
        weight = weight if matrix is None else weight @ matrix
        if k < hidden and type(layer.activation) is Identity:
            matrix, bias = weight, offset
            continue
        matrix = None
        layers.append(Layer.of(DenseMap(weight), offset, layer.activation, f"layer {k}"))
        if k < hidden:
            kept.append(k)
    return Folding(network, Network(tuple(layers), network.input_dim), tuple(kept))


def _lifted(folding: Folding, claim: PointClaim, group: MultiplierGroup) -> list[MultiplierGroup]:
    network = folding.original
    sizes = [layer.linear.shape[0] for layer in network.layers[:-1]]
    layers: list[tuple[TermMultipliers, ...]] = [() for _ in sizes]
    for k, own in zip(folding.kept, group.layers, strict=True):
        layers[k] = own
    plain = dataclasses.replace(group, layers=tuple(layers))
    matrix, linear = quadratic_form(network, claim, plain)
    turn, shift = _substitution(network, set(folding.kept))
    form = (turn.T @ (matrix @ turn)).toarray()
    half = turn.T @ (linear + (matrix @ shift)[:, None])
    linear_at, start = [], network.input_dim
    for k, n in enumerate(sizes):
        if k not in folding.kept:
            linear_at.append(np.arange(start, start + n))
        start += n
    e = np.concatenate(linear_at)
    z = np.setdiff1d(np.arange(start), e)
    coupling = form[np.ix_(z, e)]
    try:
        factor = np.linalg.cholesky(form[np.ix_(z, z)])
    except np.linalg.LinAlgError as error:
        raise SolveFailed(
            "the multipliers of the folded network leave no room for its linear layers."
        ) from error
    point = -scipy.linalg.cho_solve((factor, True), half[z])
    lines = 2.0 * (coupling.T @ point + half[e])
    panel = scipy.linalg.solve_triangular(factor, coupling, lower=True)
    needed = np.abs(panel.T @ panel - form[np.ix_(e, e)]).sum(axis=1)
    floor = 1e-3 * max(float(needed.max(initial=0.0)), float(np.diag(form)[z].mean()))
    squares = np.split(-(2.0 * needed + floor), np.cumsum([i.size for i in linear_at])[:-1])
    result = []
    for r in range(len(group.rows)):
        own_lines = np.split(lines[:, r], np.cumsum([i.size for i in linear_at])[:-1])
        filled, used = list(layers), 0
        for k in range(len(sizes)):
            if k not in folding.kept:
                filled[k] = (
                    TermMultipliers("linear_line", own_lines[used]),
                    TermMultipliers("linear_square", squares[used]),
                )
                used += 1
        result.append(
            dataclasses.replace(
                group, rows=(group.rows[r],), scales=group.scales[r : r + 1], layers=tuple(filled)
            )
        )
    return result


def _substitution(network: Network, kept: set[int]) -> tuple[sp.csr_array, np.ndarray]:
    """(x, w_1, ..., w_L) = turn (z, e) + shift: w = v + e in linear layers."""
    sizes = [layer.linear.shape[0] for layer in network.layers[:-1]]
    ends = np.cumsum([network.input_dim, *sizes])
    total = int(ends[-1])
    rows = [sp.eye_array(network.input_dim, total, format="csr")]
    shifts = [np.zeros(network.input_dim)]
    for k, n in enumerate(sizes):
        own = sp.eye_array(n, total, k=int(ends[k]), format="csr")
        if k in kept:
            rows.append(own)
            shifts.append(np.zeros(n))
        else:
            weight = sp.csr_array(network.layers[k].linear.to_dense())
            rows.append(sp.csr_array(weight @ rows[k] + own))
            shifts.append(weight @ shifts[k] + network.layers[k].bias)
    return sp.csr_array(sp.vstack(rows)), np.concatenate(shifts)
