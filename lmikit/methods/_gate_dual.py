"""The dual of LipSDP in factored form: an ascent over vector-valued gates by matrix products alone.

For min rho over T >= 0 with rho E_0'E_0 - Y'Y + sum_a T_a A_a >= 0, where A_a is the form
|w|^2 - 2 c v w + alpha beta |v|^2 of neuron a with input v and output w, c = (alpha + beta)/2, the dual is

    max <Y'Y, X>  subject to  X >= 0,  <E_0'E_0, X> = 1,  <A_a, X> <= 0.

Write X = V V' with R columns (Burer and Monteiro, Math. Programming 2003). Row a of V is a vector w_a, its
input is the vector u_a = (W V)_a, and <A_a, X> <= 0 says |w_a - c u_a| <= r |u_a|, r = (beta - alpha)/2.
So with |V_0|_F = 1 and unit vectors s_a, the gates,

    w_a = c_a u_a + r_a |u_a| s_a   gives a feasible X and   |Y V_L|_F^2 <= rho*,

a smooth function of V_0 and all s_a: one forward pass with R columns, and one backward pass for its
derivatives g_a with respect to w_a. Where every s_a points along g_a, and V_0 along its derivative, the
multipliers T_a = |g_a| / (2 r_a |u_a|) satisfy (rho E_0'E_0 - Y'Y + sum T_a A_a) V = 0, one half of the
conditions for an optimum; whether that matrix is positive semidefinite is for a factorisation to find out.

s_a <- g_a/|g_a|, V_0 <- g_0/|g_0| is a fixed-point iteration (compare the mixing method of Wang, Chang and
Kolter, arXiv 1706.00476). Anderson's mixing of its last iterates (J. ACM 1965) brings it to the optimum in
some hundred passes. A pass reads each W twice: O(R sum n_k n_{k-1}).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays import ArrayModule
from ._gates import FRESH, MIXED, REGULAR, RELATIVE_FLOOR, ROUNDING, SHORTEST, TINY, AbstractGates, GatePoint

__all__ = ["GateAscent", "GateChain"]

_PLAIN = 10  # steps before the first mixed one


class GateChain(AbstractGates):
    """A chain on the device of an array module; gates of all neurons are one array of (n_0 + N, R)."""

    def __init__(
        self,
        am: ArrayModule,
        weights: Sequence[np.ndarray],
        centre: Sequence[np.ndarray],
        radius: Sequence[np.ndarray],
    ) -> None:
        self.am = am
        self.weights = [am.asarray(w) for w in weights]
        self._centre = [am.asarray(c)[:, None] for c in centre]
        self._radius = [am.asarray(r)[:, None] for r in radius]
        ends = np.cumsum([weights[0].shape[1], *(w.shape[0] for w in weights[:-1])])
        self._rows = [slice(int(a), int(b)) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        self.size = int(ends[-1])

    def unit(self, x: Any) -> Any:
        """Rows of length 1, those of the input together."""
        norms = self._lengths(x)
        norms[self._rows[0]] = _norm(self.am.xp, x[self._rows[0]])
        return x / self.am.xp.maximum(norms, TINY)

    def values(self, x: Any) -> list[Any]:
        """The columns V of the point x by layers, the input first."""
        return self._forward(x)[1]

    def gates(self, values: Sequence[Any]) -> Any:
        """The gates nearest to columns V that need not satisfy the constraints: s along w - c u."""
        rest = [values[0]]
        for k, w in enumerate(values[1:]):
            rest.append(w - self._centre[k] * self.am.product(self.weights[k], values[k]))
        return self.unit(self.am.xp.concatenate(rest))

    def at(self, x: Any) -> GatePoint:
        """Value and image of the point x."""
        u, _, lengths, y = self._forward(x)
        value = float((y * y).sum())
        image = self.am.xp.empty_like(x)
        gradients, first = self._backward(x, u, lengths, y)
        for rows, g in zip(self._rows[1:], gradients, strict=True):
            size = self._lengths(g)
            # a gate that nothing depends on stays where it is
            image[rows] = self.am.xp.where(size > 0.0, g / self.am.xp.maximum(size, TINY), x[rows])
        image[self._rows[0]] = first / max(_norm(self.am.xp, first), TINY)
        return GatePoint(x, value, image)

    def inverse_multipliers(self, x: Any, floors: Sequence[np.ndarray]) -> list[np.ndarray]:
        """d_a = rho / T_a = 2 rho r_a |u_a| / |g_a| of the point, r_a not below `floors`, in host memory.

        |u_a| and |g_a| are kept away from 0, where rounding or a point of low rank decides about them.
        """
        am = self.am
        u, values, lengths, y = self._forward(x)
        value = float((y * y).sum())
        gradients, _ = self._backward(x, u, lengths, y)
        pulled = self._pulls(x, u, lengths, gradients)
        result = []
        for k, (length, g, floor) in enumerate(zip(lengths, gradients, floors, strict=True)):
            least_u = self._spread(self.weights[k], values[k])
            behind = pulled[k + 1] if k + 1 < len(pulled) else 2.0 * y
            least_g = self._spread(self.weights[k + 1].T, behind)
            size_u = am.xp.maximum(length, RELATIVE_FLOOR * least_u)
            size_g = am.xp.maximum(self._lengths(g), RELATIVE_FLOOR * least_g)
            radius = am.xp.maximum(self._radius[k], am.asarray(floor)[:, None])
            d = 2.0 * value * radius * size_u / am.xp.maximum(size_g, TINY)
            result.append(am.to_numpy(d)[:, 0])
        return result

    def _forward(self, x: Any) -> tuple[list[Any], list[Any], list[Any], Any]:
        """(u_k, w_k from the input on, |u_k|, Y w_L)."""
        u, values, lengths = [], [x[self._rows[0]]], []
        for k, rows in enumerate(self._rows[1:]):
            u.append(self.am.product(self.weights[k], values[-1]))
            lengths.append(self._lengths(u[-1]))
            values.append(self._centre[k] * u[-1] + (self._radius[k] * lengths[-1]) * x[rows])
        return u, values, lengths, self.am.product(self.weights[-1], values[-1])

    def _backward(self, x: Any, u: list[Any], lengths: list[Any], y: Any) -> tuple[list[Any], Any]:
        """(derivatives with respect to w_k, that with respect to V_0)."""
        g = self.am.product(self.weights[-1].T, 2.0 * y)
        gradients = [g]
        for k in range(len(u) - 1, -1, -1):
            pulled = self._pulled(k, x, u[k], lengths[k], g)
            g = self.am.product(self.weights[k].T, pulled)
            gradients.append(g)
        gradients.reverse()
        return gradients[1:], gradients[0]

    def _pulled(self, k: int, x: Any, u: Any, length: Any, g: Any) -> Any:
        """The derivative with respect to u_k: c g + r (g's) u/|u|."""
        along = (g * x[self._rows[k + 1]]).sum(axis=1)[:, None]
        return self._centre[k] * g + (self._radius[k] * along / self.am.xp.maximum(length, TINY)) * u

    def _pulls(self, x: Any, u: list[Any], lengths: list[Any], gradients: list[Any]) -> list[Any]:
        return [self._pulled(k, x, *parts) for k, parts in enumerate(zip(u, lengths, gradients, strict=True))]

    def _lengths(self, x: Any) -> Any:
        return self.am.xp.sqrt((x * x).sum(axis=1))[:, None]

    def _spread(self, w: Any, x: Any) -> Any:
        """Lengths of the rows of W x if the rows of x were orthogonal to each other."""
        return self.am.xp.sqrt(self.am.product(w * w, (x * x).sum(axis=1)[:, None]))


class GateAscent:
    """Anderson's mixing on s <- g/|g|; `point` is the last iterate, whose value never falls."""

    def __init__(self, chain: AbstractGates, rank: int, seed: int = 0) -> None:
        self._chain, self._rng = chain, np.random.default_rng(seed)
        self.point = chain.at(chain.random(rank, self._rng))
        self._before: tuple[Any, Any] | None = None  # the residual and the image of the point before
        self._forget()

    @property
    def rank(self) -> int:
        return int(self.point.x.shape[1])

    def step(self) -> None:
        """One iterate; a mixed one of lower value is replaced by the plain one."""
        residual = self.point.image - self.point.x
        if self._before is not None:
            slot = self._count % MIXED
            self._residuals[slot] = (residual - self._before[0]).ravel()
            self._images[slot] = (self.point.image - self._before[1]).ravel()
            self._count += 1
            self._update_gram(slot)
        self._before = (residual, self.point.image)
        self._steps += 1
        if self._count >= 2 and self._steps > _PLAIN and np.trace(self._gram) > 0.0:
            trial = self._chain.at(self._chain.unit(self._mixed(residual)))
            if trial.value >= self.point.value:
                self.point = trial
                return
            self._forget()
        self._plain(residual)

    def offer(self, point: GatePoint) -> None:
        """Goes on from `point`, of any rank, if its value is higher."""
        if point.value > self.point.value:
            self.point = point
            self._forget()

    def _plain(self, residual: Any) -> None:
        """The image itself, or a point on the way to it, along which the value rises at first."""
        start, share = self.point, 1.0
        self.point = self._chain.at(start.image)
        while self.point.value < start.value * (1.0 - ROUNDING) and share > SHORTEST:
            share *= 0.5
            self.point = self._chain.at(self._chain.unit(start.x + share * residual))

    def widen(self, rank: int) -> None:
        """More columns, small and random, so that a point that is stationary at its rank can go on."""
        xp, old = self._chain.am.xp, self.point.x
        fresh = self._chain.random(rank - self.rank, self._rng)
        x = self._chain.unit(xp.concatenate([old, FRESH * fresh], axis=1))
        self.point = self._chain.at(x)
        self._forget()

    def _mixed(self, residual: Any) -> Any:
        """image - sum_j gamma_j (differences of images), gamma least squares on those of residuals."""
        am, used = self._chain.am, min(self._count, MIXED)
        rows = self._residuals[:used]
        right = am.to_numpy(am.product(rows, residual.ravel()[:, None]))[:, 0]
        gram = self._gram[:used, :used]
        gamma = np.linalg.solve(gram + REGULAR * np.trace(gram) * np.eye(used), right)
        change = am.product(am.asarray(gamma)[None, :], self._images[:used])
        return self.point.image - change.reshape(residual.shape)

    def _update_gram(self, slot: int) -> None:
        am, used = self._chain.am, min(self._count, MIXED)
        products = am.product(self._residuals[:used], self._residuals[slot][:, None])
        row = am.to_numpy(products)[:, 0]
        self._gram[slot, :used] = row
        self._gram[:used, slot] = row

    def _forget(self) -> None:
        xp, shape = self._chain.am.xp, self.point.x.shape
        self._residuals = xp.zeros((MIXED, shape[0] * shape[1]))
        self._images = xp.zeros((MIXED, shape[0] * shape[1]))
        self._gram = np.zeros((MIXED, MIXED))
        self._count, self._steps = 0, 0
        self._before = None


def _norm(xp: Any, x: Any) -> float:
    return float(xp.sqrt((x * x).sum()))
