"""The lifted matrix of a dissipation: block tridiagonal, with a radius for every rounding.

The output is lifted by a Schur complement, so that every entry is a sum of products of floats:

    (k, k)  2 T_k,   (k, j)  -S T_k R_kj,   (i, j)  2 sum_k R_ki' Pi T_k R_kj,

(out, j) -Y_j, (out, out) I, and rho I on the input. Levels are put together, in order, until the matrix is
block tridiagonal: the input alone, then in each block all up to the last level that reads the one before.
For a chain without skips that is one block per layer, and the input's block stays diagonal where no
first level has alpha beta != 0. A dissipation without output has no block for it (`_rows` borders it).

Rounding. -S T R: as in `_lifted` for the value of R, plus |s t| rad(R). 2 R_i' q R_j with
q = fl(2 fl(alpha beta) t), m terms: (m + 8) u |R_i|'|q||R_j| + rad(R_i)'|q|(|R_j| + rad(R_j)) +
|R_i|'|q| rad(R_j), and underflow as there.

The matrix of a graph (`lmikit.certificates.graph`) is formed by code of its own, and says why.
"""

from collections.abc import Sequence

import numpy as np

from ._dissipation import Level, LevelDissipation
from ._enclosure import TINY, Enclosed
from ._lifted import Lifted, coupling

__all__ = ["assemble", "grouped"]

_U = 2.0**-53


def grouped(supports: Sequence[Sequence[int]], count: int) -> list[range]:
    """Consecutive ranges of 0..count-1 such that every support lies in two neighbouring ones; 0 is alone.

    `supports` holds, per row of terms, the indices that it couples.
    """
    reach = list(range(count))
    for support in supports:
        last = max(support)
        for j in support:
            reach[j] = max(reach[j], last)
    result = [range(1)]
    while result[-1].stop < count:
        start = result[-1].stop
        result.append(range(start, max(start, *(reach[j] for j in result[-1])) + 1))
    return result


def assemble(system: LevelDissipation, multipliers: Sequence[np.ndarray]) -> Lifted:
    """The lifted matrix for multipliers t_k > 0, one array per level, rho left open."""
    with np.errstate(all="ignore"):
        return _Assembly(system).lifted(multipliers)


