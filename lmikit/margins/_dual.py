"""The dual function of the margin SDP at a place: value, gradient and minimiser by one block Cholesky.

For multipliers y = (mu | tau | T | eta | nu) of the ball, the box, the products and the two sides of
every neuron (`certificates.point`, terms "piece_*"), with p = w - left v, q = w - right v and
sigma = sign(right - left),

    s(y) = min over (d, w) of  objective + mu (|d|^2 - eps^2) - sum tau (d - low)(high - d)
           + sum T p q - sum eta sigma p - sum nu sigma q,

-infinity where the Hessian M is not positive definite. s is concave, and by Danskin its gradient is the
value of each bracket at the minimiser. M is block tridiagonal; without v^2 terms and without a box
the first block is eliminated through the Gram matrix W_0 W_0', formed once per network. Sparse first
maps (convolutions) have an elimination order of their own (`certificates.point`, `ArrowFactor`).
For radii mu is fixed to 1 and eps to 0, and the objective carries a factor that is a variable.

Neurons with phi(v) = v have no variables. Their e = w - v is 0: with a penalty P e^2 that outweighs what is
asked of them and a line lambda e, s is the value of the problem without them once lambda is the best one.
Multiplier steps lambda += 2 P e find that one, for each evaluation anew, and shrink e by about the penalty's
factor each; the gradient in the other variables is that at this lambda. In y they are T = P, eta = -lambda.
"""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.linalg.lapack import dpotrf, dpotrs, dtrtrs

from ..certificates.point import ArrowFactor, coupled_rows, diagonal_gram, gram_is_diagonal, plan_of
from ._problem import AnchoredChain

__all__ = ["DualValue", "MarginDual"]

# The search works with M less this share of its diagonal, so that every point it calls feasible has
# room for the roundings of a proof; at the optimum M itself is almost singular.
_LESS = 2.0**-30
_KEEP = 1.0 - _LESS
_PENALTY = 2.0**10  # what is asked of e costs this share of itself, and roundings are this much larger
_STEPS = 4  # multiplier steps at most


@dataclasses.dataclass(frozen=True, eq=False)
class DualValue:
    """s(y) and its gradient; -inf and None where M is not positive definite."""

    value: float
    gradient: np.ndarray | None = None


class _Factor:
    """M factored block by block; `solve` is M^-1 on blocks (d, w_1, ..., w_L) of right-hand sides."""

    def __init__(self, place: AnchoredChain, p: np.ndarray, coefficients: "_Coefficients") -> None:
        self.place, self.p, self.c = place, p * _KEEP, coefficients
        chain = place.chain
        self.first: np.ndarray | None = None
        self.factors: list[np.ndarray] = []
        self.panels: list[np.ndarray] = []
        self.coupling = [
            0.5 * b[:, None] * w for b, w in zip(coefficients.b[1:], chain.weights[1:-1], strict=True)
        ]
        self.ok = self._first_blocks() and self._other_blocks()

    def _first_blocks(self) -> bool:
        """The blocks of d and w_1."""
        chain, c = self.place.chain, self.c
        w0, b = chain.weights[0], c.b[0]
        if not (self.p > 0.0).all():
            return False
        if c.a[0].any():
            self.first = _cholesky(
                w0.T @ (c.a[0][:, None] * w0) + np.diag(np.broadcast_to(self.p, w0.shape[1:]))
            )
            if self.first is None:
                return False
            z, _ = dtrtrs(self.first, 0.5 * (b[:, None] * w0).T, lower=1)
            schur = -(z.T @ z)
        elif self.p.size == 1:
            schur = (-0.25 / self.p[0]) * (b[:, None] * chain.gram * b)
        else:
            z = (0.5 / np.sqrt(self.p)) * (b[:, None] * w0)
            schur = -(z @ z.T)
        return self._add(0, schur)

    def _add(self, k: int, schur: np.ndarray) -> bool:
        """Factor the block of w_{k+1}: its own terms plus `schur`, overwritten."""
        c, weights = self.c, self.place.chain.weights
        if k + 1 < len(c.a) and c.a[k + 1].any():
            schur += weights[k + 1].T @ (c.a[k + 1][:, None] * weights[k + 1])
        schur[np.diag_indices_from(schur)] += c.c[k] * _KEEP
        factor = _cholesky(schur)
        if factor is None:
            return False
        self.factors.append(factor)
        return True

    def _other_blocks(self) -> bool:
        for k, coupling in enumerate(self.coupling):
            panel, _ = dtrtrs(self.factors[k], coupling.T, lower=1)
            self.panels.append(panel)
            if not self._add(k + 1, -(panel.T @ panel)):
                return False
        return True

    def _solve_first(self, rhs: np.ndarray) -> np.ndarray:
        if self.first is None:
            return rhs / (self.p if rhs.ndim == 1 or self.p.size == 1 else self.p[:, None])
        return np.asarray(dpotrs(self.first, rhs, lower=1)[0])

    def solve(self, rhs: list[np.ndarray]) -> list[np.ndarray]:
        """Blocks (n_k,) or (n_k, R)."""
        w0, b = self.place.chain.weights[0], self.c.b[0]
        down = b if rhs[0].ndim == 1 else b[:, None]
        head = self._solve_first(rhs[0]) if rhs[0].any() else None
        rest = [rhs[1] if head is None else rhs[1] - 0.5 * down * (w0 @ head)]
        for k, coupling in enumerate(self.coupling):
            rest.append(rhs[k + 2] - coupling @ dpotrs(self.factors[k], rest[k], lower=1)[0])
        z = [dpotrs(self.factors[-1], rest[-1], lower=1)[0]]
        for k in range(len(self.factors) - 2, -1, -1):
            z.insert(0, dpotrs(self.factors[k], rest[k] - self.coupling[k].T @ z[0], lower=1)[0])
        z.insert(0, self._solve_first(rhs[0] - 0.5 * (w0.T @ (down * z[0]))))
        return z


