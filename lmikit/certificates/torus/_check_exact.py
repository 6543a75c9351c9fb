"""Exact mode of the torus: every matrix in integers with radii, and one factor from floating point.

It finds the symbols again in integers (`ExactBall`), eliminates linear nodes and assembles the matrix of each
frequency with its own code; the theorem is that of `lmikit.certificates.graph._exact_dominance`: A = G G' + F
with F diagonally dominant, the radii counted in its rows, is positive semidefinite whatever G is. With a
head, G_w is any symmetric matrix of floats for which the matrix of its frequency is proven so; their sum,
times the number of cells, is exact.
"""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

from ...graph import Affine, Apply, Graph
from ...network import AbstractLinearMap
from ...torus import TorusForm, TorusWitness
from ...torus._layout import convolution_of
from ..graph._exact_balls import BITS, ExactBall, exact_symbol, exact_turn
from ..graph._exact_dominance import matrix_margin
from ..graph._exact_matrix import ExactMatrix

__all__ = ["exact_torus_margin"]

_OUT = -1
_ABOVE = (1e-11, 1e-9, 1e-7, 1e-5)  # of G_w over U X^-1 U', relatively
Rows = dict[int, ExactBall]
Blocks = dict[tuple[int, int], ExactBall]


def exact_torus_margin(form: TorusForm, witness: TorusWitness) -> float:
    """The least row excess of all matrices, nonnegative where the claim is proven."""
    points, weights = form.grid
    head = None if form.head is None else _ExactHead(form)
    worst, gram = np.inf, None
    for point, weight in zip(points, weights, strict=True):
        at = int(point[0]), int(point[1])
        blocks = _trunk(form, witness, at)
        if head is None:
            output = _values(form, at)[len(form.graph.nodes) - 1]
            rows = next(iter(output.values())).mid.shape[0]
            _output(blocks, output, ExactMatrix.of(np.diag(np.full(rows, witness.d_out))))
            worst = min(worst, _margin(form, blocks))
        else:
            found, own = _with_gram(form, blocks, head.symbols(at))
            term = ExactMatrix.of(weight * own)  # 1 or 2 times a float: exact
            gram = term if gram is None else gram + term
            worst = min(worst, found)
        if worst < 0.0:
            return float(worst)
    if head is not None:
        assert gram is not None
        worst = min(worst, head.margin(witness, gram))
    return float(worst)


def _margin(form: TorusForm, blocks: Blocks) -> float:
    order = [0, *form.nodes, _OUT]
    radii = {key: b.rad for key, b in blocks.items() if b.rad is not None}
    return matrix_margin({key: b.mid for key, b in blocks.items()}, order, radii)


def _values(form: TorusForm, point: tuple[int, int]) -> dict[int, Rows]:
    """Rows by source of every node of the torus."""
    values: dict[int, Rows] = {}
    for k in form.images.phases:
        node = form.graph.nodes[k]
        if not isinstance(node, Affine):
            values[k] = {k: ExactBall(ExactMatrix.of(np.eye(2 * form.size(k))))}
            continue
        total: Rows = {}
        for linear, parent in zip(node.maps, node.parents, strict=True):
            symbol = _symbol(form, linear, k, parent, point)
            for s, rows in values[parent].items():
                term = rows if symbol is None else symbol if s == parent else symbol @ rows
                total[s] = total[s] + term if s in total else term
        values[k] = total
    return values


def _symbol(
    form: TorusForm, linear: AbstractLinearMap, k: int, parent: int, point: tuple[int, int]
) -> ExactBall | None:
    pair = convolution_of(linear)
    if pair is None:
        return None
    conv, adjoint = pair
    found = exact_symbol(conv, form.images.phases[parent if adjoint else k], point, form.cells)
    return found.T if adjoint else found


def _trunk(form: TorusForm, witness: TorusWitness, point: tuple[int, int]) -> Blocks:
    blocks: Blocks = {(0, 0): ExactBall(ExactMatrix.of(np.diag(np.full(2 * form.size(0), witness.d_in))))}
    values = _values(form, point)
    for k, multipliers in zip(form.nodes, witness.multipliers, strict=True):
        alpha, beta = form.slopes(k)
        T, a, b = (
            ExactMatrix.of(np.tile(np.repeat(v, form.repeats(k)), 2)[:, None])
            for v in (multipliers, alpha, beta)
        )
        twice = T + T
        total, product = a + b, _times(a, b)
        _add(blocks, k, k, ExactBall(_diagonal(twice)))
        rows = values[form.graph.nodes[k].parents[0]]
        for s, e in rows.items():
            _add(blocks, k, s, -e.rows_times(_times(total, T)))
        if not product.nonzero().any():
            continue
        names = sorted(rows)
        for i, early in enumerate(names):
            right = rows[early].rows_times(_times(product, twice))
            for late in names[i:]:
                _add(blocks, late, early, rows[late].T @ right)
    return blocks


