"""The cones of the convex programs of shallow nets, as their own interior point method needs them.

A slack s(x), affine in x, lies in a cone with barrier F; z is its multiplier. With the scaling point w
of (s, z), F''(w) s = z, the Nesterov-Todd direction to the complementarity sigma mu is

    dz + F''(w) ds = -z - sigma mu F'(s) - (second-order term)            (Nesterov, Todd 1997; Mehrotra 1992)

Every cone here has its F''(w) assembled from the structure of the program: no matrix of the constraints
is ever formed. Variables are x = (vec V, the rest), V (n, width).
"""

import abc
from typing import Any

import numpy as np
import scipy.linalg

from ..._arrays import array_module

__all__ = ["AbstractUnitCone", "ArrowCone", "NormCones", "PatternCone"]


class AbstractUnitCone(abc.ABC):
    """One cone, or a product of equal ones; `rescale` makes the scaling that the methods after it use."""

    degree: int

    @abc.abstractmethod
    def slack(self, x: np.ndarray) -> np.ndarray:
        """s(x)."""

    def start(self, x: np.ndarray) -> np.ndarray:
        """A slack to begin with; inside where x is."""
        return self.slack(x)

    @abc.abstractmethod
    def adjoint(self, z: np.ndarray) -> np.ndarray:
        """The gradient of <z, s(x)> in x."""

    @abc.abstractmethod
    def pushed(self, s: np.ndarray) -> np.ndarray:
        """-F'(s): the multiplier of s on the central path for mu = 1; NaN where s is not inside."""

    @abc.abstractmethod
    def rescale(self, s: np.ndarray, z: np.ndarray) -> bool:
        """Take the scaling of (s, z); False where either is not interior."""

    @abc.abstractmethod
    def weigh(self, ds: np.ndarray) -> np.ndarray:
        """F''(w) ds."""

    @abc.abstractmethod
    def add_hessian(self, K: np.ndarray) -> None:
        """K += s* F''(w) s, the Hessian of the scaled barrier in x (both triangles)."""

    @abc.abstractmethod
    def reach(self, ds: np.ndarray, dz: np.ndarray) -> float:
        """The largest step that keeps s + t ds and z + t dz in the cone."""

    def corrector(self, ds: np.ndarray, dz: np.ndarray) -> Any:
        """The second-order term of Mehrotra's corrector; 0 where a cone does without."""
        return 0.0


class PatternCone(AbstractUnitCone):
    """(2 D_ji - 1) x_i'v_j >= 0 for the rows X (N, width) and all n units; s and z are (n, N)."""

    def __init__(self, X: np.ndarray, patterns: np.ndarray, variables: int) -> None:
        self.X, self.signs, self.variables = X, np.where(patterns, 1.0, -1.0), variables
        self.degree = patterns.size

    def slack(self, x: np.ndarray) -> np.ndarray:
        n, width = len(self.signs), self.X.shape[1]
        return self.signs * (x[: n * width].reshape(n, width) @ self.X.T)

    def start(self, x: np.ndarray) -> np.ndarray:
        """Rows at or beyond their border start a little inside, apart from s(x)."""
        s = self.slack(x)
        return np.maximum(s, 0.5 * np.abs(s).mean() + 1e-12)

    def adjoint(self, z: np.ndarray) -> np.ndarray:
        result = np.zeros(self.variables)
        g = (self.signs * z) @ self.X
        result[: g.size] = g.ravel()
        return result

    def pushed(self, s: np.ndarray) -> np.ndarray:
        return 1.0 / s

    def rescale(self, s: np.ndarray, z: np.ndarray) -> bool:
        self.s, self.z = s, z
        self.ratio = z / s
        return bool((s > 0).all() and (z > 0).all())

    def weigh(self, ds: np.ndarray) -> np.ndarray:
        return self.ratio * ds

    def add_hessian(self, K: np.ndarray) -> None:
        width = self.X.shape[1]
        for j, weights in enumerate(self.ratio):
            here = slice(j * width, (j + 1) * width)
            K[here, here] += (self.X.T * weights) @ self.X

    def reach(self, ds: np.ndarray, dz: np.ndarray) -> float:
        worst = max(float((-ds / self.s).max(initial=0.0)), float((-dz / self.z).max(initial=0.0)))
        return 1.0 / worst if worst > 0 else np.inf

    def corrector(self, ds: np.ndarray, dz: np.ndarray) -> np.ndarray:
        return ds * dz / self.s


