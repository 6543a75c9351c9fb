"""The lifted matrix of one frequency, with a radius for every rounding, as a real symmetric matrix.

A complex vector a + i b is the real (a, b), a matrix A + i B is [[A, -B], [B, A]], and a Hermitian matrix is
positive semidefinite exactly if its real form is. With z = (x, w) at one frequency, v = V z, every nonlinear
node contributes w'(2T)w - 2 w'(S T)v + v'(2 Pi T)v, S = alpha + beta, Pi = alpha beta, T = lambda per
channel, and the matrix is [[d_in E_0'E_0 + sum of forms, -Y'], [-Y, D_out]].
"""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from ...graph._enclosure import EnclosedMatrix
from ...graph._levels import levels
from ...torus import TorusForm, TorusWitness
from ...torus._symbols import Symbol
from .._verified_cholesky import BlockTridiagonal

__all__ = ["Frequency", "frequencies", "slope_factors"]

_U = 2.0**-53
_CHUNK = 2**24  # numbers of the symbols held at once
Rows = dict[int, EnclosedMatrix]
Blocks = dict[tuple[int, int], EnclosedMatrix]
_Pair = tuple[np.ndarray, np.ndarray]
_Slopes = tuple[np.ndarray, _Pair, _Pair | None]


@dataclasses.dataclass(frozen=True, eq=False)
class Frequency:
    """The trunk's matrix of one frequency, its weight, and the rows Y of what reads it.

    `last` couples the output to the last level; `point` is the frequency as two integers.
    """

    point: tuple[int, int]
    weight: float
    trunk: BlockTridiagonal
    last: EnclosedMatrix

    def lifted(self, d_out: np.ndarray) -> BlockTridiagonal:
        """With the output block: a number for each row, or a symmetric matrix."""
        t = self.trunk
        return BlockTridiagonal(
            (*t.diagonal, d_out),
            (*t.lower, -self.last.mid),
            (*t.diagonal_rad, None),
            (*t.lower_rad, self.last.rad),
        )


def frequencies(form: TorusForm, witness: TorusWitness) -> Iterator[Frequency]:
    """One of every pair of opposite frequencies, with the witness's multipliers."""
    points, weights = form.grid
    widest = max(form.size(k) for k in form.images.phases)
    step = max(1, _CHUNK // (widest * widest * max(1, len(form.linear))))
    slopes = {k: _slopes(form, k, t) for k, t in zip(form.nodes, witness.multipliers, strict=True)}
    for first in range(0, len(points), step):
        chunk = points[first : first + step]
        symbols = {k: form.map_symbols(k, chunk) for k in form.linear}
        heads = {} if form.head is None else form.head_symbols(chunk)
        for j, point in enumerate(chunk):
            at = {
                k: [(p, None if s is None else _real(s, j)) for p, s in found] for k, found in symbols.items()
            }
            rows = _eliminated(form, at)
            if form.head is None:
                output = rows[len(form.graph.nodes) - 1]
            else:
                output = {s: _real(symbol, j, only_real=True) for s, symbol in heads.items()}
            trunk, last = _assembled(form, witness.d_in, slopes, rows, output)
            yield Frequency((int(point[0]), int(point[1])), float(weights[first + j]), trunk, last)


def _real(symbol: Symbol, j: int, only_real: bool = False) -> EnclosedMatrix:
    """[[re, -im], [im, re]], or its first rows."""
    re, im = symbol.re[j], symbol.im[j]
    top, rad = np.hstack([re, -im]), np.hstack([symbol.rad, symbol.rad])
    if only_real:
        return EnclosedMatrix(top, rad)
    return EnclosedMatrix(np.vstack([top, np.hstack([im, re])]), np.vstack([rad, rad]))


def _eliminated(
    form: TorusForm, symbols: dict[int, list[tuple[int, EnclosedMatrix | None]]]
) -> dict[int, Rows]:
    """Per node of the torus its rows by source: the input and the nonlinear nodes."""
    values: dict[int, Rows] = {}
    for k in form.images.phases:
        if k not in symbols:
            size = 2 * form.size(k)
            values[k] = {k: EnclosedMatrix.selection(size, np.arange(size))}
            continue
        total: Rows = {}
        for parent, linear in symbols[k]:
            for s, rows in values[parent].items():
                term = rows if linear is None else linear @ rows
                total[s] = total[s] + term if s in total else term
        values[k] = total
    return values


def _assembled(
    form: TorusForm, d_in: float, slopes: dict[int, _Slopes], values: dict[int, Rows], output: Rows
) -> tuple[BlockTridiagonal, EnclosedMatrix]:
    blocks: Blocks = {}
    for k, own in slopes.items():
        _add_slopes(blocks, k, own, values[form.graph.nodes[k].parents[0]])
    sources = [0, *form.nodes]
    size = {s: 2 * form.size(s) for s in sources}
    _add(blocks, 0, 0, EnclosedMatrix(np.diag(np.full(size[0], d_in))))
    first = min(sources.index(s) for s in output)  # from here on everything is in the last level
    groups = [*([s] for s in sources[:first]), sources[first:]]
    place = {s: i for i, group in enumerate(groups) for s in group}
    pairs = [(place[a], place[b]) for a, b in blocks]
    partition = levels([sum(size[s] for s in group) for group in groups], pairs)
    if any(abs(_level(partition, a) - _level(partition, b)) > 1 for a, b in pairs):
        raise AssertionError("the levels do not make the matrix block tridiagonal; please report this.")
    names = [[s for i in level for s in groups[i]] for level in partition]
    diagonal = [_joined(blocks, size, level, level) for level in names]
    lower = [_joined(blocks, size, b, a) for a, b in itertools.pairwise(names)]
    trunk = BlockTridiagonal(
        tuple(d.mid for d in diagonal),
        tuple(e.mid for e in lower),
        tuple(d.rad for d in diagonal),
        tuple(e.rad for e in lower),
    )
    rows = next(iter(output.values())).mid.shape[0]
    return trunk, _joined({(-1, s): e for s, e in output.items()}, {**size, -1: rows}, [-1], names[-1])


def _level(partition: tuple[tuple[int, ...], ...], group: int) -> int:
    return next(k for k, level in enumerate(partition) if group in level)


def slope_factors(
    alpha: np.ndarray, beta: np.ndarray, t: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray] | None]:
    """(-S T, its error) and (2 Pi T, its error), None where Pi is zero; two roundings each."""
    s, q = -((alpha + beta) * t), 2.0 * ((alpha * beta) * t)
    plain = ((alpha == 0.0) | (beta == 0.0)) & np.isin(alpha + beta, (-1.0, 0.0, 1.0))
    s_error = np.where(plain, 0.0, 4.0 * _U * np.abs(s) + 2.0**-1060 * (1.0 + t))
    both = (alpha != 0.0) & (beta != 0.0)
    q_error = np.where(both, 4.0 * _U * np.abs(q) + 2.0**-1060 * (1.0 + t), 0.0)
    return (s, s_error), ((q, q_error) if both.any() else None)


