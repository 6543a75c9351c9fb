"""The orthant and second-order cones with their Nesterov-Todd scalings (laws and sources in `_cone`)."""

import numpy as np
import scipy.sparse as sp

from ..._arrays import array_module
from ._cone import AbstractCone

__all__ = ["Orthant", "SecondOrder"]

_SMALL = 100_000  # numbers of a dense copy, up to which calls cost more than zeros do


class Orthant(AbstractCone):
    """x >= 0 (p,): W is diagonal."""

    def __init__(self, F: sp.csr_array, F0: np.ndarray) -> None:
        self.F0, self.degree = F0, float(F0.size)
        small = F.shape[0] * F.shape[1] <= _SMALL
        self.F = F
        self.map = F.toarray() if small else F
        self.turned = np.ascontiguousarray(self.map.T) if small else sp.csr_array(F.T)
        self.absolute = abs(self.map)
        if isinstance(self.absolute, np.ndarray):
            self.norms = np.linalg.norm(self.absolute, axis=0)
            self.largest = self.absolute.max(axis=1, initial=0.0)
        else:
            self.norms = np.sqrt(np.asarray(F.multiply(F).sum(axis=0)).ravel())
            self.largest = self.absolute.max(axis=1).toarray().ravel() if F.nnz else np.zeros(F0.size)
        self.w = self.l = np.ones(F0.size)

    def linear(self, y: np.ndarray) -> np.ndarray:
        return np.asarray(self.map @ y)

    def adjoint(self, Z: np.ndarray) -> np.ndarray:
        return np.asarray(self.turned @ Z)

    def relative(self, residual: np.ndarray, y: np.ndarray) -> float:
        scale = np.abs(self.F0) + self.absolute @ np.abs(y)
        scale += np.where(self.F0 == 0, self.largest * np.abs(y).max(initial=0.0), 0.0)
        return float((np.abs(residual) / np.where(scale > 0, scale, 1.0)).max(initial=0.0))

    def identity(self) -> np.ndarray:
        return np.ones(self.F0.size)

    def least(self, x: np.ndarray) -> float:
        return float(x.min(initial=np.inf))

    def rescale(self, S: np.ndarray, Z: np.ndarray) -> bool:
        if not (self.least(S) > 0 and self.least(Z) > 0):
            return False
        self.w, self.l = np.sqrt(S / Z), np.sqrt(S) * np.sqrt(Z)
        return True

    def add_schur(self, M: np.ndarray) -> None:
        if not self.F.nnz:
            return
        if isinstance(self.map, np.ndarray):
            part = self.turned / self.w
            M += part @ part.T
            return
        weighted = sp.csr_array(self.F / self.w[:, None])
        if weighted.nnz > 0.1 * weighted.shape[0] * weighted.shape[1]:
            dense = weighted.toarray()
            M += array_module().product(np.ascontiguousarray(dense.T), dense)
            return
        gram = sp.coo_array(weighted.T @ weighted)
        np.add.at(M, (gram.row, gram.col), gram.data)

    def scaled_slack(self, S: np.ndarray) -> np.ndarray:
        return S / self.w

    def multiplier(self, x: np.ndarray) -> np.ndarray:
        return x / self.w

    def square(self) -> np.ndarray:
        return self.l**2

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a * b

    def divide(self, d: np.ndarray) -> np.ndarray:
        return d / self.l

    def longest(self, a: np.ndarray, b: np.ndarray) -> float:
        least = float((np.minimum(a, b) / self.l).min(initial=np.inf))
        return np.inf if least >= 0 else -1.0 / least


class SecondOrder(AbstractCone):
    """x[0] >= |x[1:]| (k,): W = eta (2 u u' - J), here as the symmetric matrix itself."""

    def __init__(self, C: sp.csc_array, d: np.ndarray) -> None:
        self.F, self.F0, self.degree = sp.csr_array(C), d, 1.0
        self.norms = np.sqrt(np.asarray(C.multiply(C).sum(axis=0)).ravel())
        self.rescale(self.identity(), self.identity())

    def linear(self, y: np.ndarray) -> np.ndarray:
        return np.asarray(self.F @ y)

    def adjoint(self, Z: np.ndarray) -> np.ndarray:
        return np.asarray(self.F.T @ Z)

    def identity(self) -> np.ndarray:
        result = np.zeros(self.F0.size)
        result[0] = 1.0
        return result

    def least(self, x: np.ndarray) -> float:
        return float(x[0] - np.linalg.norm(x[1:]))

    def rescale(self, S: np.ndarray, Z: np.ndarray) -> bool:
        s, z = _determinant(S), _determinant(Z)
        if not (self.least(S) > 0 and self.least(Z) > 0 and s > 0 and z > 0):
            return False
        S, Z = S / np.sqrt(s), Z / np.sqrt(z)
        gamma = np.sqrt(0.5 * (1.0 + S @ Z))
        w = 0.5 / gamma * (S + np.r_[Z[0], -Z[1:]])
        w[0] = np.sqrt(1.0 + w[1:] @ w[1:])  # on the hyperboloid to the last bit
        self.w, self.eta = w, (s / z) ** 0.25
        self.l = self.eta * self._apply(w, Z * np.sqrt(z))
        return True

    def _apply(self, w: np.ndarray, x: np.ndarray) -> np.ndarray:
        """[w0 w1'; w1 I + w1 w1'/(1 + w0)] x, for a vector or the columns of a matrix."""
        inner = w[1:] @ x[1:]
        rest = x[1:] + np.multiply.outer(w[1:], x[0] + inner / (1.0 + w[0]))
        return np.concatenate([(w[0] * x[0] + inner)[None], rest])

    def _inverse(self) -> np.ndarray:
        return np.r_[self.w[0], -self.w[1:]]

    def add_schur(self, M: np.ndarray) -> None:
        used = np.unique(self.F.indices)
        B = self._apply(self._inverse(), self.F.tocsc()[:, used].toarray()) / self.eta
        M[np.ix_(used, used)] += array_module().product(np.ascontiguousarray(B.T), B)

    def scaled_slack(self, S: np.ndarray) -> np.ndarray:
        return self._apply(self._inverse(), S) / self.eta

    def multiplier(self, x: np.ndarray) -> np.ndarray:
        return self.scaled_slack(x)  # W is symmetric

    def square(self) -> np.ndarray:
        return self.product(self.l, self.l)

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.r_[a @ b, a[0] * b[1:] + b[0] * a[1:]]

    def divide(self, d: np.ndarray) -> np.ndarray:
        first = (self.l[0] * d[0] - self.l[1:] @ d[1:]) / _determinant(self.l)
        return np.r_[first, (d[1:] - first * self.l[1:]) / self.l[0]]

    def longest(self, a: np.ndarray, b: np.ndarray) -> float:
        return min(self._longest(a), self._longest(b))

    def _longest(self, d: np.ndarray) -> float:
        """l + t d leaves the cone where (l + t d)'J(l + t d) = 0 first."""
        root = np.sqrt(_determinant(self.l))
        now = self.l / root
        product = (now[0] * d[0] - now[1:] @ d[1:]) / root
        rest = d[1:] / root - (product + d[0] / root) / (1.0 + now[0]) * now[1:]
        speed = float(np.linalg.norm(rest) - product)
        return np.inf if speed <= 0 else 1.0 / speed


def _determinant(x: np.ndarray) -> float:
    length = float(np.linalg.norm(x[1:]))
    return float((x[0] - length) * (x[0] + length))