class NormCones(AbstractUnitCone):
    """||v_j|| <= tau_j for the n units; x = (vec V, tau), s and z (n, 1 + width) with tau first."""

    def __init__(self, units: int, width: int) -> None:
        self.n, self.width, self.degree = units, width, units

    def slack(self, x: np.ndarray) -> np.ndarray:
        split = self.n * self.width
        return np.column_stack([x[split:], x[:split].reshape(self.n, self.width)])

    def adjoint(self, z: np.ndarray) -> np.ndarray:
        return np.concatenate([z[:, 1:].ravel(), z[:, 0]])

    def pushed(self, s: np.ndarray) -> np.ndarray:
        return _mirrored(s) / _lorentz(s, s)[:, None]

    def rescale(self, s: np.ndarray, z: np.ndarray) -> bool:
        ss, zz = _lorentz(s, s), _lorentz(z, z)
        if not ((ss > 0).all() and (zz > 0).all() and (s[:, 0] > 0).all() and (z[:, 0] > 0).all()):
            return False
        self.s, self.z, self.size = s, z, np.sqrt(zz / ss)  # 1 / eta^2
        unit_s, unit_z = s / np.sqrt(ss)[:, None], z / np.sqrt(zz)[:, None]
        gamma = np.sqrt(0.5 * (1.0 + (unit_s * unit_z).sum(axis=1)))
        self.w = _mirrored(unit_s + _mirrored(unit_z)) / (2.0 * gamma)[:, None]  # J w
        return True

    def weigh(self, ds: np.ndarray) -> np.ndarray:
        through = (self.w * ds).sum(axis=1, keepdims=True)
        return self.size[:, None] * (2.0 * self.w * through - _mirrored(ds))

    def add_hessian(self, K: np.ndarray) -> None:
        blocks = 2.0 * self.w[:, :, None] * self.w[:, None, :]
        blocks -= np.diag(_mirrored(np.ones((1, 1 + self.width)))[0])
        blocks *= self.size[:, None, None]
        for j, block in enumerate(blocks):
            at = np.concatenate([[self.n * self.width + j], j * self.width + np.arange(self.width)])
            K[np.ix_(at, at)] += block

    def reach(self, ds: np.ndarray, dz: np.ndarray) -> float:
        return min(_exit(self.s, ds), _exit(self.z, dz))


