"""ECLipsE-Fast on the torus: one scalar per node, the storage free to depend on the frequency.

With M the matrix of all nodes before k, T_k = lambda I turns its Schur complement into 2 lambda I -
lambda^2 V M^-1 V', whose least eigenvalue over all frequencies is largest at 1 / max lambda_max(V M^-1 V').
Only two levels of M are ever needed. Xu, Sivaranjani, "ECLipsE", NeurIPS 2024 (the chain without
frequencies); a node whose slopes are [alpha, beta] takes S = alpha + beta for 1 and, with alpha < 0, the term
2 alpha beta lambda V'V on what it reads. The ReLU of a max-pooling share one lambda below the least
eigenvalue of what they read, divided by how many windows share a pixel: with y = b + r,
y^2 - a^2 - b^2 <= 2 r (r - (a - b)) (the difference is (r - a)^2), so that their forms add up to at least
lambda (|y|^2 - |u|^2) of each window, the constraint of max-pooling.
"""

import dataclasses

import numpy as np

from ..._errors import SolveFailed
from ...graph import Affine
from ...torus import TorusForm, TorusWitness
from ...torus._layout import convolution_of
from ._model import TorusModel, conjugate, torus_model

__all__ = ["fast_torus"]

_ROOM = 0.999  # of what a node can bear, where a tree of max-pooling takes it
_DEAD = 1e-6  # of the largest, from where on a channel counts as one that receives nothing


def fast_torus(
    form: TorusForm, model: TorusModel | None = None, share: float = 1.0, *, balanced: bool = False
) -> TorusWitness:
    """The multipliers node by node; `share` below 1 keeps every matrix away from its boundary.

    `balanced`: multipliers of a node in inverse proportion to what its channels receive, instead of one
    scalar (not always better, but nearer to the optimum where some channels are all but dead).

    Raises SolveFailed where a recursion leaves the range of floats.
    """
    model = model or torus_model(form)
    with np.errstate(all="ignore"):
        multipliers, state = _trunk(model, share, balanced)
        if form.head is None:
            d_out = float(np.linalg.eigvalsh(state.gram(model))[:, -1].max())
            head: tuple[np.ndarray, ...] = ()
        else:
            gram = np.einsum("j,jab->ab", model.weights, state.gram(model).real) / form.positions
            head, d_out = _head(form, gram, share, balanced)
    if not (np.isfinite(d_out) and d_out >= 0.0):
        raise SolveFailed("Fast on the torus left the range of floats; rescale the weights.")
    return TorusWitness(form.cells, 1.0, max(d_out, 1e-300), multipliers, head, "Fast on the torus")


@dataclasses.dataclass
class _State:
    """Two neighbouring levels: `names` with their places, `matrix` (J, n, n), `before` rows of the older."""

    names: dict[int, slice]
    matrix: np.ndarray
    before: int

    def append(self, k: int, size: int, diagonal: np.ndarray, rows: np.ndarray) -> None:
        """Node k with its diagonal (size,) and its rows (J, size, n) left of it."""
        n = self.matrix.shape[1]
        self.names[k] = slice(n, n + size)
        full = np.zeros((len(self.matrix), n + size, n + size), dtype=complex)
        full[:, :n, :n] = self.matrix
        full[:, n:, :n] = rows
        full[:, :n, n:] = conjugate(rows)
        full[:, n:, n:] = np.diag(diagonal)
        self.matrix = full

    def placed(self, rows: dict[int, np.ndarray]) -> np.ndarray:
        """The rows (J, r, n) in the order of the matrix."""
        r = next(iter(rows.values())).shape[1]
        result = np.zeros((len(self.matrix), r, self.matrix.shape[1]), dtype=complex)
        for s, a in rows.items():
            result[:, :, self.names[s]] = a
        return result

    def quotient(self, rows: np.ndarray) -> np.ndarray:
        """V M^-1 V', (J, r, r)."""
        product = rows @ np.linalg.solve(self.matrix, conjugate(rows))
        return np.asarray(0.5 * (product + conjugate(product)))

    def least(self, form: TorusForm, k: int) -> float:
        """The least eigenvalue of what elimination of all others leaves of node k."""
        rows = self.placed({k: np.eye(form.size(k), dtype=complex)[None]})
        return 1.0 / float(np.linalg.eigvalsh(self.quotient(rows))[:, -1].max())

    def next_level(self) -> None:
        """Eliminate the older level."""
        b = self.before
        top, side, own = self.matrix[:, :b, :b], self.matrix[:, b:, :b], self.matrix[:, b:, b:]
        if b:
            own = own - side @ np.linalg.solve(top, conjugate(side))
        self.matrix = 0.5 * (own + conjugate(own))
        self.names = {k: slice(p.start - b, p.stop - b) for k, p in self.names.items() if p.start >= b}
        self.before = self.matrix.shape[1]

    def gram(self, model: TorusModel) -> np.ndarray:
        """Y M^-1 Y'."""
        return self.quotient(self.placed(model.Y))


