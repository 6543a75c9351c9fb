"""The torus LMI of a network with fully connected layers at the end, and its barrier's derivatives.

Every frequency w has its matrix M(w) (`Arms`), and all meet in the head's matrix N_0 (`Root`), because what
the head reads is v_1 = sum of U(w) x(w): a star, linear in the variables y = (T, mu, d), L^2 = d,

    minimise d  s.t.  Z = [[M(w) .., -U(w)'c], [-c U(w) .., N_0]] > 0.

Eliminating the arms leaves N = N_0 - c G c, G = sum of U M^-1 U'. The barrier is

    phi = -log det N - e sum of log det M(w),   0 < e <= 1:

N > 0 alone keeps the arms definite where the head sees them, because G grows beyond bounds at their limits
and is matrix convex; thousands of rows of arms in full weight would only hold the centre far from the
optimum. At a minimum of t d + phi, X = (1/t) (Z^-1 with the arms' own M^-1 in the weight e) is dual feasible,
so that d is within (rows of N + e times those of the arms) / t of the optimum.

With R = Z^-1, K = M^-1, L = K U'c, S = N^-1: R has the blocks L(w) S_11 L(w')' + [w = w'] K(w) and
L(w) S_1., and tr(A_a R A_b R) needs for pairs of different arms only D_a = sum over w of L' A_a L, r x r.
"""

import dataclasses

import numpy as np

from ..._arrays import ArrayModule, array_module
from ._arms import Arms, chunks
from ._model import TorusModel
from ._root import Root
from ._tridiagonal import Array, adjoint

__all__ = ["Barrier", "Star", "Trial"]


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """phi, the least d that the other variables allow, and the eigenvalues of what d has to spare."""

    value: float
    needed: float
    slack: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Barrier:
    """Gradient and Hessian of phi in y."""

    gradient: np.ndarray
    hessian: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class _Inverse:
    """S and its factor, c, G; Z^-1 on (root, v_1)."""

    S: np.ndarray
    half: np.ndarray
    c: np.ndarray
    gram: np.ndarray
    big: np.ndarray


