"""The frequencies' own matrices M(w) = E_0'E_0 + sum_a T_a (p'q + q'p), and products with their rows.

Channel a has, at each of its phases, the rows p = e - alpha v and q = e - beta v. An opposite pair of
frequencies counts twice (`weights`).
"""

import dataclasses

import numpy as np

from ._model import TorusModel, conjugate

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
        left = self.rows(R)
        pp, qp = self.rows(conjugate(left[0]))  # P (P R)', Q (P R)'
        _, qq = self.rows(conjugate(left[1]))
        return conjugate(pp), conjugate(qp), conjugate(qq)

    def by_channel(self, values: np.ndarray, axis: int = 0) -> np.ndarray:
        """Sums over the phases of each channel."""
        return np.asarray(np.add.reduceat(values, self._starts, axis=axis))

    def log_det(self, factor: np.ndarray) -> float:
        """Of all matrices together, from their Cholesky factors."""
        return 2.0 * float(self.weights @ np.log(np.diagonal(factor, axis1=1, axis2=2).real).sum(axis=1))

    def local(self, own: Forms, low: Forms, weight: float) -> np.ndarray:
        """weight tr(K A_a K A_b) + 2 tr(K A_a B A_b) of each two channels, from the forms of K and B."""
        (pp, pq, qq), (bpp, bpq, bqq) = own, low
        right = (weight * pq + 2.0 * bpq).swapaxes(1, 2)
        cross = self.summed(pq.real * right.real - pq.imag * right.imag)
        total = cross + cross.T
        for a, b in ((qq, 2.0 * weight * pp + 2.0 * bpp), (2.0 * bqq, pp)):
            total += self.summed(a.real * b.real + a.imag * b.imag)
        total = self.by_channel(self.by_channel(total, 0), 1)
        return np.asarray(0.5 * (total + total.T))

    def between(self, p: np.ndarray, q: np.ndarray) -> np.ndarray:
        """The sum of p'q + q'p over frequencies and phases of each channel, p and q (J, c, r)."""
        r = p.shape[2]
        found = np.empty((len(self._starts), r, r))
        for a, (i, j) in enumerate(zip(self._starts, self._stops, strict=True)):
            left, right = p[:, i:j].reshape(-1, r), (self.weights[:, None, None] * q[:, i:j]).reshape(-1, r)
            half = left.real.T @ right.real + left.imag.T @ right.imag
            found[a] = half + half.T
        return found
