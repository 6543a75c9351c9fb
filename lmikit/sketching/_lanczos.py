"""Lanczos on W'W from random starts, and what its coefficients prove about sigma_max(W).

All starts run side by side, so that each step is one product with a block of columns. The
coefficients stay on the device; the host looks at them a few times per run only.
"""

import dataclasses
from typing import Any

import numpy as np
import scipy.linalg
import scipy.special

from ._operators import AbstractOperator

__all__ = [
    "LanczosRun",
    "kuczynski_wozniakowski_value",
    "largest_ritz_values",
    "polynomial_value",
    "start_component",
]


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
        rng = np.random.default_rng([seed, 7])
        x = rng.standard_normal((starts, operator.shape[1]))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        run._basis = am.xp.zeros((starts, min(max_steps, 32) + 1, operator.shape[1]), dtype=operator.dtype)
        run._basis[:, 0] = am.asarray(x, dtype=operator.dtype)
        run._alpha = am.xp.zeros((starts, max_steps), dtype=np.float64)
        run._beta = am.xp.zeros((starts, max_steps), dtype=np.float64)
        run.scale = run._first_scale()
        return run

    _basis: Any = None
    _alpha: Any = None
    _beta: Any = None

    def _first_scale(self) -> float:
        """A power of two near the size of W: squares neither overflow nor underflow."""
        image = self.operator.matmat(self._columns(0))
        peak = float(self.operator.am.xp.abs(image).max())
        return 0.0 if peak == 0.0 else float(np.ldexp(1.0, np.frexp(peak)[1]))

    def _columns(self, j: int) -> Any:
        return self.operator.am.xp.ascontiguousarray(self._basis[:, j].T)

    def advance(self, steps: int) -> None:
        """`steps` more Lanczos steps with full reorthogonalisation, without a host round trip."""
        for j in range(self.steps, self.steps + steps):
            self._grow(j + 2)
            self._step(j)
        self.steps += steps

    def _grow(self, columns: int) -> None:
        have = self._basis.shape[1]
        if columns > have:
            xp = self.operator.am.xp
            more = min(2 * have, self._alpha.shape[1] + 1) - have
            extra = xp.zeros((self.starts, more, self._basis.shape[2]), dtype=self._basis.dtype)
            self._basis = xp.concatenate([self._basis, extra], axis=1)

    def _step(self, j: int) -> None:
        xp, scale = self.operator.am.xp, self.operator.dtype.type(self.scale)
        image = self.operator.matmat(self._columns(j)) / scale
        w = (self.operator.rmatmat(image) / scale).T  # (b, n)
        v = self._basis[:, j]
        alpha = (w * v).sum(axis=1, dtype=np.float64)
        w = w - alpha[:, None].astype(w.dtype) * v
        known = self._basis[:, : j + 1]
        w = w - xp.matmul(xp.matmul(known, w[:, :, None]).transpose(0, 2, 1), known)[:, 0]
        beta = xp.sqrt((w * w).sum(axis=1, dtype=np.float64))
        self._alpha[:, j] = alpha
        self._beta[:, j] = beta
        self._basis[:, j + 1] = w / xp.maximum(beta, np.finfo(np.float64).tiny)[:, None].astype(w.dtype)

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
    """The largest eigenvalue of each tridiagonal matrix, shape (b,)."""
    return np.array([_top_of_tridiagonal(a, b[:-1]) for a, b in zip(alpha, beta, strict=True)])


def _top_of_tridiagonal(diagonal: np.ndarray, off: np.ndarray) -> float:
    size = diagonal.size
    if size == 1:
        return float(diagonal[0])
    return float(
        scipy.linalg.eigvalsh_tridiagonal(diagonal, off, select="i", select_range=(size - 1, size - 1))[0]
    )


def kuczynski_wozniakowski_value(ritz: float, n: int, steps: int, delta: float) -> float:
    """xi / (1 - eps), eps = (ln(1.648 sqrt(n) / delta) / (2k - 1))^2; infinity where eps >= 1.

    P(lambda_max > value) <= delta for one uniform start and k Lanczos steps (Kuczynski and
    Wozniakowski, SIAM J. Matrix Anal. Appl. 13, 1992, theorem 4.2 (b)).
    """
    eps = (np.log(1.648 * np.sqrt(n) / delta) / (2 * steps - 1)) ** 2
    return float(ritz / (1.0 - eps)) if eps < 1.0 else float("inf")


def polynomial_value(alpha: np.ndarray, beta: np.ndarray, ritz: float, t: float) -> float:
    """The lambda > ritz at which sum_{j=0..k} q_j(lambda)^2 = 1/t^2, rounded up.

    The Lanczos vectors are v_{j+1} = q_j(A) x, orthonormal; with u the top eigenvector,
    sum_j q_j(lambda_max)^2 <u, x>^2 = sum_j <u, v_{j+1}>^2 <= 1. If |<u, x>| >= t then the sum at
    lambda_max is at most 1/t^2, and the sum increases beyond the largest Ritz value, which holds
    every zero of the q_j (van Dorsselaer, Hochstenbach, van der Vorst, SIAM J. Matrix Anal.
    Appl. 22, 2000; Hochstenbach, ETNA 40, 2013). The event does not depend on k, so
    stopping when the value is good enough does not change the probability.
    """
    if t >= 1.0 or ritz <= 0.0:
        return max(ritz, 0.0)
    low, width, goal = ritz, ritz * 2.0**-52, -2.0 * np.log(t)
    while width < 2.0**60 * ritz and not _log_sums(alpha, beta, np.array([ritz + width]))[0] >= goal:
        low, width = ritz + width, 4.0 * width
    high = ritz + width
    for _ in range(6):
        grid = np.linspace(low, high, 34)[1:]
        enough = np.flatnonzero(_log_sums(alpha, beta, grid) >= goal)
        first = int(enough[0]) if enough.size else grid.size - 1
        low, high = (grid[first - 1] if first else low), float(grid[first])
    return float(high)


def _log_sums(alpha: np.ndarray, beta: np.ndarray, points: np.ndarray) -> np.ndarray:
    """log sum_{j=0..k} q_j(lambda)^2 at each point, -inf where some ratio q_j/q_{j-1} is not positive.

    Ratios r_j = q_j/q_{j-1} = (lambda - alpha_j - beta_{j-1}/r_{j-1}) / beta_j keep deep runs from overflow.
    """
    tiny = np.finfo(np.float64).tiny
    log_q = np.zeros(points.size)
    total = np.zeros(points.size)  # log of the sum so far: q_0 = 1
    valid = np.ones(points.size, dtype=bool)
    carry = np.zeros(points.size)
    for j in range(alpha.size):
        numerator = points - alpha[j] - carry
        valid &= numerator > 0
        ratio = np.where(valid, numerator, 1.0) / max(beta[j], tiny)
        with np.errstate(over="ignore"):
            carry = beta[j] / ratio
        log_q = log_q + np.log(ratio)
        total = np.logaddexp(total, 2.0 * log_q)
    return np.where(valid, total, -np.inf)