def _trunk(model: TorusModel, share: float, balanced: bool) -> tuple[tuple[np.ndarray, ...], _State]:
    form, found = model.form, {}
    pooled: dict[int, float] = {}
    state = _State({}, np.zeros((len(model.frequencies), 0, 0), dtype=complex), 0)
    for level in model.partition:
        state.next_level()
        for k in level:
            if k == 0:
                state.append(0, form.size(0), np.ones(form.size(0)), np.zeros((1, form.size(0), 0)))
                continue
            alpha, beta = form.slopes(k)
            total = np.repeat(alpha + beta, form.repeats(k))
            square = np.repeat(2.0 * alpha * beta, form.repeats(k))
            rows = state.placed(model.V[k])
            scaled = total[:, None] * rows
            if k in form.trees and form.trees[k] in state.names:
                least = share * _ROOM * state.least(form, form.trees[k])
                value = pooled.setdefault(form.trees[k], least / _windows_of_a_pixel(form, k))
                found[k] = np.full(form.images.shapes[k][0], value)
                state.append(k, form.size(k), np.full(form.size(k), 2.0 * value), -value * scaled)
                continue
            own = np.ones(form.images.shapes[k][0])
            if balanced:
                received = np.einsum("jaa->ja", state.quotient(scaled)).real.max(axis=0)
                own = _inverse(received.reshape(len(own), -1).max(axis=1))
            each = np.sqrt(np.repeat(own, form.repeats(k)))[:, None]
            top = float(np.linalg.eigvalsh(state.quotient(each * scaled))[:, -1].max())
            if square.any():  # half of what the read part can bear
                bent = np.sqrt(-square)[:, None] * each * rows
                top = max(top, 2.0 * float(np.linalg.eigvalsh(state.quotient(bent))[:, -1].max()))
            value = share / top if top > 0.0 else 1.0
            found[k] = value * own
            T = np.repeat(found[k], form.repeats(k))
            if square.any():
                state.matrix = state.matrix + conjugate(rows) @ ((T * square)[:, None] * rows)
            state.append(k, form.size(k), 2.0 * T, -T[:, None] * scaled)
    return tuple(found[k] for k in form.nodes), state


def _windows_of_a_pixel(form: TorusForm, k: int) -> int:
    """At most, for a ReLU of a tree."""
    read = form.graph.nodes[form.graph.nodes[k].parents[0]]
    assert isinstance(read, Affine)
    pair = convolution_of(read.maps[0])
    assert pair is not None
    rows, columns = (-(-taps // s) for taps, s in zip(pair[0].kernel.shape[2:], pair[0].stride, strict=True))
    return int(rows * columns)


def _inverse(received: np.ndarray) -> np.ndarray:
    """1 / received with a floor, the least of them 1."""
    top = float(received.max())
    return top / np.maximum(received, _DEAD * top) if top > 0.0 else np.ones_like(received)


def _head(
    form: TorusForm, gram: np.ndarray, share: float, balanced: bool
) -> tuple[tuple[np.ndarray, ...], float]:
    """Fast on the fully connected layers, from Q = U X^-1 U'."""
    assert form.head is not None
    head, Q = [], gram
    for index, k in enumerate(form.head_nodes):
        alpha, beta = form.slopes(k)
        scaled = (alpha + beta)[:, None] * Q * (alpha + beta)
        own = _inverse(np.diagonal(scaled)) if balanced else np.ones(len(Q))
        each = np.sqrt(own)
        value = share / max(float(np.linalg.eigvalsh(each[:, None] * scaled * each)[-1]), 1e-300)
        T = value * own
        head.append(T)
        X = np.diag(2.0 * T) - T[:, None] * scaled * T
        W = form.head.maps[index].mid
        Q = W @ np.linalg.solve(X, W.T)
        Q = 0.5 * (Q + Q.T)
    return tuple(head), float(np.linalg.eigvalsh(Q)[-1])
