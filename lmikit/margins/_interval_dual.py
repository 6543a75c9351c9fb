"""The dual of the margin SDP with interval terms, in the undecided neurons only.

With r >= 0, n = r - v >= 0, r n = 0, r <= u, n <= g (g >= -v) and y = (mu | tau | T | kappa | omega),

    s(y) = min over (base, r) of  objective + mu (|d|^2 - eps^2) + sum tau (d - low)(d - high)
           + sum T r n - sum kappa r (u - r) - sum omega n (g - n),

T of either sign, the others >= 0. The start comes from CROWN: its line above a neuron says
1 - r/u - n/g >= 0, and with a = r/u, b = n/g

    1 - a - b = (1 - a - b)^2 + a (1 - a) + b (1 - b) - 2 a b,

so that kappa = gamma / u^2, omega = gamma / g^2, T = 2 gamma / (u g) prove at least what the line with
multiplier gamma does; likewise r = r (u - r) / u + r^2 / u. Without its own losses s(start) would be at
least CROWN's bound with the same limits: it pays for limits next to 0 being widened (`_interval_problem`),
for multipliers kept off 0 and for the room of the proof. So a row that CROWN proves may stay open
here, and `with_enclosures` adds it to the certificate.
"""

import dataclasses

import numpy as np
import scipy.linalg

from ._dual import DualValue
from ._interval_problem import IntervalProblem

__all__ = ["IntervalDual"]

_KEEP = 1.0 - 2.0**-23  # room for the roundings of a proof, as in `_dual`; here everything is in one matrix
_FLOOR = 1e-7


@dataclasses.dataclass(frozen=True, eq=False)
class _Base:
    """The quadratic form of the base variables: B, linear half, constant; `d` of a base point."""

    matrix: np.ndarray
    linear: np.ndarray
    constant: float
    curvature: np.ndarray
    start: np.ndarray


