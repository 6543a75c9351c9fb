"""Block tridiagonal Hermitian matrices, one per frequency, and the matrices of chains that belong to them.

Block k is (J, n_k, n_k), the one below it (J, n_(k+1), n_k). With L unit lower block bidiagonal, L^-1 of the
gains G_k, both the inverse of a definite one and the completion of least determinant of the inverse's
pattern are covariances of a chain s_k = G_k s_(k-1) + xi_k, Cov xi_k = C_k: all their blocks and products
cost one sweep. (Grone, Johnson, Sa, Wolkowicz, "Positive definite completions", LAA 1984.)
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = [
    "Covariance",
    "Tridiagonal",
    "adjoint",
    "completed",
    "definite",
    "hermitian",
    "inverted",
    "is_definite",
    "positive",
]

Array = Any


def adjoint(a: Array) -> Array:
    """The conjugate transpose of each."""
    return a.swapaxes(-1, -2).conj()


def hermitian(a: Array) -> Array:
    """(A + A') / 2."""
    return 0.5 * (a + adjoint(a))


@dataclasses.dataclass(frozen=True, eq=False)
class Tridiagonal:
    """own[k] (J, n_k, n_k) Hermitian, side[k] (J, n_(k+1), n_k) below it."""

    own: tuple[Array, ...]
    side: tuple[Array, ...]

    def plus(self, other: "Tridiagonal", scale: float = 1.0) -> "Tridiagonal":
        """This one and scale times the other."""
        return Tridiagonal(
            tuple(a + scale * b for a, b in zip(self.own, other.own, strict=True)),
            tuple(a + scale * b for a, b in zip(self.side, other.side, strict=True)),
        )

    def along(self, other: "Tridiagonal", scales: Array) -> "Tridiagonal":
        """This one and scales (J,) times the other."""
        return Tridiagonal(
            tuple(a + scales[:, None, None] * b for a, b in zip(self.own, other.own, strict=True)),
            tuple(a + scales[:, None, None] * b for a, b in zip(self.side, other.side, strict=True)),
        )

    def scaled(self, scale: float) -> "Tridiagonal":
        """Times a number."""
        return Tridiagonal(tuple(scale * a for a in self.own), tuple(scale * a for a in self.side))

    def inner(self, other: "Tridiagonal") -> float:
        """The traces of the products, summed."""
        own = sum(float((a.conj() * b).real.sum()) for a, b in zip(self.own, other.own, strict=True))
        side = sum(float((a.conj() * b).real.sum()) for a, b in zip(self.side, other.side, strict=True))
        return own + 2.0 * side

    def at(self, kept: Array) -> "Tridiagonal":
        """Some of the frequencies."""
        return Tridiagonal(tuple(a[kept] for a in self.own), tuple(a[kept] for a in self.side))

    def with_others(self, other: "Tridiagonal", xp: Any) -> "Tridiagonal":
        """The frequencies of both."""
        return Tridiagonal(
            tuple(xp.concatenate(pair) for pair in zip(self.own, other.own, strict=True)),
            tuple(xp.concatenate(pair) for pair in zip(self.side, other.side, strict=True)),
        )

    def times(self, dense: Array, places: Sequence[slice], xp: Any) -> Array:
        """The product with (J, n, m)."""
        rows = []
        for k, own in enumerate(self.own):
            row = own @ dense[:, places[k]]
            if k:
                row += self.side[k - 1] @ dense[:, places[k - 1]]
            if k < len(self.side):
                row += adjoint(self.side[k]) @ dense[:, places[k + 1]]
            rows.append(row)
        return xp.concatenate(rows, axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class Covariance:
    """Of s_k = gains[k-1] s_(k-1) + xi_k with Cov xi_k = noise[k]; s_0 = xi_0.

    `log_det` (J,): of the matrices whose inverses these are, where they are made as that.
    """

    gains: tuple[Array, ...]
    noise: tuple[Array, ...]
    places: tuple[slice, ...]
    log_det: Array | None = None

    def dense(self, xp: Any) -> Array:
        """(J, n, n)."""
        J, n = len(self.noise[0]), self.places[-1].stop
        result = xp.empty((J, n, n), dtype=complex)
        result[:, self.places[0], self.places[0]] = self.noise[0]
        for k, gain in enumerate(self.gains):
            here, last = self.places[k + 1], self.places[k]
            rows = gain @ result[:, last, : last.stop]
            result[:, here, : last.stop] = rows
            result[:, : last.stop, here] = adjoint(rows)
            result[:, here, here] = self.noise[k + 1] + rows[:, :, last] @ adjoint(gain)
        return result

    def times(self, dense: Array) -> Array:
        """The product with (J, n, m): one sweep down, one up."""
        result = dense.copy()
        for k in reversed(range(len(self.gains))):
            result[:, self.places[k]] += adjoint(self.gains[k]) @ result[:, self.places[k + 1]]
        for k, noise in enumerate(self.noise):
            result[:, self.places[k]] = noise @ result[:, self.places[k]]
            if k:
                result[:, self.places[k]] += self.gains[k - 1] @ result[:, self.places[k - 1]]
        return result


def inverted(Z: Tridiagonal, places: tuple[slice, ...], xp: Any) -> Covariance | None:
    """Z^-1, or None where Z is not definite."""
    gains: list[Array] = [None] * len(Z.side)
    noise: list[Array] = [None] * len(Z.own)
    schur, log_det = Z.own[-1], 0.0
    for k in reversed(range(len(Z.own))):
        factor = _factor(schur, xp)
        if factor is None:
            return None
        log_det = log_det + 2.0 * xp.log(factor.diagonal(axis1=1, axis2=2).real).sum(axis=1)
        inverse = xp.linalg.inv(factor)
        noise[k] = adjoint(inverse) @ inverse
        if k:
            half = inverse @ Z.side[k - 1]
            gains[k - 1] = -(adjoint(inverse) @ half)
            schur = Z.own[k - 1] - adjoint(half) @ half
    return Covariance(tuple(gains), tuple(noise), places, log_det)


def completed(X: Tridiagonal, places: tuple[slice, ...], xp: Any) -> Covariance | None:
    """The completion with the largest determinant, or None where there is no definite one."""
    gains, noise = [], [X.own[0]]
    for k, side in enumerate(X.side):
        factor = _factor(X.own[k], xp)
        if factor is None:
            return None
        inverse = xp.linalg.inv(factor)
        half = side @ adjoint(inverse)
        gains.append(half @ inverse)
        noise.append(hermitian(X.own[k + 1] - half @ adjoint(half)))
        if _factor(noise[-1], xp) is None:
            return None
    if _factor(noise[0], xp) is None:
        return None
    return Covariance(tuple(gains), tuple(noise), places)


def is_definite(Z: Tridiagonal, xp: Any) -> bool:
    """Whether all are positive definite."""
    schur = Z.own[-1]
    for k in reversed(range(len(Z.own))):
        factor = _factor(schur, xp)
        if factor is None:
            return False
        if k:
            half = xp.linalg.solve(factor, Z.side[k - 1])
            schur = Z.own[k - 1] - adjoint(half) @ half
    return True


def definite(Z: Tridiagonal, xp: Any) -> Array:
    """Which of them are positive definite, (J,)."""
    good = xp.ones(len(Z.own[0]), dtype=bool)
    schur = Z.own[-1]
    for k in reversed(range(len(Z.own))):
        factor = _factor(schur, xp)
        if factor is None:
            schur = hermitian(xp.where(xp.isfinite(schur), schur, 0.0))
            good &= positive(schur, xp)
            factor = _factor(xp.where(good[:, None, None], schur, xp.eye(schur.shape[1])), xp)
            if factor is None:  # at the limit of floats: none of them counts
                return xp.zeros_like(good)
        if k:
            half = xp.linalg.solve(factor, Z.side[k - 1])
            schur = Z.own[k - 1] - adjoint(half) @ half
    return good


def positive(a: Array, xp: Any) -> Array:
    """Which of Hermitian matrices are definite, (J,), by eigenvalues in the units of their diagonals."""
    unit = 1.0 / xp.sqrt(xp.maximum(xp.einsum("jaa->ja", a).real, 1e-300))
    return xp.linalg.eigvalsh(unit[:, :, None] * a * unit[:, None, :])[:, 0] > 0.0


def _factor(a: Array, xp: Any) -> Array | None:
    try:
        factor = xp.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        return None
    return factor if bool(xp.isfinite(factor.real).all()) else None