def _times(a: ExactMatrix, b: ExactMatrix) -> ExactMatrix:
    return ExactMatrix(a.values * b.values, a.power + b.power)


def _diagonal(column: ExactMatrix) -> ExactMatrix:
    full = np.zeros((column.shape[0],) * 2, dtype=object)
    np.fill_diagonal(full, column.values[:, 0])
    return ExactMatrix(full, column.power)


def _add(blocks: Blocks, row: int, column: int, e: ExactBall) -> None:
    if row < column:
        row, column, e = column, row, e.T
    blocks[row, column] = blocks[row, column] + e if (row, column) in blocks else e


def _output(blocks: Blocks, output: Rows, d_out: ExactMatrix) -> None:
    for s, e in output.items():
        blocks[_OUT, s] = -e
    blocks[_OUT, _OUT] = ExactBall(d_out)


def _with_gram(form: TorusForm, blocks: Blocks, output: Rows) -> tuple[float, np.ndarray]:
    """(margin, G_w): the first of some symmetric matrices slightly above U X^-1 U' that is proven."""
    order = [0, *form.nodes]
    ends = np.cumsum([0, *(blocks[s, s].mid.shape[0] for s in order)])
    place = {s: slice(ends[i], ends[i + 1]) for i, s in enumerate(order)}
    matrix = np.zeros((ends[-1], ends[-1]))
    for (r, c), e in blocks.items():
        matrix[place[r], place[c]] = e.mid.floats()
        matrix[place[c], place[r]] = matrix[place[r], place[c]].T
    U = np.zeros((next(iter(output.values())).mid.shape[0], ends[-1]))
    for s, e in output.items():
        U[:, place[s]] = e.mid.floats()
    gram = U @ np.linalg.solve(matrix, U.T)
    gram = np.tril(gram) + np.tril(gram, -1).T
    unit = np.sqrt(np.maximum(np.diagonal(matrix), 1e-300))
    sizes = [
        (e.rad.floats() / unit[place[s]]).max(axis=1) * 2.0**BITS
        for s, e in output.items()
        if e.rad is not None
    ]
    terms = np.max(sizes, axis=0) ** 2  # where they cancel
    floor = 1e-3 * float(np.trace(gram)) / len(gram) + 2.0**-60 * terms + 1e-250
    margin, own = -np.inf, gram
    for above in _ABOVE:
        own = gram * (1.0 + above)
        own[np.diag_indices_from(own)] += above * (floor + np.diagonal(gram))
        trial = dict(blocks)
        _output(trial, output, ExactMatrix.of(own))
        margin = _margin(form, trial)
        if margin >= 0.0:
            break
    return margin, own