class IntervalDual:
    """s(y) for one problem; `objective` chooses the row."""

    def __init__(self, problem: IntervalProblem) -> None:
        self.problem = problem
        ball, box = problem.region.ball, problem.region.box
        self.eps = None if ball is None else ball.radius
        self.low = None if box is None else box.lower - problem.anchor
        self.high = None if box is None else box.upper - problem.anchor
        self.balls, self.boxes = int(ball is not None), 0 if box is None else box.dim
        self.head, self.count = self.balls + self.boxes, problem.undecided.size
        self.p, self.size = problem.base, problem.base + problem.undecided.size
        self.v0 = problem.preactivations[:, 0]
        self.n_rows = -problem.preactivations[:, 1 : 1 + self.size]
        self.n_rows[np.arange(self.count), self.p + np.arange(self.count)] += 1.0
        self.row = np.zeros(problem.outputs.shape[1])

    def objective(self, row: np.ndarray, offset: float) -> None:
        """Bound row . f(x) + offset from below."""
        self.row = row @ self.problem.outputs
        self.row[0] += offset

    def parts(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Head (mu, tau), T, kappa, omega."""
        h, c = self.head, self.count
        return y[:h], y[h : h + c], y[h + c : h + 2 * c], y[h + 2 * c :]

    def _base(self, head: np.ndarray) -> _Base | None:
        w0 = self.problem.chain.weights[0]
        curvature = np.full(w0.shape[1], head[0] if self.balls else 0.0)
        pull, constant = np.zeros(w0.shape[1]), 0.0
        if self.balls:
            assert self.eps is not None
            constant -= head[0] * self.eps**2
        if self.low is not None and self.high is not None:
            tau = head[self.balls :]
            curvature = curvature + tau
            pull = -0.5 * tau * (self.low + self.high)
            constant += float(tau @ (self.low * self.high))
        if not (curvature > 0.0).all():
            return None
        if not self.problem.through_layer:
            return _Base(np.diag(curvature), pull, constant, curvature, np.zeros_like(pull))
        start = -pull / curvature
        chain = self.problem.chain
        gram = chain.gram / curvature[0] if self.low is None else (w0 / curvature) @ w0.T
        factor, info = scipy.linalg.lapack.dpotrf(gram, lower=1)
        if info != 0:
            return None
        inverse, _ = scipy.linalg.lapack.dpotri(factor, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        h0 = w0 @ start
        constant += float(h0 @ inverse @ h0) - float(pull @ (pull / curvature))
        return _Base(inverse, -inverse @ h0, constant, curvature, start)

    def hessian(self, y: np.ndarray, base: _Base) -> np.ndarray:
        """M in (base, r)."""
        _, t, kappa, omega = self.parts(y)
        p, n = self.p, self.n_rows
        m = n.T @ (omega[:, None] * n)
        half = 0.5 * t[:, None] * n
        m[p:] += half
        m[:, p:] += half.T
        m[:p, :p] += base.matrix
        index = np.arange(p, self.size)
        m[index, index] += kappa
        m[np.diag_indices_from(m)] *= _KEEP
        return np.asarray(m)

    def minimiser(self, y: np.ndarray) -> tuple[float, np.ndarray, _Base, np.ndarray] | None:
        """(s, (base, r), the base's form, M's factor); None where M is not positive definite."""
        head, t, kappa, omega = self.parts(y)
        base = self._base(head)
        if base is None:
            return None
        problem = self.problem
        factor, info = scipy.linalg.lapack.dpotrf(self.hessian(y, base), lower=1, overwrite_a=1)
        if info != 0:
            return None
        f = 0.5 * self.row[1 : 1 + self.size] - 0.5 * (
            self.n_rows.T @ (omega * (2.0 * self.v0 + problem.depth))
        )
        f[: self.p] += base.linear
        f[self.p :] -= 0.5 * (t * self.v0 + kappa * problem.upper)
        z, _ = scipy.linalg.lapack.dpotrs(factor, -f, lower=1)
        value = (
            self.row[0] + base.constant + float(omega @ (self.v0 * (self.v0 + problem.depth))) + float(f @ z)
        )
        return (value, z, base, factor) if np.isfinite(value) else None

    def evaluate(self, y: np.ndarray) -> DualValue:
        """s(y) and its gradient."""
        found = self.minimiser(y)
        if found is None:
            return DualValue(-np.inf)
        value, z, base, _ = found
        d, r = z[: self.p], z[self.p :]
        if self.problem.through_layer:
            w0 = self.problem.chain.weights[0]
            d = base.start + (w0.T @ (base.matrix @ (d - w0 @ base.start))) / base.curvature
        parts = []
        if self.balls:
            assert self.eps is not None
            parts.append(np.array([d @ d - self.eps**2]))
        if self.low is not None and self.high is not None:
            parts.append((d - self.low) * (d - self.high))
        n = self.n_rows @ z - self.v0
        parts += [r * n, -r * (self.problem.upper - r), -n * (self.problem.depth - n)]
        return DualValue(value, np.concatenate(parts))

    def start(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(y, scales, lower bounds of y) from CROWN's multipliers for the objective."""
        problem, p = self.problem, self.p
        u, g = problem.upper, problem.depth
        a = self.row[1 : 1 + self.size].copy()
        v = problem.preactivations[:, 1 : 1 + self.size]
        layer = problem.layer_of[problem.undecided]
        pull = np.zeros(self.count)
        for k in range(problem.chain.hidden - 1, -1, -1):
            own = np.flatnonzero(layer == k)
            pull[own] = a[p + own]
            slope = np.where(pull[own] >= 0.0, (u[own] > g[own]).astype(float), u[own] / (u[own] + g[own]))
            a[p + own] = 0.0
            a += (pull[own] * slope) @ v[own]
        gamma = np.maximum(-pull, 0.0) * u * g / (u + g)
        above = np.maximum(pull, 0.0)
        below, under = above * (u <= g), above * (u > g)  # multipliers of r >= 0 and of n >= 0
        size = np.abs(pull) * u * g / (u + g)
        size = size + 0.1 * float(size.mean() if size.size else 0.0) + 1e-12
        kappa = below / u + gamma / u**2 + 1e-3 * size / u**2
        omega = under / g + gamma / g**2 + 1e-3 * size / g**2
        floor = self._least_head()
        head = np.maximum(self._head(a[:p]), floor)
        y = np.concatenate([head, 2.0 * gamma / (u * g), kappa, omega])
        heads = np.maximum(head, 1e-3 * float(head.max(initial=1e-12)))
        scale = np.concatenate([heads, size / (u * g), size / u**2, size / g**2])
        lower = np.zeros(y.size)
        lower[: self.head] = np.maximum(1e-7 * float(head.max(initial=0.0)), floor)
        lower[self.head : self.head + self.count] = -np.inf
        lower[self.head + self.count :] = _FLOOR * scale[self.head + self.count :]
        return np.maximum(y, lower), scale, lower

    def _least_head(self) -> float:
        """So much of mu and tau costs parts in 1e7 of the objective, and keeps M from being singular."""
        size = abs(float(self.row[0])) + 0.1 * float(np.abs(self.row).max()) + 1e-12
        reach = 0.0 if self.eps is None else self.eps**2
        if self.low is not None and self.high is not None:
            reach = max(reach, float(((self.high - self.low) ** 2).sum()))
        return 1e-7 * size / max(reach, 1e-200)

    def _head(self, a: np.ndarray) -> np.ndarray:
        """mu and tau with which  a . base  is bounded best on the region alone."""
        w0 = self.problem.chain.weights[0]
        a = w0.T @ a if self.problem.through_layer else a
        norm = float(np.linalg.norm(a))
        if self.low is None or self.high is None:
            assert self.eps is not None
            return np.array([max(norm, 1e-9) / (2.0 * self.eps)])
        width = np.maximum(self.high - self.low, 1e-12 * (1.0 + float((self.high - self.low).max())))
        if self.eps is None:
            tau = np.abs(a) / width
            return np.maximum(tau, 1e-6 * float(tau.max(initial=1e-9)) + 1e-12)
        left, right = -40.0, 0.0
        top = max(norm, 1e-9) / (2.0 * self.eps)
        for _ in range(40):
            middle = 0.5 * (left + right)
            step = np.clip(-a / (2.0 * top * np.exp(middle)), self.low, self.high)
            left, right = (left, middle) if step @ step <= self.eps**2 else (middle, right)
        mu = top * float(np.exp(right))
        step = np.clip(-a / (2.0 * mu), self.low, self.high)
        return np.concatenate([[mu], np.abs(a + 2.0 * mu * step) / width])
