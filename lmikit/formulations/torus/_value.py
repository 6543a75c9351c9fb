"""What multipliers are worth: the output weight that every frequency needs, by block elimination."""

from collections.abc import Sequence

import numpy as np

from ._model import TorusModel, conjugate
from ._tridiagonal import positive

__all__ = ["last_blocks", "output_needed"]


def output_needed(model: TorusModel, multipliers: Sequence[np.ndarray]) -> np.ndarray:
    """The largest eigenvalue of Y Z^-1 Y' per frequency, infinite where Z is not definite; (J,)."""
    with np.errstate(all="ignore"):
        X, good, Y = last_blocks(model, multipliers)
        gram = Y @ np.linalg.solve(X, conjugate(Y))
        gram = 0.5 * (gram + conjugate(gram))
        finite = np.isfinite(gram).all(axis=(1, 2))
        top = np.linalg.eigvalsh(np.where(finite[:, None, None], gram, 0.0))[:, -1]
    return np.where(good & finite, top, np.inf)


def last_blocks(
    model: TorusModel, multipliers: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(X, definite, Y): the Schur complement of the last level, whether all before it are, and Y there."""
    form, J = model.form, len(model.frequencies)
    T = dict(zip(form.nodes, multipliers, strict=True))
    good = np.ones(J, dtype=bool)
    X = np.zeros((J, 0, 0), dtype=complex)
    before: dict[int, slice] = {}
    for level in model.partition:
        here, size = _places(form, level), sum(form.size(s) for s in level)
        own = np.zeros((J, size, size), dtype=complex)
        side = np.zeros((J, size, X.shape[1]), dtype=complex)
        for k in level:
            p = here[k]
            index = np.arange(p.start, p.stop)
            if k == 0:
                own[:, index, index] += 1.0
                continue
            t = np.repeat(T[k], form.repeats(k))
            alpha, beta = (np.repeat(s, form.repeats(k)) for s in form.slopes(k))
            own[:, index, index] += 2.0 * t
            for s, rows in model.V[k].items():
                part = -((alpha + beta) * t)[:, None] * rows
                if s in here:
                    own[:, p, here[s]] += part
                    own[:, here[s], p] += conjugate(part)
                else:
                    side[:, p, before[s]] += part
            if (alpha * beta).any():
                _add_squares(own, side, X, model.V[k], here, before, 2.0 * alpha * beta * t)
        if X.shape[1]:
            X, definite = _regular(X)
            good &= definite
            own = own - side @ np.linalg.solve(X, conjugate(side))
        X, before = 0.5 * (own + conjugate(own)), here
    X, definite = _regular(X)
    Y = np.zeros((J, next(iter(model.Y.values())).shape[1], X.shape[1]), dtype=complex)
    for s, rows in model.Y.items():
        Y[:, :, before[s]] = rows
    return X, good & definite, Y


def _places(form: object, level: Sequence[int]) -> dict[int, slice]:
    ends = np.cumsum([0, *(form.size(s) for s in level)])  # type: ignore[attr-defined]
    return {s: slice(int(a), int(b)) for s, a, b in zip(level, ends, ends[1:], strict=False)}


def _add_squares(
    own: np.ndarray,
    side: np.ndarray,
    X: np.ndarray,
    rows: dict[int, np.ndarray],
    here: dict[int, slice],
    before: dict[int, slice],
    weight: np.ndarray,
) -> None:
    """The form v'(2 Pi T) v on this level, on the one before, and between them."""
    for a, left in rows.items():
        for b, right in rows.items():
            product = conjugate(left) @ (weight[:, None] * right)
            if a in here and b in here:
                own[:, here[a], here[b]] += product
            elif a in here:
                side[:, here[a], before[b]] += product
            elif b not in here:
                X[:, before[a], before[b]] += product


def _regular(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """X where it is definite, the identity elsewhere, and where that is."""
    finite = np.isfinite(X).all(axis=(1, 2))
    safe = np.where(finite[:, None, None], X, 0.0)
    definite = finite & positive(safe, np)
    return np.where(definite[:, None, None], safe, np.eye(X.shape[1])), definite