class _ExactHead:
    """The fully connected layers, maps multiplied out in integers."""

    def __init__(self, form: TorusForm) -> None:
        self.form, graph = form, form.graph
        trunk = form.images.shapes
        values: dict[int, dict[int, ExactMatrix]] = {}
        self.before: dict[int, dict[int, ExactMatrix]] = {}
        for k, node in enumerate(graph.nodes):
            if k in trunk:
                continue
            if isinstance(node, Apply):
                self.before[k] = self._of(values, node.parent, ExactMatrix.of(np.eye(node.size)))
                values[k] = {k: ExactMatrix.of(np.eye(node.size))}
            elif isinstance(node, Affine):
                total: dict[int, ExactMatrix] = {}
                for linear, parent in zip(node.maps, node.parents, strict=True):
                    rows = ExactMatrix.of(np.asarray(linear.to_dense()))
                    for s, e in self._of(values, parent, rows).items():
                        total[s] = total[s] + e if s in total else e
                values[k] = total
        self.output = values[len(graph.nodes) - 1]

    def _of(
        self, values: dict[int, dict[int, ExactMatrix]], k: int, left: ExactMatrix
    ) -> dict[int, ExactMatrix]:
        graph: Graph = self.form.graph
        if k not in self.form.images.shapes:
            return {s: left @ e for s, e in values[k].items()}
        found: dict[int, ExactMatrix] = {}
        pending = {k: left}
        for index in range(k, -1, -1):
            if index not in pending:
                continue
            rows, node = pending.pop(index), graph.nodes[index]
            if not isinstance(node, Affine):
                found[index] = rows
                continue
            for linear, parent in zip(node.maps, node.parents, strict=True):
                part = _times_sparse(rows, linear.to_sparse())
                pending[parent] = pending[parent] + part if parent in pending else part
        return found

    def _stages(self) -> Iterator[tuple[int, dict[int, ExactMatrix]]]:
        yield from self.before.items()
        yield _OUT, self.output

    def symbols(self, point: tuple[int, int]) -> Rows:
        """The first rows of U(w) as reals, by what they read."""
        form, found = self.form, {}
        for s, rows in next(self._stages())[1].items():
            (channels, height, width), phases = form.images.shapes[s], form.images.phases[s]
            r, n = rows.shape[0], form.size(s)
            split = rows.values.reshape(r, channels, height, width)
            re, im, rad = (np.zeros((r, channels, *phases), dtype=object) for _ in range(3))
            for P in np.ndindex(-(-height // phases[0]), -(-width // phases[1])):
                part = split[:, :, P[0] * phases[0] : (P[0] + 1) * phases[0]]
                part = part[:, :, :, P[1] * phases[1] : (P[1] + 1) * phases[1]]
                here = np.s_[:, :, : part.shape[2], : part.shape[3]]
                cos, sin = exact_turn(point, form.cells, P)
                re[here] = re[here] + part * cos
                im[here] = im[here] + part * sin
                rad[here] = rad[here] + abs(part)
            a, b, c = (x.reshape(r, n) for x in (re, im, rad))
            power = rows.power + BITS
            spread = ExactMatrix(np.hstack([c, c]), power)
            found[s] = ExactBall(ExactMatrix(np.hstack([a, -b]), power), spread)
        return found

    def margin(self, witness: TorusWitness, gram: ExactMatrix) -> float:
        """Of the head's matrix times the number of cells."""
        form, stages = self.form, list(self._stages())
        cells = ExactMatrix.of(np.array([[float(form.positions)]]))
        outputs = np.full(form.graph.output_dim, witness.d_out)
        d_out = _scaled(ExactMatrix.of(np.diag(outputs)), cells)
        if not form.head_nodes:
            return matrix_margin({(_OUT, _OUT): d_out - gram}, [_OUT])
        blocks: dict[tuple[int, int], ExactMatrix] = {}
        for index, (k, t) in enumerate(zip(form.head_nodes, witness.head, strict=True)):
            alpha, beta = form.slopes(k)
            T, a, b = (ExactMatrix.of(v[:, None]) for v in (t, alpha, beta))
            factors, twice = _times(a + b, T), T + T
            own = _scaled(_diagonal(twice), cells)
            if index == 0:
                side = ExactMatrix(
                    factors.values * gram.values * factors.values.T, gram.power + 2 * factors.power
                )
                own = own - side
            else:
                W = stages[index][1][form.head_nodes[index - 1]]
                left = ExactBall(W).rows_times(factors).mid
                blocks[k, form.head_nodes[index - 1]] = -_scaled(left, cells)
                square = ExactBall(W).rows_times(_times(_times(a, b), twice)).mid
                previous = form.head_nodes[index - 1]
                blocks[previous, previous] = blocks[previous, previous] + _scaled(W.T @ square, cells)
            blocks[k, k] = own
        blocks[_OUT, form.head_nodes[-1]] = -_scaled(stages[-1][1][form.head_nodes[-1]], cells)
        blocks[_OUT, _OUT] = d_out
        return matrix_margin(blocks, [*form.head_nodes, _OUT])


def _scaled(e: ExactMatrix, number: ExactMatrix) -> ExactMatrix:
    return ExactMatrix(e.values * number.values[0, 0], e.power + number.power)


def _times_sparse(rows: ExactMatrix, matrix: sp.csr_array) -> ExactMatrix:
    """rows times a sparse matrix of floats."""
    entries = sp.coo_array(matrix)
    values = ExactMatrix.of(entries.data[:, None])
    result = np.zeros((entries.shape[1], rows.shape[0]), dtype=object)
    np.add.at(result, entries.coords[1], rows.values.T[entries.coords[0]] * values.values)
    return ExactMatrix(result.T, rows.power + values.power)