class _Assembly:
    """Blocks under construction: terms by pairs of levels, the output as level K + 1."""

    def __init__(self, system: LevelDissipation) -> None:
        self.system = system
        self.transposed = bool(system.output) and not system.levels and system.output_dim > system.input_dim
        self.sizes = [*system.sizes, *((system.output_dim,) if system.output else ())]
        count = len(self.sizes)
        supports = [[*level.rows, k] for k, level in enumerate(system.levels, start=1)]
        if system.output:
            supports.append([*system.output, count - 1])
        self.groups = grouped(supports, count)
        self.terms: dict[tuple[int, int], Enclosed] = {}

    def lifted(self, multipliers: Sequence[np.ndarray]) -> Lifted:
        if self.transposed:  # the same norm
            y = self.system.output[0]
            lower = Enclosed(np.ascontiguousarray(-y.value.T), None if y.rad is None else y.rad.T)
            ones = np.ones(self.system.input_dim)
            return Lifted(self.system.output_dim, None, (ones,), (None,), (lower.value,), (lower.rad,))
        for k, (level, t) in enumerate(zip(self.system.levels, multipliers, strict=True), start=1):
            self._add_level(k, level, t)
        for j, y in self.system.output.items():
            self._add(len(self.sizes) - 1, j, y.negative())
        diagonals = [np.zeros(self.sizes[0]), *(2.0 * t for t in multipliers)]
        if self.system.output:
            diagonals.append(np.ones(self.sizes[-1]))
        self._require_covered()
        first = self.terms.get((0, 0))
        blocks = [self._diagonal(group, diagonals) for group in self.groups[1:]]
        below = [
            self._block(rows, columns) for columns, rows in zip(self.groups, self.groups[1:], strict=False)
        ]
        return Lifted(
            self.sizes[0],
            None if first is None or first.rad is None else (first.value, first.rad),
            tuple(b.value for b in blocks),
            tuple(b.rad for b in blocks),
            tuple(b.value for b in below),
            tuple(b.rad for b in below),
        )

    def _require_covered(self) -> None:
        """Every term lies in a block of the pattern; a lost one would make the proof worthless."""
        where = {k: g for g, group in enumerate(self.groups) for k in group}
        assert all(i >= j and where[i] - where[j] <= 1 for i, j in self.terms)

    def _add(self, i: int, j: int, term: Enclosed) -> None:
        """A term of block (i, j), i >= j."""
        before = self.terms.get((i, j))
        self.terms[i, j] = term if before is None else before + term

    def _add_level(self, k: int, level: Level, t: np.ndarray) -> None:
        weight = np.abs(level.alpha + level.beta) * t
        for j, r in level.rows.items():
            block, rad = coupling(r.value, level.alpha, level.beta, t)
            if r.rad is not None:
                passed = (1.0 + 16.0 * _U) * (weight + TINY)[:, None] * r.rad + TINY
                rad = passed if rad is None else rad + passed
            self._add(k, j, Enclosed(block, rad))
        active = (level.alpha != 0.0) & (level.beta != 0.0)  # not alpha * beta, which may underflow
        if not active.any():
            return
        q = 2.0 * (level.alpha[active] * level.beta[active]) * t[active]
        largest = float(t[active].max())
        parts = {j: r.rows(active) for j, r in sorted(level.rows.items())}
        for i, a in parts.items():
            for j, b in parts.items():
                if i > j:
                    self._add(i, j, _quadratic(a, q, largest, b))
                elif i == j:
                    self._add(i, j, _mirrored(_quadratic(a, q, largest, a)))

    def _block(self, rows: range, columns: range) -> Enclosed:
        """The terms of levels `rows` x `columns`, rows below columns, as one matrix."""
        if len(rows) == len(columns) == 1:
            found = self.terms.get((rows[0], columns[0]))
            if found is not None:
                return found
        at = {k: sum(self.sizes[rows.start : k]) for k in rows}
        to = {k: sum(self.sizes[columns.start : k]) for k in columns}
        shape = (sum(self.sizes[k] for k in rows), sum(self.sizes[k] for k in columns))
        value, rad = np.zeros(shape), np.zeros(shape)
        for i in rows:
            for j in columns:
                term = self.terms.get((i, j))
                if term is not None:
                    place = np.s_[at[i] : at[i] + self.sizes[i], to[j] : to[j] + self.sizes[j]]
                    value[place] = term.value
                    if term.rad is not None:
                        rad[place] = term.rad
        return Enclosed(value, rad if rad.any() else None)

    def _diagonal(self, group: range, diagonals: Sequence[np.ndarray]) -> Enclosed:
        """A diagonal block; a vector where nothing is off the diagonal."""
        diagonal = np.concatenate([diagonals[k] for k in group])
        if not any((i, j) in self.terms for i in group for j in group):
            return Enclosed(diagonal)
        found = self._block(group, group)
        value = np.tril(found.value) + np.tril(found.value, -1).T
        index = np.arange(diagonal.size)
        rad = np.zeros_like(value) if found.rad is None else np.tril(found.rad) + np.tril(found.rad, -1).T
        changed = value[index, index] != 0.0
        value[index, index] += diagonal
        rad[index, index] += np.where(changed, 4.0 * _U * np.abs(value[index, index]), 0.0)
        rad *= 1.0 + 4.0 * _U
        return Enclosed(value, rad if rad.any() else None)


def _quadratic(a: Enclosed, q: np.ndarray, largest: float, b: Enclosed) -> Enclosed:
    """A' diag(2 alpha beta t) B, with q = fl(2 fl(alpha beta) t) and t at most `largest`."""
    m = float(q.size)
    value = a.value.T @ (q[:, None] * b.value)
    size, weight = np.abs(a.value), np.abs(q)[:, None]
    other = np.abs(b.value)
    span = (m + 8.0) * _U * (size.T @ (weight * other))
    if a.rad is not None:
        span += a.rad.T @ (weight * (other if b.rad is None else other + b.rad))
    if b.rad is not None:
        span += size.T @ (weight * b.rad)
    top = 1.0 + max(float(size.max()), float(other.max()))
    radii = [float(r.max()) for r in (a.rad, b.rad) if r is not None]
    if radii:  # they may have underflowed themselves, and 2 alpha beta t differs from q by three roundings
        top += max(radii)
        span *= 1.0 + (2.0 * m + 64.0) * 2.0**-52
    return Enclosed(value, span + 2.0**-1070 * m * (1.0 + largest) * (top * top))


def _mirrored(term: Enclosed) -> Enclosed:
    assert term.rad is not None
    value = np.tril(term.value) + np.tril(term.value, -1).T
    return Enclosed(value, np.maximum(term.rad, term.rad.T))
