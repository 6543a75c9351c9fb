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

from ._dual_factor import LESS, Coefficients, DualFactor, sparse_factor
from ._problem import AnchoredChain

__all__ = ["DualValue", "MarginDual"]

_PENALTY = 2.0**10  # what is asked of e costs this share of itself, and roundings are this much larger
_STEPS = 4  # multiplier steps at most


@dataclasses.dataclass(frozen=True, eq=False)
class DualValue:
    """s(y) and its gradient; -inf and None where M is not positive definite."""

    value: float
    gradient: np.ndarray | None = None


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

    def _coefficients(self, t: np.ndarray, eta: np.ndarray, nu: np.ndarray) -> Coefficients:
        split = self.place.chain.split
        lin_v = self.sigma * (eta * self.left + nu * self.right)
        return Coefficients(
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
        factor: Any = (sparse_factor if chain.sparse else DualFactor)(place, curvature, c)
        if not factor.ok:
            return None
        f, constant = [np.zeros(chain.weights[0].shape[1])], 0.0
        for k in range(chain.hidden):
            v, w = place.offsets[k], chain.weights[k]
            pull = c.a[k] * v + 0.5 * c.lin_v[k]
            f[k] = f[k] + w.T @ pull
            f.append(0.5 * (c.b[k] * v + c.lin_w[k]))
            constant += float((c.a[k] * v + c.lin_v[k]) @ v)
            room = LESS * c.c[k] * place.outcomes[k]  # taken off around the anchor, where w is near its place
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
