"""The lifted matrix of a dissipation on a graph, by levels, with a radius for every rounding.

With z = (x, w), v = V z, y = Y z (`lmikit.graph._form`), every node contributes its quadratic form
sigma <= 0 on increments,

    slopes       2 t (w - alpha v)(w - beta v)  =  w'(2T)w + 2 w'(-S T)v + v'(2 Pi T)v,
    groups       sigma of `lmikit.nonlinear`,

and the matrix is [[E_0'D_in E_0 + sum of forms, -Y'], [-Y, D_out]], z in the order of the levels.

`lmikit.certificates._assemble` forms the same matrix for chains whose linear neurons were eliminated. It
stays apart on purpose: it is the oracle of this one (a chain has both, and tests compare them within their
radii, which is worth nothing if they share code), and it leaves rho open on a diagonal input block, from
which the repair of chains reads the least rho, where this one has D_in, D_out and forms of whole groups.
"""

import dataclasses

import numpy as np
import scipy.linalg

from ...graph._enclosure import EnclosedMatrix
from ...graph._form import EliminatedForm
from ...graph._levels import levels
from ...graph._nodes import Apply
from ...graph._witness import Part
from ...nonlinear import AbstractGroups
from .._verified_cholesky import BlockTridiagonal
from ._independent import independent_first, is_diagonal

__all__ = ["Assembled", "NodeForm", "assemble", "slope_form"]

_U = 2.0**-53
_OUT = -1  # the output block, which stands last
Blocks = dict[tuple[int, int], EnclosedMatrix]


Factor = tuple[np.ndarray, np.ndarray] | EnclosedMatrix  # a diagonal with its errors, or a full matrix


@dataclasses.dataclass(frozen=True)
class NodeForm:
    """w'ww w + 2 w'wv v + v'vv v of one node; None is zero."""

    ww: EnclosedMatrix
    wv: Factor | None
    vv: Factor | None