class ArrowCone(AbstractUnitCone):
    """The Lipschitz matrix inequality, with heads of orders h and k around the n units:

        [[rho I_h, A', 0], [A, 2P, B], [0, B', I_k]] >= 0,        P = diag(p).

    "weights" (the hidden layer varies): A = V~, the first h columns of V, and B = P S with S (n, k) fixed;
    "outer" (the output layer varies): A = P S with S (n, h) fixed, and B = V (n, k).
    x = (vec V, rho, p); with `p` given, (vec V, rho).
    """

    def __init__(
        self,
        S: np.ndarray,
        heads: tuple[int, int],
        width: int,
        p: np.ndarray | None = None,
        outer: bool = False,
    ) -> None:
        self.n, self.width, self.p, (h, k) = len(S), width, p, heads
        self.degree = h + self.n + k
        self.rho = slice(0, h)
        self.units = slice(h, h + self.n)
        self.varying = slice(h + self.n, self.degree) if outer else slice(0, h)
        self.head = k if outer else h
        self.Q = np.zeros((self.degree, self.n))  # d/dp_j is e_j q_j' + q_j e_j'
        self.Q[self.units] = np.eye(self.n)
        self.Q[slice(0, h) if outer else slice(h + self.n, self.degree)] = S.T
        self.is_rho = np.arange(self.degree) < h
        self.ones = np.where(np.arange(self.degree) >= h + self.n, 1.0, 0.0)

    def _parts(self, x: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        split = self.n * self.width
        V = x[:split].reshape(self.n, self.width)[:, : self.head]
        return V, float(x[split]), x[split + 1 :] if self.p is None else self.p

    def slack(self, x: np.ndarray) -> np.ndarray:
        V, rho, p = self._parts(x)
        M = np.zeros((self.degree, self.degree))
        M[self.units] = (self.Q * p).T
        M[self.units, self.varying] += V
        M += M.T
        M.flat[:: self.degree + 1] += np.where(self.is_rho, rho, self.ones)
        return M

    def adjoint(self, z: np.ndarray) -> np.ndarray:
        V = np.zeros((self.n, self.width))
        V[:, : self.head] = 2.0 * z[self.units, self.varying]
        parts = [V.ravel(), np.array([np.trace(z[self.rho, self.rho])])]
        if self.p is None:
            parts.append(2.0 * (z[self.units].T * self.Q).sum(axis=0))
        return np.concatenate(parts)

    def pushed(self, s: np.ndarray) -> np.ndarray:
        factor = array_module().cholesky(s)
        if factor is None:
            return np.full(s.shape, np.nan)
        return np.asarray(array_module().inverse_from_cholesky(factor))

    def rescale(self, s: np.ndarray, z: np.ndarray) -> bool:
        left, right = (array_module().cholesky(m) for m in (s, z))
        if left is None or right is None:
            return False
        u, self.values, vt = scipy.linalg.svd(right.T @ left)  # R's R = L V l^-1/2 makes both diag(l)
        root = np.sqrt(self.values)
        self.forward = (left @ vt.T) / root  # s = R diag(l) R'
        self.back = (u / root).T @ right.T  # R^-1, and z = R^-T diag(l) R^-1
        self.inverse = self.back.T @ self.back  # W^-1
        return True

    def weigh(self, ds: np.ndarray) -> np.ndarray:
        return np.asarray(self.inverse @ ds @ self.inverse)

    def add_hessian(self, K: np.ndarray) -> None:
        n, width, W, (U, H) = self.n, self.width, self.inverse, (self.units, self.varying)
        split = n * width
        HU, HH = np.zeros((width, n)), np.zeros((width, width))  # a bias beside the head has zeros
        HU[: self.head], HH[: self.head, : self.head] = W[H, U], W[H, H]
        tiles, repeats = np.tile(2.0 * HH, n), np.repeat(2.0 * HU, width, axis=1)
        for j in range(
            n
        ):  # rows (j, .) of 2 (W_jj' W_kk' + W_jk' W_kj'): long rows, where einsum has short ones
            rows = K[j * width : (j + 1) * width, :split]
            rows += np.repeat(W[U.start + j, U], width) * tiles
            rows += np.tile(HU[:, j], n) * repeats
        C = W[:, self.rho]
        V_rho = np.zeros((n, width))
        V_rho[:, : self.head] = 2.0 * C[U] @ C[H].T
        K[split, split] += (C[self.rho] ** 2).sum()
        columns = [(slice(split, split + 1), V_rho.reshape(-1, 1))]
        if self.p is None:
            WQ, ps = W @ self.Q, slice(split + 1, split + 1 + n)
            V_p = np.zeros((n, width, n))
            V_p[:, : self.head] = 2.0 * W[U, U][:, None, :] * WQ[H][None]
            V_p[:, : self.head] += 2.0 * WQ[U][:, None, :] * W[H, U][None]
            columns.append((ps, V_p.reshape(split, n)))
            p_rho = 2.0 * ((C @ C[U].T) * self.Q).sum(axis=0)
            K[ps, ps] += 2.0 * (W[U, U] * (self.Q.T @ WQ) + WQ[U] * WQ[U].T)
            K[ps, split] += p_rho
            K[split, ps] += p_rho
        for at, values in columns:
            K[:split, at] += values
            K[at, :split] += values.T

    def reach(self, ds: np.ndarray, dz: np.ndarray) -> float:
        root = np.sqrt(self.values)
        worst = 0.0
        for scaled in (self.back @ ds @ self.back.T, self.forward.T @ dz @ self.forward):
            worst = max(worst, -float(scipy.linalg.eigvalsh(scaled / np.outer(root, root))[0]))
        return 1.0 / worst if worst > 0 else np.inf

    def corrector(self, ds: np.ndarray, dz: np.ndarray) -> np.ndarray:
        product = (self.back @ ds @ self.back.T) @ (self.forward.T @ dz @ self.forward)
        scaled = (product + product.T) / (self.values[:, None] + self.values)
        return np.asarray(self.back.T @ scaled @ self.back)


def _mirrored(x: np.ndarray) -> np.ndarray:
    """J x: the vector part with its sign changed."""
    return np.concatenate([x[:, :1], -x[:, 1:]], axis=1)


def _lorentz(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a'J b, row by row."""
    return a[:, 0] * b[:, 0] - (a[:, 1:] * b[:, 1:]).sum(axis=1)


def _exit(x: np.ndarray, dx: np.ndarray) -> float:
    """The largest t with all rows of x + t dx in their cones, a root of (x + t dx)'J(x + t dx) = 0."""
    a, b, c = _lorentz(dx, dx), _lorentz(x, dx), _lorentz(x, x)
    root = np.sqrt(np.maximum(b * b - a * c, 0.0))
    leaves = (b * b >= a * c) & ((a < 0) | (b < 0))
    # c / (root - b) is the smaller positive root where there is one, without cancellation
    return float((c[leaves] / np.maximum(root - b, 1e-300)[leaves]).min(initial=np.inf))
