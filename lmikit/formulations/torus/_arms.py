"""The frequencies' own matrices M(w) = E_0'E_0 + sum_a T_a (p'q + q'p), and products with their rows.

Channel a has, at each of its phases, the rows p = e - alpha v and q = e - beta v. An opposite pair of
frequencies counts twice (`weights`). M(w) is block tridiagonal by levels.
"""

import dataclasses
import itertools

import numpy as np

from ._model import TorusModel, conjugate
from ._tridiagonal import Covariance, Tridiagonal, inverted

__all__ = ["Arms", "Forms", "chunks"]

_CHUNK = 2**16  # numbers of the matrices of one chunk of frequencies: what a cache holds
Forms = tuple[np.ndarray, np.ndarray, np.ndarray]


def chunks(model: TorusModel) -> list[np.ndarray]:
    """Indices of frequencies that are worked on together."""
    order = sum(model.form.size(s) for s in model.sources)
    count = len(model.frequencies)
    pieces = max(1, -(-count * order * order // _CHUNK))
    return [part for part in np.array_split(np.arange(count), pieces) if part.size]


@dataclasses.dataclass(frozen=True)
class _ArmNode:
    place: slice
    own: slice
    rows: dict[int, np.ndarray]


class Arms:
    """`U` (J, r, n): what the head reads, over the root of the number of cells (unitary transform)."""

    def __init__(self, model: TorusModel) -> None:
        form = model.form
        ends = np.cumsum([0, *(form.size(s) for s in model.sources)])
        place = {s: slice(int(a), int(b)) for s, a, b in zip(model.sources, ends, ends[1:], strict=False)}
        self.order, self.inputs, self.weights = int(ends[-1]), form.size(0), model.weights
        self._place = place
        self._levels = tuple(slice(place[level[0]].start, place[level[-1]].stop) for level in model.partition)
        self._nodes = [
            _ArmNode(place[k], slice(place[k].start - self.inputs, place[k].stop - self.inputs), rows)
            for k, rows in model.V.items()
        ]
        repeats = np.array([form.repeats(k) for k in form.nodes for _ in range(form.images.shapes[k][0])])
        self.repeats = repeats
        self._channel = np.repeat(np.arange(len(repeats)), repeats)
        self._starts = np.concatenate([[0], np.cumsum(repeats)[:-1]])
        self._stops = np.cumsum(repeats)
        slopes = [form.slopes(k) for k in form.nodes]
        self._alpha, self._beta = (np.repeat(np.concatenate(a), repeats) for a in zip(*slopes, strict=True))
        self._square = 2.0 * self._alpha * self._beta
        r = next(iter(model.Y.values())).shape[1]
        self.U = np.zeros((len(self.weights), r, self.order), dtype=complex)
        for s, rows in model.Y.items():
            self.U[:, :, place[s]] = rows / np.sqrt(form.positions)

    def matrix(self, T: np.ndarray, unit: float = 1.0) -> np.ndarray:
        """M (J, n, n); with unit 0 its linear part."""
        t = T[self._channel]
        M = np.zeros((len(self.weights), self.order, self.order), dtype=complex)
        index = np.arange(self.order)
        M[:, index, index] = np.concatenate([np.full(self.inputs, unit), 2.0 * t])
        for node in self._nodes:
            scale = ((self._alpha + self._beta) * t)[node.own]
            square = (self._square * t)[node.own]
            for s, a in node.rows.items():
                part = scale[:, None] * a
                M[:, node.place, self._place[s]] -= part
                M[:, self._place[s], node.place] -= conjugate(part)
                if square.any():
                    for other, b in node.rows.items():
                        M[:, self._place[s], self._place[other]] += conjugate(a) @ (square[:, None] * b)
        return M

    def inverse(self, T: np.ndarray) -> Covariance | None:
        """M^-1; None where a matrix is not definite."""
        M, own = self.matrix(T), self._levels
        side = tuple(M[:, b, a] for a, b in itertools.pairwise(own))
        return inverted(Tridiagonal(tuple(M[:, a, a] for a in own), side), own, np)

    def log_det(self, inverse: Covariance) -> float:
        """Of all matrices together, from their inverses."""
        return -float(self.weights @ sum(np.linalg.slogdet(noise)[1] for noise in inverse.noise))

    def summed(self, values: np.ndarray) -> np.ndarray:
        """Over all frequencies of the torus, (J, ...) to (...); real."""
        return np.tensordot(self.weights, values.real, axes=(0, 0))

    def read(self, right: np.ndarray) -> np.ndarray:
        """V right, for right (J, n, anything)."""
        result = np.zeros((len(right), self.order - self.inputs, right.shape[2]), dtype=complex)
        for node in self._nodes:
            for s, a in node.rows.items():
                result[:, node.own] += a @ right[:, self._place[s]]
        return result

    def rows(self, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(P right, Q right)."""
        e, v = right[:, self.inputs :], self.read(right)
        p = e - self._alpha[:, None] * v if self._alpha.any() else e
        return p, e - self._beta[:, None] * v

    def forms(self, R: np.ndarray) -> Forms:
        """P R P', P R Q', Q R Q' of all channels and phases, for Hermitian R (J, n, n)."""
        left = self.read(R)
        ee, ve, vv = R[:, self.inputs :, self.inputs :], left[:, :, self.inputs :], self.read(conjugate(left))
        ev, (a, b) = conjugate(ve), (self._alpha, self._beta)
        qq = ee - b[:, None] * ve - ev * b + b[:, None] * vv * b
        if not a.any():
            return ee, ee - ev * b, qq
        pp = ee - a[:, None] * ve - ev * a + a[:, None] * vv * a
        return pp, ee - a[:, None] * ve - ev * b + a[:, None] * vv * b, qq

    def by_channel(self, values: np.ndarray, axis: int = 0) -> np.ndarray:
        """Sums over the phases of each channel."""
        return np.asarray(np.add.reduceat(values, self._starts, axis=axis))

    def local(self, own: Forms, low: Forms, weight: float) -> np.ndarray:
        """weight tr(K A_a K A_b) + 2 tr(K A_a B A_b) of each two channels, from the forms of K and B."""
        (pp, pq, qq), (bpp, bpq, bqq) = own, low
        cross = self._traced(pq, conjugate(weight * pq + 2.0 * bpq))
        inner = self._traced(qq, 2.0 * weight * pp + 2.0 * bpp) + 2.0 * self._traced(bqq, pp)
        total = self.by_channel(self.by_channel(cross + cross.T + inner, 0), 1)
        return np.asarray(0.5 * (total + total.T))

    def _traced(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Re a conj(b), entry by entry, over all frequencies of the torus."""
        pairs = np.zeros((a.shape[1], 2 * a.shape[2]))  # real and imaginary parts beside each other
        for weight, x, y in zip(self.weights, a, b, strict=True):
            x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
            pairs += weight * (x.view(float) * y.view(float))
        return np.asarray(pairs[:, ::2] + pairs[:, 1::2])

    def between(self, p: np.ndarray, q: np.ndarray) -> np.ndarray:
        """The sum of p'q + q'p over frequencies and phases of each channel, p and q (J, c, r)."""
        r = p.shape[2]
        found = np.empty((len(self._starts), r, r))
        left, right = (np.concatenate([a.real, a.imag]) for a in (p, q))
        right *= np.tile(self.weights, 2)[:, None, None]
        for repeats, group in itertools.groupby(range(len(self.repeats)), self.repeats.__getitem__):
            a = list(group)
            rows = slice(self._starts[a[0]], self._stops[a[-1]])
            x, y = (_stacked(b[:, rows], int(repeats)) for b in (left, right))
            half = x.swapaxes(1, 2) @ y
            found[a] = half + half.swapaxes(1, 2)
        return found


def _stacked(a: np.ndarray, repeats: int) -> np.ndarray:
    """(J, channels x phases, r) as (channels, J x phases, r)."""
    J, _, r = a.shape
    return a.reshape(J, -1, repeats, r).swapaxes(0, 1).reshape(-1, J * repeats, r)
