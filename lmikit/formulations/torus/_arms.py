"""The frequencies' own matrices M(w) = E_0'E_0 + sum_a T_a (p'q + q'p), and products with their rows.

Channel a has, at each of its phases, the rows p = e - alpha v and q = e - beta v. An opposite pair of
frequencies counts twice (`weights`). M(w) is block tridiagonal by levels. Everything with an axis of
frequencies is an array of the module in use; multipliers come, and sums over all frequencies and phases
leave, on the host.
"""

import dataclasses
import itertools

import numpy as np

from ..._arrays import ArrayModule
from ._model import TorusModel
from ._tridiagonal import Array, Covariance, Tridiagonal, adjoint, inverted

__all__ = ["Arms", "Forms", "chunks"]

_CHUNK = 2**16  # numbers of the matrices of one chunk of frequencies: what a cache holds
_DEVICE_CHUNK = 2**26  # the same where launches cost more than memory
Forms = tuple[Array, Array, Array]


def chunks(model: TorusModel, am: ArrayModule) -> list[np.ndarray]:
    """Indices of frequencies that are worked on together."""
    order = sum(model.form.size(s) for s in model.sources)
    count = len(model.frequencies)
    pieces = max(1, -(-count * order * order // (_CHUNK if am.name == "numpy" else _DEVICE_CHUNK)))
    return [part for part in np.array_split(np.arange(count), pieces) if part.size]


@dataclasses.dataclass(frozen=True)
class _ArmNode:
    place: slice
    own: slice
    rows: dict[int, Array]


class Arms:
    """`U` (J, r, n): what the head reads, over the root of the number of cells (unitary transform)."""

    def __init__(self, model: TorusModel, am: ArrayModule) -> None:
        form, self._am, self._xp = model.form, am, am.xp
        ends = np.cumsum([0, *(form.size(s) for s in model.sources)])
        place = {s: slice(int(a), int(b)) for s, a, b in zip(model.sources, ends, ends[1:], strict=False)}
        self.order, self.inputs, self.weights = int(ends[-1]), form.size(0), model.weights
        self._place = place
        self._levels = tuple(slice(place[level[0]].start, place[level[-1]].stop) for level in model.partition)
        self._nodes = [
            _ArmNode(place[k], _less(place[k], self.inputs), _kept(rows, am)) for k, rows in model.V.items()
        ]
        repeats = np.array([form.repeats(k) for k in form.nodes for _ in range(form.images.shapes[k][0])])
        self.repeats = repeats
        self._channel = np.repeat(np.arange(len(repeats)), repeats)
        self._starts = np.concatenate([[0], np.cumsum(repeats)[:-1]])
        self._stops = np.cumsum(repeats)
        slopes = [form.slopes(k) for k in form.nodes]
        self._alpha, self._beta = (np.repeat(np.concatenate(a), repeats) for a in zip(*slopes, strict=True))
        self._slopes = am.asarray(self._alpha), am.asarray(self._beta)
        self._weights = am.asarray(model.weights)
        r = next(iter(model.Y.values())).shape[1]
        U = np.zeros((len(self.weights), r, self.order), dtype=complex)
        for s, rows in model.Y.items():
            U[:, :, place[s]] = rows / np.sqrt(form.positions)
        self.U = am.asarray(U, dtype=complex)

    def matrix(self, T: np.ndarray, unit: float = 1.0) -> Array:
        """M (J, n, n); with unit 0 its linear part."""
        t, asarray = T[self._channel], self._am.asarray
        M = self._xp.zeros((len(self.weights), self.order, self.order), dtype=complex)
        index = np.arange(self.order)
        M[:, index, index] = asarray(np.concatenate([np.full(self.inputs, unit), 2.0 * t]), dtype=complex)
        sums, squares = (self._alpha + self._beta) * t, 2.0 * self._alpha * self._beta * t
        for node in self._nodes:
            scale, square = asarray(sums[node.own])[:, None], squares[node.own]
            for s, a in node.rows.items():
                part = scale * a
                M[:, node.place, self._place[s]] -= part
                M[:, self._place[s], node.place] -= adjoint(part)
                if square.any():
                    for other, b in node.rows.items():
                        bent = adjoint(a) @ (asarray(square)[:, None] * b)
                        M[:, self._place[s], self._place[other]] += bent
        return M

    def inverse(self, T: np.ndarray) -> Covariance | None:
        """M^-1; None where a matrix is not definite."""
        M, own = self.matrix(T), self._levels
        side = tuple(M[:, b, a] for a, b in itertools.pairwise(own))
        return inverted(Tridiagonal(tuple(M[:, a, a] for a in own), side), own, self._xp)

    def log_det(self, inverse: Covariance) -> float:
        """Of all matrices together."""
        return float((self._weights * inverse.log_det).sum())

    def summed(self, values: Array) -> Array:
        """Over all frequencies of the torus, (J, ...) to (...); real."""
        return self._xp.tensordot(self._weights, values.real, axes=(0, 0))

    def read(self, right: Array) -> Array:
        """V right, for right (J, n, anything)."""
        shape = len(right), self.order - self.inputs, right.shape[2]
        result = self._xp.zeros(shape, dtype=complex)
        for node in self._nodes:
            for s, a in node.rows.items():
                result[:, node.own] += a @ right[:, self._place[s]]
        return result

    def rows(self, right: Array) -> tuple[Array, Array]:
        """(P right, Q right)."""
        e, v, (a, b) = right[:, self.inputs :], self.read(right), self._slopes
        p = e - a[:, None] * v if self._alpha.any() else e
        return p, e - b[:, None] * v

    def forms(self, R: Array) -> Forms:
        """P R P', P R Q', Q R Q' of all channels and phases, for Hermitian R (J, n, n)."""
        left, (a, b) = self.read(R), self._slopes
        ee, ve, vv = R[:, self.inputs :, self.inputs :], left[:, :, self.inputs :], self.read(adjoint(left))
        ev = adjoint(ve)
        qq = ee - b[:, None] * ve - ev * b + b[:, None] * vv * b
        if not self._alpha.any():
            return ee, ee - ev * b, qq
        pp = ee - a[:, None] * ve - ev * a + a[:, None] * vv * a
        return pp, ee - a[:, None] * ve - ev * b + a[:, None] * vv * b, qq

    def by_channel(self, values: Array, axis: int = 0) -> np.ndarray:
        """Sums over the phases of each channel, on the host."""
        return np.asarray(np.add.reduceat(self._am.to_numpy(values), self._starts, axis=axis))

    def local(self, own: Forms, low: Forms, weight: float) -> np.ndarray:
        """weight tr(K A_a K A_b) + 2 tr(K A_a B A_b) of each two channels, from the forms of K and B."""
        (pp, pq, qq), (bpp, bpq, bqq) = own, low
        cross = self._traced(pq, adjoint(weight * pq + 2.0 * bpq))
        inner = self._traced(qq, 2.0 * weight * pp + 2.0 * bpp) + 2.0 * self._traced(bqq, pp)
        total = self.by_channel(self.by_channel(cross + cross.T + inner, 0), 1)
        return np.asarray(0.5 * (total + total.T))

    def _traced(self, a: Array, b: Array) -> Array:
        """Re a conj(b), entry by entry, over all frequencies of the torus."""
        xp = self._xp
        pairs = xp.zeros((a.shape[1], 2 * a.shape[2]))  # real and imaginary parts beside each other
        for weight, x, y in zip(self.weights, a, b, strict=True):
            x, y = xp.ascontiguousarray(x), xp.ascontiguousarray(y)
            pairs += float(weight) * (x.view(float) * y.view(float))
        return pairs[:, ::2] + pairs[:, 1::2]

    def between(self, p: Array, q: Array) -> Array:
        """The sum of p'q + q'p over frequencies and phases of each channel, p and q (J, c, r)."""
        xp, r = self._xp, p.shape[2]
        found = xp.empty((len(self._starts), r, r))
        weights = self._weights[:, None, None]
        left = xp.concatenate([p.real, p.imag])
        right = xp.concatenate([weights * q.real, weights * q.imag])
        for repeats, group in itertools.groupby(range(len(self.repeats)), self.repeats.__getitem__):
            a = list(group)
            rows = slice(int(self._starts[a[0]]), int(self._stops[a[-1]]))
            x, y = (_stacked(b[:, rows], int(repeats)) for b in (left, right))
            half = x.swapaxes(1, 2) @ y
            found[a[0] : a[-1] + 1] = half + half.swapaxes(1, 2)
        return found


def _less(place: slice, by: int) -> slice:
    return slice(place.start - by, place.stop - by)


def _kept(rows: dict[int, np.ndarray], am: ArrayModule) -> dict[int, Array]:
    return {s: am.asarray(a, dtype=a.dtype) for s, a in rows.items()}


def _stacked(a: Array, repeats: int) -> Array:
    """(J, channels x phases, r) as (channels, J x phases, r)."""
    J, _, r = a.shape
    return a.reshape(J, -1, repeats, r).swapaxes(0, 1).reshape(-1, J * repeats, r)