def _cholesky(a: np.ndarray) -> np.ndarray | None:
    factor, info = dpotrf(a, lower=1, clean=1, overwrite_a=1)
    return factor if info == 0 else None


def _sparse_factor(place: AnchoredChain, p: np.ndarray, c: "_Coefficients") -> ArrowFactor:
    """M's factor where the first maps are sparse, with the room of `_KEEP`."""
    chain = place.chain
    sizes = (chain.network.input_dim, *chain.sizes)
    diagonal: list[Any] = []
    lower: list[np.ndarray] = []
    for k, own in enumerate([np.broadcast_to(p, sizes[:1]), *c.c]):
        block: Any = own * _KEEP
        if k < chain.hidden:
            w = chain.weights[k]
            if gram_is_diagonal(w, c.a[k]):
                block = block + diagonal_gram(w, c.a[k])
            elif c.a[k].any():
                gram = w.T @ (sp.diags_array(c.a[k]) @ w)
                block = gram + (sp.diags_array(block) if sp.issparse(w) else np.diag(block))
            half = 0.5 * c.b[k]
            lower.append(coupled_rows(half, w) * w.data if sp.issparse(w) else half[:, None] * w)
        diagonal.append(block)
    square = tuple(not gram_is_diagonal(w, a) for w, a in zip(chain.weights[:-1], c.a, strict=True))
    return ArrowFactor(plan_of(chain.network, square), diagonal, lower)


@dataclasses.dataclass(frozen=True, eq=False)
class _Coefficients:
    """Per layer the sums of multiplier times term: a v^2 + b v w + c w^2 + lin_v v + lin_w w."""

    a: list[np.ndarray]
    b: list[np.ndarray]
    c: list[np.ndarray]
    lin_v: list[np.ndarray]
    lin_w: list[np.ndarray]