@dataclasses.dataclass(frozen=True, eq=False)
class Assembled:
    """The matrix without its diagonal parts D_in and D_out, which `at` fills in."""

    form: EliminatedForm
    blocks: Blocks
    order: tuple[int, ...]
    partition: tuple[tuple[int, ...], ...]
    inputs: np.ndarray  # the columns of x that may move
    outputs: np.ndarray

    def at(self, d_in: np.ndarray, d_out: np.ndarray) -> BlockTridiagonal:
        """With D_in and D_out, one number each or one per entry."""
        ends = {0: np.broadcast_to(d_in, self.inputs.shape), _OUT: np.broadcast_to(d_out, self.outputs.shape)}
        diagonal, diagonal_rad, lower, lower_rad = [], [], [], []
        for k, level in enumerate(self.partition):
            names = [self.order[i] for i in level]
            block = self._joined(names, names, ends)
            diagonal.append(block[0])
            diagonal_rad.append(block[1])
            if k:
                above = [self.order[i] for i in self.partition[k - 1]]
                below = self._joined(names, above, {})
                lower.append(below[0])
                lower_rad.append(below[1])
        return BlockTridiagonal(tuple(diagonal), tuple(lower), tuple(diagonal_rad), tuple(lower_rad))

    def _size(self, name: int) -> int:
        return self.outputs.size if name == _OUT else self.inputs.size if name == 0 else self.form.size(name)

    def _joined(
        self, rows: list[int], columns: list[int], ends: dict[int, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The blocks side by side, with their radii; a vector where only a diagonal is left."""
        if rows == columns:
            alone = [self._diagonal(name, rows, ends) for name in rows]
            found = [d for d in alone if d is not None]
            if len(found) == len(rows):
                return np.concatenate(found), None
        heights, widths = [self._size(r) for r in rows], [self._size(c) for c in columns]
        mid, rad = np.zeros((sum(heights), sum(widths))), np.zeros((sum(heights), sum(widths)))
        tops, lefts = np.cumsum([0, *heights]), np.cumsum([0, *widths])
        for i, r in enumerate(rows):
            for j, c in enumerate(columns):
                e = self._block(r, c)
                here = np.s_[tops[i] : tops[i + 1], lefts[j] : lefts[j + 1]]
                if e is not None:
                    mid[here] = e.mid
                    rad[here] = 0.0 if e.rad is None else e.rad
                if r == c and r in ends:
                    index = np.arange(tops[i], tops[i + 1]), np.arange(lefts[j], lefts[j + 1])
                    moved = mid[index] != 0.0
                    mid[index] += ends[r]
                    rad[index] += np.where(moved, 2.0 * _U * np.abs(mid[index]), 0.0)
        return mid, rad if rad.any() else None

    def _diagonal(self, name: int, level: list[int], ends: dict[int, np.ndarray]) -> np.ndarray | None:
        """Of a diagonal block that stands beside no other one of its level and has no radii."""
        if any(self._block(name, other) is not None for other in level if other != name):
            return None
        block = self.blocks.get((name, name))
        if name in ends:
            return np.array(ends[name]) if block is None else None
        return None if block is None or not is_diagonal(block) else np.diagonal(block.mid)

    def _block(self, row: int, column: int) -> EnclosedMatrix | None:
        if (row, column) in self.blocks:
            return self.blocks[row, column]
        mirrored = self.blocks.get((column, row))
        return None if mirrored is None else mirrored.T


def assemble(form: EliminatedForm, part: Part) -> Assembled:
    """The blocks for the part's multipliers, which the caller has checked to be admissible."""
    blocks: Blocks = {}
    inputs = np.arange(form.graph.input_dim) if part.column is None else np.array([part.column])
    outputs = np.arange(form.graph.output_dim) if part.row is None else np.array([part.row])

    def seen(rows: dict[int, EnclosedMatrix]) -> dict[int, EnclosedMatrix]:
        return {s: _columns(e, inputs) if s == 0 and part.column is not None else e for s, e in rows.items()}

    with np.errstate(all="ignore"):
        for k, t in zip(form.graph.applied, part.multipliers, strict=True):
            if form.kept[k].size:
                node = form.graph.nodes[k]
                assert isinstance(node, Apply)
                _add_form(blocks, k, _form_of(node, form.kept[k], t), seen(form.V[k]))
        for s, rows in seen(form.Y).items():
            blocks[_OUT, s] = -rows.rows(outputs)
    order = (*form.sources, _OUT)
    place = {name: i for i, name in enumerate(order)}
    pairs = [(place[a], place[b]) for a, b in blocks]
    sizes = [outputs.size if n == _OUT else inputs.size if n == 0 else form.size(n) for n in order]
    partition = levels(sizes, pairs)
    independent = independent_first(blocks, order, sizes, partition)
    if independent:
        rest = tuple(i for i in range(len(order)) if i not in independent)
        partition = (independent, rest)
    _check_pattern(partition, pairs)
    return Assembled(form, blocks, order, partition, inputs, outputs)


def _check_pattern(partition: tuple[tuple[int, ...], ...], pairs: list[tuple[int, int]]) -> None:
    """No block may be lost: the proof rests on it."""
    level = {group: k for k, groups in enumerate(partition) for group in groups}
    if any(abs(level[a] - level[b]) > 1 for a, b in pairs):
        raise AssertionError("the levels do not make the matrix block tridiagonal; please report this.")


def _columns(e: EnclosedMatrix, columns: np.ndarray) -> EnclosedMatrix:
    return e.T.rows(columns).T


def _add_form(blocks: Blocks, k: int, own: NodeForm, rows: dict[int, EnclosedMatrix]) -> None:
    _add(blocks, k, k, own.ww)
    if own.wv is not None:
        for s, e in rows.items():
            _add(blocks, k, s, _times(own.wv, e))  # the sources of v come before k: below the diagonal
    if own.vv is None:
        return
    names = sorted(rows)
    for i, high in enumerate(names):
        right = _times(own.vv, rows[high])
        for low in names[i:]:
            product = rows[low].T @ right
            _add(blocks, low, high, product.symmetric() if low == high else product)


def _add(blocks: Blocks, row: int, column: int, e: EnclosedMatrix) -> None:
    blocks[row, column] = blocks[row, column] + e if (row, column) in blocks else e


def _times(factor: Factor, e: EnclosedMatrix) -> EnclosedMatrix:
    return factor @ e if isinstance(factor, EnclosedMatrix) else e.rows_times(*factor)


def _form_of(node: Apply, kept: np.ndarray, t: np.ndarray) -> NodeForm:
    if isinstance(node.function, AbstractGroups):
        return _group_form(node.function, kept, t)
    return slope_form(node.alpha[kept], node.beta[kept], t[kept])


def slope_form(alpha: np.ndarray, beta: np.ndarray, t: np.ndarray) -> NodeForm:
    """2T, -S T, 2 Pi T; s = fl(fl(alpha + beta) t), q = fl(2 fl(alpha beta) t): two roundings each."""
    total = alpha + beta
    one_sided = (alpha == 0.0) | (beta == 0.0)  # then alpha + beta is exact and alpha beta is 0
    plain = (one_sided & np.isin(total, (-1.0, 1.0))) | (alpha == -beta)
    s = -(total * t)
    s_error = np.where(plain, 0.0, 4.0 * _U * np.abs(s) + 2.0**-1060 * (1.0 + t))
    q = 2.0 * ((alpha * beta) * t)
    q_error = np.where(one_sided, 0.0, 4.0 * _U * np.abs(q) + 2.0**-1060 * (1.0 + t))
    return NodeForm(
        EnclosedMatrix(np.diag(2.0 * t)),
        None if (alpha == -beta).all() else (s, s_error),
        None if one_sided.all() else (q, q_error),
    )


def _group_form(function: AbstractGroups, kept: np.ndarray, t: np.ndarray) -> NodeForm:
    """ww = lam N N' + B mu B', vv = -(lam N N' + B nu B'), wv = B (nu - mu) B' / 2, group by group."""
    g = function.group_size
    N, B = EnclosedMatrix(function.norm_directions), EnclosedMatrix(function.identities)
    square = N @ N.T
    per_group = t.reshape(-1, function.multipliers_per_group)[kept[::g] // g]
    blocks: list[list[EnclosedMatrix]] = [[], [], []]
    for values in per_group:
        lam, nu, mu = _unpacked(values, B.mid.shape[1])
        norm = square.rows_times(np.full(g, lam))
        blocks[0].append((norm + B @ (mu @ B.T)).symmetric())
        blocks[2].append((-(norm + B @ (nu @ B.T))).symmetric())
        difference = B @ ((nu + -mu) @ B.T)
        blocks[1].append(EnclosedMatrix(0.5 * difference.mid, difference.rad))
    ww, wv, vv = (_block_diagonal(b) for b in blocks)
    return NodeForm(ww, wv if wv.mid.any() or wv.rad is not None else None, vv)


def _unpacked(values: np.ndarray, k: int) -> tuple[float, EnclosedMatrix, EnclosedMatrix]:
    """lam, nu and mu (k, k), symmetric from their upper triangles row by row."""
    upper = np.triu_indices(k)
    matrices = []
    for part in np.split(values[1:], 2):
        full = np.zeros((k, k))
        full[upper] = part
        matrices.append(EnclosedMatrix(np.triu(full) + np.triu(full, 1).T))
    return float(values[0]), matrices[0], matrices[1]


def _block_diagonal(blocks: list[EnclosedMatrix]) -> EnclosedMatrix:
    mid = scipy.linalg.block_diag(*(b.mid for b in blocks))
    if all(b.rad is None for b in blocks):
        return EnclosedMatrix(mid)
    rads = [np.zeros(b.mid.shape) if b.rad is None else b.rad for b in blocks]
    return EnclosedMatrix(mid, scipy.linalg.block_diag(*rads))
