"""The LMI of a network that ends in an image, by levels: linear maps of (T, F), their adjoints, their Gram.

    maximise F  s.t.  Z(w) = E_0'E_0 + sum_a T_a A_a(w) - F Y(w)'Y(w) >= 0  at the chosen frequencies,

A_a = sum over the phases of channel a of p q' + q p', p' and q' the rows e - alpha v and e - beta v of the
slope constraint; L^2 = 1 / F. Rows of a level reach into it and the one before. The dual:

    minimise sum tr E_0 X(w) E_0'  s.t.  sum <A_a(w), X(w)> = 0,  sum <Y(w)'Y(w), X(w)> = 1,  X(w) >= 0.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from ..._arrays import ArrayModule
from ._model import TorusModel
from ._tridiagonal import Array, Tridiagonal, adjoint, hermitian

__all__ = ["TorusLmi"]


@dataclasses.dataclass(frozen=True, eq=False)
class _Rows:
    """Rows (J or 1, r, n_k) on a level and, unless None, (J, r, n_(k-1)) on the one before."""

    own: Array
    before: Array | None
    plain: bool  # own is the identity

    def times(self, dense: Array, here: slice, last: slice | None) -> Array:
        """The product with (J, n, m)."""
        own = dense[:, here] if self.plain else self.own @ dense[:, here]
        return own if self.before is None else own + self.before @ dense[:, last]


class TorusLmi:
    """Built for the frequencies of a model; a point is (T of all channels node by node, F)."""

    def __init__(self, model: TorusModel, am: ArrayModule) -> None:
        form = model.form
        self.model, self.am, self.xp = model, am, am.xp
        self.inputs = form.size(0)
        self.size = sum(form.channels) + 1
        sizes = [sum(form.size(s) for s in level) for level in model.partition]
        self.places = tuple(slice(a, a + n) for a, n in zip(_sums(sizes), sizes, strict=False))
        self.degree = float(len(model.frequencies) * sum(sizes))
        spots: dict[int, _Spot] = {}
        for k, level in enumerate(model.partition):
            columns = _sums([form.size(s) for s in level])
            spots |= {s: _Spot(k, c) for s, c in zip(level, columns, strict=False)}
        self.P, self.Q = (
            [_rows(model, k, sizes, spots, which, am) for k in range(len(sizes))] for which in range(2)
        )
        self.depths = _depths(model)
        self.rows = _sums([rows.own.shape[1] for rows in self.P])
        first = dict(zip(form.nodes, _sums(form.channels), strict=False))
        channels = [
            np.repeat(first[s] + np.arange(form.images.shapes[s][0]), form.repeats(s))
            for level in model.partition
            for s in level
            if s
        ]
        self.channel = np.concatenate(channels)
        self.order = np.argsort(self.channel, kind="stable")
        self.starts = np.searchsorted(self.channel[self.order], np.arange(self.size - 1))
        Y = np.zeros((len(model.frequencies), next(iter(model.Y.values())).shape[1], sizes[-1]), complex)
        for s, rows in model.Y.items():
            Y[:, :, spots[s].columns(form.size(s))] = rows
        self.Y = am.asarray(Y, dtype=complex)
        self.gram = adjoint(self.Y) @ self.Y

    def matrix(self, point: np.ndarray, constant: float = 1.0) -> Tridiagonal:
        """Z at a point; with the constant 0 its derivative along one."""
        xp, J = self.xp, len(self.model.frequencies)
        T = xp.asarray(point[:-1])[self.channel]
        own = [xp.zeros((J, p.stop - p.start, p.stop - p.start), dtype=complex) for p in self.places]
        index = np.arange(self.inputs)
        own[0][:, index, index] += constant
        side = []
        for k, (P, Q) in enumerate(zip(self.P, self.Q, strict=True)):
            t = T[self.rows[k] : self.rows[k + 1], None]
            weighted = t * Q.own
            half = weighted if P.plain else adjoint(P.own) @ weighted
            own[k] += half + adjoint(half)
            if not k:
                continue
            below = xp.zeros((J, own[k].shape[1], own[k - 1].shape[1]), dtype=complex)
            if Q.before is not None:
                weighted = t * Q.before
                below += weighted if P.plain else adjoint(P.own) @ weighted
                if P.before is not None:
                    half = adjoint(P.before) @ weighted
                    own[k - 1] += half + adjoint(half)
            if P.before is not None:
                below += adjoint(Q.own) @ (t * P.before)
            side.append(below)
        own[-1] -= point[-1] * self.gram
        return Tridiagonal(tuple(own), tuple(side))

    def weighted(self, X: Tridiagonal, factor: float, silent: np.ndarray | None = None) -> Tridiagonal:
        """D X D, D the factor to the power of how far a node is from the deepest one.

        0 where a row reads nothing and for `silent` channels.
        """
        deepest = max(float(depths.max()) for depths in self.depths)
        powers = [np.where(depths < 0.0, 0.0, factor ** (deepest - depths)) for depths in self.depths]
        if silent is not None and silent.any():
            rows = silent[self.channel]
            for k, power in enumerate(powers):
                here = rows[self.rows[k] : self.rows[k + 1]]
                power[len(power) - len(here) :][here] = 0.0
        d = [self.am.asarray(power) for power in powers]
        own = [a * w[:, None] * w for a, w in zip(X.own, d, strict=True)]
        side = [a * high[:, None] * low for a, low, high in zip(X.side, d, d[1:], strict=False)]
        return Tridiagonal(tuple(own), tuple(side))

    def traces(self, X: Tridiagonal) -> np.ndarray:
        """(<A_a, X> for all channels, -<Y'Y, X>), summed over the frequencies."""
        return np.asarray(self.traces_each(X).sum(axis=0))

    def traces_each(self, X: Tridiagonal) -> np.ndarray:
        """The same per frequency, (J, channels + 1)."""
        values = []
        for k, (P, Q) in enumerate(zip(self.P, self.Q, strict=True)):
            left = X.own[k] if P.plain else P.own @ X.own[k]
            if P.before is not None:
                left = left + P.before @ adjoint(X.side[k - 1])
            total = (left * Q.own.conj()).real.sum(axis=2)
            if Q.before is not None:
                left = X.side[k - 1] if P.plain else P.own @ X.side[k - 1]
                if P.before is not None:
                    left = left + P.before @ X.own[k - 1]
                total = total + (left * Q.before.conj()).real.sum(axis=2)
            values.append(2.0 * total)
        last = (self.gram.conj() * X.own[-1]).real.sum(axis=(1, 2))
        rows = self._by_channel(self.xp.concatenate(values, axis=1).T)
        return np.append(rows.T, -self.am.to_numpy(last)[:, None], axis=1)

    def gram_of(self, X: Array, R: Array) -> np.ndarray:
        """The matrix of all sum tr A_a X A_b R, from dense X and R."""
        Xpp, Xpq, Xqq, Xyp, Xyq, Xyy = self._seen(X)
        Rpp, Rpq, Rqq, Ryp, Ryq, Ryy = self._seen(R)
        cross = _traced(Xpq, adjoint(Rpq))
        inner = cross + cross.T + _traced(Xqq, Rpp) + _traced(Xpp, Rqq)
        side = -((Ryp * Xyq.conj()).real.sum(axis=(0, 1)) + (Ryq * Xyp.conj()).real.sum(axis=(0, 1)))
        result = np.empty((self.size, self.size))
        result[:-1, :-1] = self._by_channel(self._by_channel(inner).T)
        result[-1, :-1] = result[:-1, -1] = self._by_channel(side)
        result[-1, -1] = float((Xyy * Ryy.swapaxes(1, 2)).real.sum())
        return 0.5 * (result + result.T)

    def _seen(self, dense: Array) -> tuple[Array, ...]:
        last = self.places[-1]
        y = self.Y @ dense[:, last]
        p, q = self._side(self.P, dense), self._side(self.Q, dense)
        pp, pq = (adjoint(self._side(rows, adjoint(p))) for rows in (self.P, self.Q))
        qq = self._side(self.Q, adjoint(q))
        yp, yq = (adjoint(self._side(rows, adjoint(y))) for rows in (self.P, self.Q))
        return pp, pq, qq, yp, yq, y[:, :, last] @ adjoint(self.Y)

    def _side(self, rows: list[_Rows], dense: Array) -> Array:
        parts = []
        for k, r in enumerate(rows):
            if r.own.shape[1]:
                parts.append(r.times(dense, self.places[k], self.places[k - 1] if k else None))
        return self.xp.concatenate(parts, axis=1)

    def pattern(self, left: Array, right: Array) -> Tridiagonal:
        """The Hermitian part of the product of (J, n, n) matrices, on the pattern."""
        own, side = [], []
        for k, here in enumerate(self.places):
            own.append(hermitian(left[:, here] @ right[:, :, here]))
            if k:
                last = self.places[k - 1]
                below = left[:, here] @ right[:, :, last]
                above = left[:, last] @ right[:, :, here]
                side.append(0.5 * (below + adjoint(above)))
        return Tridiagonal(tuple(own), tuple(side))

    def cut(self, dense: Array) -> Tridiagonal:
        """The Hermitian part of (J, n, n) on the pattern."""
        own = [hermitian(dense[:, p, p]) for p in self.places]
        side = [
            0.5 * (dense[:, p, last] + adjoint(dense[:, last, p]))
            for last, p in zip(self.places, self.places[1:], strict=False)
        ]
        return Tridiagonal(tuple(own), tuple(side))

    def _by_channel(self, values: Array) -> np.ndarray:
        """Rows of the same channel summed."""
        host = self.am.to_numpy(values)
        if len(self.order) == self.size - 1:
            return np.asarray(host[self.order])
        return np.asarray(np.add.reduceat(host[self.order], self.starts, axis=0))


@dataclasses.dataclass(frozen=True)
class _Spot:
    """Where a node lies: its level and its first column there."""

    level: int
    first: int

    def columns(self, size: int) -> slice:
        return slice(self.first, self.first + size)


def _depths(model: TorusModel) -> list[np.ndarray]:
    """Per level the longest way from the input to each row, -1 for a row that reads nothing."""
    size = model.form.size
    depth, longest = {0: np.zeros(size(0))}, {0: 0.0}
    for k in model.form.nodes:
        longest[k] = 1.0 + max(longest[s] for s in model.V[k])
        reads = np.any([(rows != 0.0).any(axis=(0, 2)) for rows in model.V[k].values()], axis=0)
        depth[k] = np.where(reads, longest[k], -1.0)
    return [np.concatenate([depth[s] for s in level]) for level in model.partition]


def _sums(sizes: Sequence[int]) -> list[int]:
    return [0, *itertools.accumulate(sizes)]


def _rows(
    model: TorusModel, k: int, sizes: Sequence[int], spots: dict[int, _Spot], which: int, am: ArrayModule
) -> _Rows:
    """e - slope v of the nodes of level k; `which`: alpha or beta."""
    form, J = model.form, len(model.frequencies)
    nodes = [s for s in model.partition[k] if s]
    count = sum(form.size(s) for s in nodes)
    own = np.zeros((J, count, sizes[k]), dtype=complex)
    before = np.zeros((J, count, sizes[k - 1]), dtype=complex)  # of level 0: nothing is written there
    top = 0
    for s in nodes:
        here = slice(top, top + form.size(s))
        top = here.stop
        own[:, np.arange(here.start, here.stop), np.arange(form.size(s)) + spots[s].first] = 1.0
        slopes = np.repeat(form.slopes(s)[which], form.repeats(s))[:, None]
        for source, rows in model.V[s].items():
            target = own if spots[source].level == k else before
            target[:, here, spots[source].columns(form.size(source))] -= slopes * rows
    plain = count == sizes[k] and bool((own == np.eye(count)).all())
    return _Rows(
        am.asarray(own[:1] if plain else own, dtype=complex),
        am.asarray(before, dtype=complex) if before.any() else None,
        plain,
    )


def _traced(a: Array, b: Array) -> Array:
    """Re sum over the frequencies of a conj(b), entry by entry."""
    return (a.real * b.real).sum(axis=0) + (a.imag * b.imag).sum(axis=0)
