"""Lanczos on W'W from random starts, and what its coefficients prove about sigma_max(W).

All starts run side by side, so that each step is one product with a block of columns. The
coefficients stay on the device; the host looks at them a few times per run only.
"""

import dataclasses
from typing import Any

import numpy as np
import scipy
import scipy.linalg

from ._operators import AbstractOperator
from ._random import random_stream
from ._threads import one_thread_between, threads_for

__all__ = [
    "LanczosRun",
    "kuczynski_wozniakowski_values",
    "largest_ritz_values",
    "polynomial_values",
    "start_component",
]

_PART = 16  # Lanczos vectors per allocation


@dataclasses.dataclass
class LanczosRun:
    """Tridiagonal coefficients alpha (b, k), beta (b, k) of b runs, of the scaled matrix W'W / scale^2.

    beta[:, j] is the norm of the residual after step j + 1. n is the order of W'W.
    """

    operator: AbstractOperator
    starts: int
    scale: float
    steps: int = 0

    @classmethod
    def begin(cls, operator: AbstractOperator, starts: int, seed: int, max_steps: int) -> "LanczosRun":
        """b starts, each uniform on the unit sphere of R^n, drawn on the host."""
        am = operator.am
        run = cls(operator, starts, 1.0)
        run._limit = max_steps + 1
        rng = random_stream(2, seed)
        x = rng.standard_normal((starts, operator.shape[1]))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        run._basis = []
        run._store(0, am.asarray(x, dtype=operator.dtype))
        run._alpha = am.xp.zeros((starts, max_steps), dtype=np.float64)
        run._beta = am.xp.zeros((starts, max_steps), dtype=np.float64)
        run.scale = run._first_scale()
        return run

    _basis: Any = None  # parts (starts, _PART, n) of the Krylov basis: a list grows without copies
    _limit: int = 0
    _alpha: Any = None
    _beta: Any = None

    def _first_scale(self) -> float:
        """A power of two near the size of W: squares neither overflow nor underflow."""
        image = self.operator.matmat(self._columns(0))
        peak = float(self.operator.am.xp.abs(image).max())
        return 0.0 if peak == 0.0 else float(np.ldexp(1.0, np.frexp(peak)[1]))

    def _columns(self, j: int) -> Any:
        return self.operator.am.xp.ascontiguousarray(self._vector(j).T)

    def _vector(self, j: int) -> Any:
        return self._basis[j // _PART][:, j % _PART]

    def _store(self, j: int, vector: Any) -> None:
        if j % _PART == 0:
            shape = (self.starts, min(_PART, self._limit - j), vector.shape[1])
            self._basis.append(self.operator.am.xp.zeros(shape, dtype=vector.dtype))
        self._basis[j // _PART][:, j % _PART] = vector

    def _orthogonalised(self, w: Any, count: int) -> Any:
        """w minus its components along the first `count` basis vectors."""
        xp = self.operator.am.xp
        parts = [part[:, : count - k * _PART] for k, part in enumerate(self._basis) if k * _PART < count]
        shares = [xp.matmul(part, w[:, :, None]).transpose(0, 2, 1) for part in parts]
        w = w.copy()
        for part, share in zip(parts, shares, strict=True):
            w -= xp.matmul(share, part)[:, 0]
        return w

    def advance(self, steps: int) -> None:
        """`steps` more Lanczos steps with full reorthogonalisation, without a host round trip."""
        with threads_for(self.operator.am, self.operator.call_flops * self.starts):
            for j in range(self.steps, self.steps + steps):
                self._step(j)
        self.steps += steps

    def _step(self, j: int) -> None:
        xp, scale = self.operator.am.xp, self.operator.dtype.type(self.scale)
        image = self.operator.matmat(self._columns(j)) / scale
        w = (self.operator.rmatmat(image) / scale).T  # (b, n)
        v = self._vector(j)
        alpha = (w * v).sum(axis=1, dtype=np.float64)
        w = w - alpha[:, None].astype(w.dtype) * v
        with one_thread_between(self.operator.am, self.operator.call_flops * self.starts):
            w = self._orthogonalised(w, j + 1)
        beta = xp.sqrt((w * w).sum(axis=1, dtype=np.float64))
        self._alpha[:, j] = alpha
        self._beta[:, j] = beta
        self._store(j + 1, w / xp.maximum(beta, np.finfo(np.float64).tiny)[:, None].astype(w.dtype))

    def coefficients(self) -> tuple[np.ndarray, np.ndarray]:
        """(alpha, beta) on the host, each (b, steps). One transfer."""
        both = self.operator.am.xp.stack([self._alpha[:, : self.steps], self._beta[:, : self.steps]])
        alpha, beta = self.operator.am.to_numpy(both)
        return alpha, beta

    @property
    def matvecs(self) -> int:
        """Products of W or W' with one vector, the scaling product included."""
        return self.starts * (2 * self.steps + 1)


def start_component(n: int, delta: float) -> float:
    """t with P(|<u, x>| < t) <= delta for x uniform on the unit sphere of R^n and any unit u.

    For n >= 3 the density of the component is largest at 0, where it is
    Gamma(n/2) / (sqrt(pi) Gamma((n-1)/2)); t = delta / (2 density) is exact to O(delta^3).
    """
    if n == 1:
        return 1.0
    if n == 2:
        return float(np.sin(0.5 * np.pi * delta))
    log_density = scipy.special.gammaln(0.5 * n) - scipy.special.gammaln(0.5 * (n - 1)) - 0.5 * np.log(np.pi)
    return float(0.5 * delta * np.exp(-log_density))


def largest_ritz_values(alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """The largest eigenvalue of each tridiagonal matrix, shape (b,); beta = 0 ends a run."""
    return np.array([_top_of_run(a, b) for a, b in zip(alpha, beta, strict=True)])


def _top_of_run(diagonal: np.ndarray, beta: np.ndarray) -> float:
    ended = np.flatnonzero(beta == 0.0)
    size = int(ended[0]) + 1 if ended.size else diagonal.size
    return _top_of_tridiagonal(diagonal[:size], beta[: size - 1])


def _top_of_tridiagonal(diagonal: np.ndarray, off: np.ndarray) -> float:
    size = diagonal.size
    if size == 1:
        return float(diagonal[0])
    return float(
        scipy.linalg.eigvalsh_tridiagonal(diagonal, off, select="i", select_range=(size - 1, size - 1))[0]
    )


def kuczynski_wozniakowski_values(ritz: np.ndarray, n: int, steps: int, delta: float) -> np.ndarray:
    """xi / (1 - eps), eps = (ln(1.648 sqrt(n) / delta) / (2k - 1))^2; infinity where eps >= 1.

    P(lambda_max > value) <= delta for one uniform start and k Lanczos steps (Kuczynski and
    Wozniakowski, SIAM J. Matrix Anal. Appl. 13, 1992, theorem 4.2 (b)).
    """
    if n == 1:
        return ritz
    eps = (np.log(1.648 * np.sqrt(n) / delta) / (2 * steps - 1)) ** 2
    return ritz / (1.0 - eps) if eps < 1.0 else np.full_like(ritz, np.inf)


def polynomial_values(alpha: np.ndarray, beta: np.ndarray, ritz: np.ndarray, t: float) -> np.ndarray:
    """Per run, the lambda > ritz at which sum_{j=0..k} q_j(lambda)^2 = 1/t^2, rounded up; shape (b,).

    The Lanczos vectors are v_{j+1} = q_j(A) x, orthonormal; with u the top eigenvector,
    sum_j q_j(lambda_max)^2 <u, x>^2 = sum_j <u, v_{j+1}>^2 <= 1. If |<u, x>| >= t then the sum at
    lambda_max is at most 1/t^2, and the sum increases beyond the largest Ritz value, which holds
    every zero of the q_j (van Dorsselaer, Hochstenbach, van der Vorst, SIAM J. Matrix Anal.
    Appl. 22, 2000; Hochstenbach, ETNA 40, 2013). The event does not depend on k, so
    stopping when the value is good enough does not change the probability. Infinity where no
    lambda up to 2^60 ritz reaches the sum; beta = 0 ends a run.
    """
    ritz = np.maximum(ritz, 0.0)
    if t >= 1.0:
        return ritz
    rows = np.arange(ritz.size)
    low, goal = ritz, -2.0 * np.log(t)
    grid = ritz[:, None] * (1.0 + np.exp2(np.arange(-52.0, 62.0, 2.0)))
    reached = np.ones(ritz.size, dtype=bool)
    for _ in range(5):
        enough = _log_sums(alpha, beta, grid) >= goal
        reached &= enough.any(axis=1)
        first = enough.argmax(axis=1)
        low = np.where(first > 0, grid[rows, np.maximum(first - 1, 0)], low)
        high = grid[rows, first]
        grid = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, 34)[1:]
        grid[:, -1] = high
    return np.where(ritz == 0.0, 0.0, np.where(reached, high, np.inf))


def _log_sums(alpha: np.ndarray, beta: np.ndarray, points: np.ndarray) -> np.ndarray:
    """log sum_{j=0..k} q_j(lambda)^2 per run and point, -inf where some q_j/q_{j-1} is not positive.

    Ratios r_j = q_j/q_{j-1} = (lambda - alpha_j - beta_{j-1}/r_{j-1}) / beta_j keep deep runs from
    overflow. A run that has ended (beta_j = 0) has an infinite sum beyond its Ritz value.
    """
    log_q = np.zeros(points.shape)
    total = np.zeros(points.shape)  # log of the sum so far: q_0 = 1
    valid = np.ones(points.shape, dtype=bool)
    going = np.ones(points.shape[0], dtype=bool)
    carry = np.zeros(points.shape)
    offs = np.maximum(beta, np.finfo(np.float64).tiny)
    with np.errstate(over="ignore"):
        for j in range(alpha.shape[1]):
            numerator = points - alpha[:, j, None] - carry
            valid &= (numerator > 0) | ~going[:, None]
            numerator = np.where((numerator > 0) & going[:, None], numerator, 1.0)
            off = np.where(going, offs[:, j], 1.0)[:, None]
            carry = off * (off / numerator)
            log_q += np.log(numerator) - np.log(off)
            np.logaddexp(total, 2.0 * log_q, out=total)
            going &= beta[:, j] > 0.0
    return np.where(valid, total, -np.inf)