class MarginDual:
    """s(y) at one place for one objective row.f + offset."""

    def __init__(self, place: AnchoredChain, *, radius: bool = False) -> None:
        self.place, self.radius = place, radius
        chain = place.chain
        self.neurons = int(chain.ends[-1])
        self.balls = 0 if place.eps is None or radius else 1
        self.boxes = 0 if place.low is None else place.low.size
        self.left, self.right = np.concatenate(chain.left), np.concatenate(chain.right)
        self.sigma = np.where(self.right >= self.left, 1.0, -1.0)
        self.linear = np.flatnonzero(chain.linear)
        self.head = self.balls + self.boxes + (1 if radius else 0)
        self.evaluations = 0
        self.row, self.offset = np.zeros(0), 0.0

    def objective(self, row: np.ndarray, offset: float) -> None:
        """Bound row . f(x) + offset from below (row (m,))."""
        chain = self.place.chain
        self.row = chain.weights[-1].T @ row
        self.offset = offset + float(row @ chain.biases[-1])

    def parts(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The head (mu, tau, factor of the objective), T, eta, nu of y."""
        n, h = self.neurons, self.head
        return y[:h], y[h : h + n], y[h + n : h + 2 * n], y[h + 2 * n :]

    def _curvature(self, head: np.ndarray) -> np.ndarray:
        """mu + tau, one number without a box."""
        mu = 1.0 if self.radius else (head[0] if self.balls else 0.0)
        tau = head[self.balls : self.balls + self.boxes]
        return tau + mu if self.boxes else np.full(1, mu)

    def _coefficients(self, t: np.ndarray, eta: np.ndarray, nu: np.ndarray) -> _Coefficients:
        split = self.place.chain.split
        lin_v = self.sigma * (eta * self.left + nu * self.right)
        return _Coefficients(
            split(t * (self.left * self.right)),
            split(-t * (self.left + self.right)),
            split(t),
            split(lin_v),
            split(-self.sigma * (eta + nu)),
        )

    def factored(self, y: np.ndarray) -> "tuple[Any, list[np.ndarray], float] | None":
        """M's factor, the linear half f without the objective, the constant without it."""
        head, t, eta, nu = self.parts(y)
        place, chain = self.place, self.place.chain
        c = self._coefficients(t, eta, nu)
        curvature = self._curvature(head)
        factor: Any = (_sparse_factor if chain.sparse else _Factor)(place, curvature, c)
        if not factor.ok:
            return None
        f, constant = [np.zeros(chain.weights[0].shape[1])], 0.0
        for k in range(chain.hidden):
            v, w = place.offsets[k], chain.weights[k]
            pull = c.a[k] * v + 0.5 * c.lin_v[k]
            f[k] = f[k] + w.T @ pull
            f.append(0.5 * (c.b[k] * v + c.lin_w[k]))
            constant += float((c.a[k] * v + c.lin_v[k]) @ v)
            room = (
                _LESS * c.c[k] * place.outcomes[k]
            )  # taken off around the anchor, where w is near its place
            f[k + 1] = f[k + 1] + room
            constant -= float(room @ place.outcomes[k])
        if self.balls:
            assert place.eps is not None
            constant -= head[0] * place.eps**2
        if place.low is not None and place.high is not None:
            tau = head[self.balls : self.balls + self.boxes]
            f[0] = f[0] - 0.5 * tau * (place.low + place.high)
            constant += float(tau @ (place.low * place.high))
        return factor, f, constant

    def evaluate(self, y: np.ndarray) -> DualValue:
        """s(y) and its gradient for the objective."""
        self.evaluations += 1
        found = self._minimised(y, y[self.head - 1] if self.radius else 1.0)
        if found is None:
            return DualValue(-np.inf)
        _, value, z = found
        return DualValue(value, self._gradient(z)) if np.isfinite(value) else DualValue(-np.inf)

    def _minimised(self, y: np.ndarray, weight: float) -> "tuple[np.ndarray, float, list[np.ndarray]] | None":
        """y with its penalties and lines, s(y) for `weight` times the objective, and the minimiser."""
        y = self._penalised(y)
        found = self.factored(y)
        if found is None:
            return None
        factor, f, constant = found
        if weight:
            f[-1] = f[-1] + 0.5 * weight * self.row
        constant += weight * self.offset
        z = factor.solve([-b for b in f])
        value = constant + sum(float(a @ b) for a, b in zip(f, z, strict=True))
        if not self.linear.size:
            return y, value, z
        line = np.zeros(self.neurons)
        penalty = 2.0 * self.parts(y)[1][self.linear]
        for _ in range(_STEPS):
            step = np.zeros(self.neurons)
            step[self.linear] = penalty * (np.concatenate(z[1:]) - self._preactivations(z))[self.linear]
            line += step
            for k, own in enumerate(self.place.chain.split(step)):
                f[k] = f[k] - 0.5 * (self.place.chain.weights[k].T @ own)
                f[k + 1] = f[k + 1] + 0.5 * own
                constant -= float(own @ self.place.offsets[k])
            z = factor.solve([-b for b in f])
            before, value = value, constant + sum(float(a @ b) for a, b in zip(f, z, strict=True))
            if not value - before > 1e-10 * abs(value):
                break
        self.parts(y)[2][self.linear] -= line[self.linear]
        return y, value, z

    def filled(self, y: np.ndarray, *, objective: bool = True) -> np.ndarray:
        """y with penalties and lines, the best for the objective, or for the terms without one."""
        if not self.linear.size:
            return y
        weight = (y[self.head - 1] if self.radius else 1.0) if objective else 0.0
        found = self._minimised(y, float(weight))
        return self._penalised(y) if found is None else found[0]

    def _penalised(self, y: np.ndarray) -> np.ndarray:
        """y with P in the place of T and no lines for neurons without a nonlinearity."""
        if not self.linear.size:
            return y
        y = y.copy()
        head, t, eta, nu = self.parts(y)
        t[self.linear] = eta[self.linear] = nu[self.linear] = 0.0
        chain = self.place.chain
        own, squares = chain.split(t), chain.squares
        lines = chain.split(chain.linear)
        asked: list[np.ndarray] = [np.zeros(0)] * chain.hidden
        for k in range(chain.hidden - 1, -1, -1):
            read = squares[k + 1].T @ asked[k + 1] if k + 1 < chain.hidden else np.zeros(own[k].size)
            asked[k] = np.where(lines[k], read, own[k])
        with np.errstate(divide="ignore"):
            give = np.broadcast_to(1.0 / self._curvature(head), chain.weights[0].shape[1:])
            for k in range(chain.hidden):
                give = np.where(lines[k], squares[k] @ give, 1.0 / own[k])
                asked[k] = np.maximum(asked[k], np.where(give > 0.0, 1.0 / give, 1.0))
        t[self.linear] = _PENALTY * np.concatenate(asked)[self.linear]
        return y

    def _preactivations(self, z: list[np.ndarray]) -> np.ndarray:
        chain = self.place.chain
        return np.concatenate([chain.weights[k] @ z[k] + self.place.offsets[k] for k in range(chain.hidden)])

    def _gradient(self, z: list[np.ndarray]) -> np.ndarray:
        place, d = self.place, z[0]
        parts = []
        if self.balls:
            assert place.eps is not None
            parts.append(np.array([d @ d - place.eps**2]))
        if place.low is not None and place.high is not None:
            parts.append(-(d - place.low) * (place.high - d))
        if self.radius:
            parts.append(np.array([self.offset + self.row @ z[-1]]))
        w = np.concatenate(z[1:])
        v = self._preactivations(z)
        p, q = w - self.left * v, w - self.right * v
        p[self.linear] = q[self.linear] = 0.0
        return np.concatenate([*parts, p * q, -self.sigma * p, -self.sigma * q])

    def squares_of_rows(
        self, y: np.ndarray, rows: np.ndarray, offsets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """For radii: the largest r^2 for other rows (R, m) with the multipliers of y, and their factors.

        r^2 = t (q0 - q'M^-1 b) - t^2 alpha - beta at t = (q0 - q'M^-1 b) / (2 alpha).
        """
        found = self._row_forms(y, rows, offsets)
        if found is None:
            return np.full(len(rows), -np.inf), np.ones(len(rows))
        alpha, beta, linear = found
        factors = np.maximum(linear, 1e-300) / np.maximum(2.0 * alpha, 1e-300)
        return factors * (linear - factors * alpha) - beta, factors

    def _row_forms(
        self, y: np.ndarray, rows: np.ndarray, offsets: np.ndarray
    ) -> tuple[np.ndarray, float, np.ndarray] | None:
        """q'M^-1 q / 4, b'M^-1 b - constant (at least what rounding makes of it), q0 - q'M^-1 b per row."""
        found = self.factored(y)
        if found is None:
            return None
        factor, f, constant = found
        chain = self.place.chain
        q = chain.weights[-1].T @ rows.T
        rhs = [np.zeros((b.size, len(rows) + 1)) for b in f]
        for block, b in zip(rhs, f, strict=True):
            block[:, -1] = b
        rhs[-1][:, :-1] = q
        z = factor.solve(rhs)
        alpha = 0.25 * (q * z[-1][:, :-1]).sum(axis=0)
        parts = [float(b @ s[:, -1]) for b, s in zip(f, z, strict=True)]
        # far from 0 the rounding of large terms is all that is left of it
        beta = max(sum(parts) - constant, 2.0**-46 * sum(map(abs, parts)))
        return alpha, beta, offsets + rows @ chain.biases[-1] - q.T @ z[-1][:, -1]

    def scaled_rows(
        self, y: np.ndarray, rows: np.ndarray, offsets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Best bounds of other rows (R, m) with multipliers t y, and 1/t per row; -inf, 1 where none.

        s = q0 - q'M^-1 b - 2 sqrt(alpha beta) at t = sqrt(alpha / beta), alpha = q'M^-1 q / 4,
        beta = b'M^-1 b - constant > 0.
        """
        found = self._row_forms(y, rows, offsets)
        if found is None or not (np.isfinite(found[1]) and found[1] > 0.0):
            return np.full(len(rows), -np.inf), np.ones(len(rows))
        alpha, beta, linear = found
        return linear - 2.0 * np.sqrt(alpha * beta), np.sqrt(beta / np.maximum(alpha, 1e-300))