def _slopes(form: TorusForm, k: int, t: np.ndarray) -> _Slopes:
    """(2 T, -S T, 2 Pi T) of node k, for the real form."""
    alpha, beta = form.slopes(k)
    full = [np.tile(np.repeat(v, form.repeats(k)), 2) for v in (alpha, beta, t)]
    return (2.0 * full[2], *slope_factors(*full))


def _add_slopes(blocks: Blocks, k: int, slopes: _Slopes, rows: Rows) -> None:
    double, (s, s_error), square = slopes
    _add(blocks, k, k, EnclosedMatrix(np.diag(double)))
    for source, e in rows.items():
        _add(blocks, k, source, e.rows_times(s, s_error))
    if square is None:
        return
    names = sorted(rows)
    for i, high in enumerate(names):
        right = rows[high].rows_times(*square)
        for low in names[i:]:
            product = rows[low].T @ right
            _add(blocks, low, high, product.symmetric() if low == high else product)


def _add(blocks: Blocks, row: int, column: int, e: EnclosedMatrix) -> None:
    blocks[row, column] = blocks[row, column] + e if (row, column) in blocks else e


def _joined(blocks: Blocks, size: dict[int, int], rows: list[int], columns: list[int]) -> EnclosedMatrix:
    """The blocks side by side; above the diagonal their transposes."""
    if len(rows) == len(columns) == 1 and (rows[0], columns[0]) in blocks:
        return blocks[rows[0], columns[0]]
    tops, lefts = (np.cumsum([0, *(size[s] for s in names)]) for names in (rows, columns))
    mid, rad = np.zeros((tops[-1], lefts[-1])), np.zeros((tops[-1], lefts[-1]))
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            e = blocks.get((r, c)) or (blocks[c, r].T if (c, r) in blocks else None)
            if e is None:
                continue
            here = np.s_[tops[i] : tops[i + 1], lefts[j] : lefts[j + 1]]
            mid[here] = e.mid
            rad[here] = 0.0 if e.rad is None else e.rad
    return EnclosedMatrix(mid, rad if rad.any() else None)