class Star:
    """A point y is an array: T of all channels node by node, mu of all neurons of the head, d; all < caps.

    `share`: rows of the arms by those of N, as e weighs them. `balance`: how log det pulls at log T and log
    mu where a channel receives nothing. `am` holds the arms; the root, one small matrix, is the host's.
    """

    def __init__(
        self,
        model: TorusModel,
        caps: np.ndarray | float = np.inf,
        share: float = 1.0,
        am: ArrayModule | None = None,
    ) -> None:
        self._am = am or array_module()
        self._arms = [Arms(model.at(part), self._am) for part in chunks(model, self._am)]
        self._root = Root(model)
        self.channels = sum(model.form.channels)
        self.size = self.channels + self._root.neurons + 1
        rows = float(model.form.positions * self._arms[0].order)
        self.caps = np.broadcast_to(caps, self.size)
        self._weight = min(1.0, share * self._root.order / rows)
        each = self._weight * model.form.positions * self._arms[0].repeats
        self.balance = np.concatenate([each, np.ones(self._root.neurons)])
        self._cap_weights = np.append(self.balance, 1.0)  # of -log(1 - y / cap)
        self.degree = self._weight * rows + self._root.order + float(self._cap_weights.sum())

    def trial(self, y: np.ndarray) -> Trial | None:
        """None where Z is not positive definite."""
        if not (np.isfinite(y).all() and (y > 0.0).all() and (y < self.caps).all()):
            return None
        T, rest, own = y[: self.channels], y[self.channels :], 0.0
        G = np.zeros((self._root.first, self._root.first))
        try:
            for arms in self._arms:
                inverse = arms.inverse(T)
                if inverse is None:
                    return None
                own += arms.log_det(inverse)
                G += self._host(arms.summed(arms.U @ inverse.times(adjoint(arms.U))))
            lower = np.linalg.cholesky(self._reduced(rest, G))
        except np.linalg.LinAlgError:
            return None
        value = -self._weight * own - float(self._cap_weights @ np.log1p(-y / self.caps))
        value -= 2.0 * float(np.log(np.diagonal(lower)).sum())
        o = self._root.outputs
        slack = np.linalg.svd(lower[-o:, -o:], compute_uv=False) ** 2
        return Trial(value, float(y[-1] - slack[-1]), slack) if np.isfinite(value) else None

    def _host(self, values: Array) -> np.ndarray:
        return self._am.to_numpy(values)

    def _reduced(self, rest: np.ndarray, G: np.ndarray) -> np.ndarray:
        N, c, r = self._root.matrix(rest), self._root.coupling(rest), self._root.first
        N[:r, :r] -= c[:, None] * (0.5 * (G + G.T)) * c
        return N

    def barrier(self, y: np.ndarray) -> Barrier:
        """At a point where Z is positive definite; LinAlgError elsewhere."""
        T, rest, m = y[: self.channels], y[self.channels :], self.channels
        K, KU = [], []
        G = np.zeros((self._root.first, self._root.first))
        for arms in self._arms:
            found = arms.inverse(T)
            if found is None:
                raise np.linalg.LinAlgError("an arm's matrix is not positive definite")
            K.append(found.dense(self._am.xp))
            KU.append(K[-1] @ adjoint(arms.U))
            G += self._host(arms.summed(arms.U @ KU[-1]))
        inverse = self._inverse(rest, 0.5 * (G + G.T))
        g, H = np.zeros(self.size), np.zeros((self.size, self.size))
        D = self._am.xp.zeros((m, self._root.first, self._root.first))
        for arms, own, rows in zip(self._arms, K, KU, strict=True):
            self._add_arms(arms, own, rows, inverse, g, H, D)
        half = self._am.asarray(inverse.half)
        D = (half.T @ D @ half).reshape(m, -1)
        H[:m, :m] += self._host(D @ D.T)
        self._add_root(inverse, g, H)
        H[m:, :m] = H[:m, m:].T
        room = 1.0 / (self.caps - y)
        g += self._cap_weights * room
        H[np.diag_indices(self.size)] += self._cap_weights * room * room
        return Barrier(g, H)

    def _inverse(self, rest: np.ndarray, G: np.ndarray) -> _Inverse:
        c, r = self._root.coupling(rest), self._root.first
        lower = np.linalg.inv(np.linalg.cholesky(self._reduced(rest, G)))
        S = lower.T @ lower
        half = c[:, None] * lower.T[:r]
        side = (S[:, :r] * c) @ G
        big = np.block([[S, side], [side.T, G + G @ (half @ half.T) @ G]])
        return _Inverse(S, half, c, G, big)

    def _add_arms(
        self,
        arms: Arms,
        K: Array,
        KU: Array,
        inverse: _Inverse,
        g: np.ndarray,
        H: np.ndarray,
        D: Array,
    ) -> None:
        """The part of some frequencies: the gradient, the Hessian's rows of T, the sum D."""
        m, root, weight, xp = self.channels, self._root, self._weight, self._am.xp
        p, q = arms.rows(KU)
        D += arms.between(p, q)
        half = self._am.asarray(inverse.half)
        sp, sq = p @ half, q @ half
        low = sp @ adjoint(sp), sp @ adjoint(sq), sq @ adjoint(sq)
        own = arms.forms(K)
        H[:m, :m] += arms.local(own, low, weight)
        seen = xp.einsum("jaa->ja", low[1]) + weight * xp.einsum("jaa->ja", own[1])
        g[:m] -= 2.0 * arms.by_channel(arms.summed(seen))
        # from K U' to the root and to v_1
        to = np.hstack([inverse.c[:, None] * inverse.S[: root.first], np.eye(root.first)])
        to[:, root.order :] += inverse.half @ inverse.half.T @ inverse.gram
        right = self._am.asarray(to @ np.concatenate([root.P, root.Q]).T)
        out = self._am.asarray(to[:, root.neurons : root.order])
        both = (xp.stack([a.real, a.imag]) for a in (p, q))  # (2, J, c, r): the products are of real numbers
        (pr, po), (qr, qo) = ((a @ right, a @ out) for a in both)
        n = root.neurons
        cross = (pr[..., :n] * qr[..., n:] + pr[..., n:] * qr[..., :n]).sum(axis=0)
        H[:m, m:-1] += 2.0 * arms.by_channel(arms.summed(cross))
        H[:m, -1] += 2.0 * arms.by_channel(arms.summed((po * qo).sum(axis=(0, 3))))

    def _add_root(self, inverse: _Inverse, g: np.ndarray, H: np.ndarray) -> None:
        m, root, outputs = self.channels, self._root, slice(self._root.neurons, self._root.order)
        bP, bQ = inverse.big @ root.P.T, inverse.big @ root.Q.T
        pp, pq, qq = root.P @ bP, root.P @ bQ, root.Q @ bQ
        ss = inverse.big[outputs, outputs]
        g[m:-1] = -2.0 * np.diagonal(pq)
        g[-1] = -float(np.trace(ss))
        H[m:-1, m:-1] = 2.0 * (pq * pq.T + qq * pp)
        H[m:-1, -1] = H[-1, m:-1] = 2.0 * (bP[outputs] * bQ[outputs]).sum(axis=0)
        H[-1, -1] = float((ss * ss).sum())
