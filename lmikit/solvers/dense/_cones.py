"""The three kinds of cones with their Nesterov-Todd scalings.

A scaling W of (S, Z) has  W^-T S = W Z = l; the laws below hold for each kind:

    unscaled(x) = W'x,  scaled_slack(S) = W^-T S,  scaled_multiplier(Z) = W Z,  metric(x) = (W'W)^-1 x,

and the Schur complement is M_ij = <F_i, (W'W)^-1 F_j>. Sources: L. Vandenberghe, "The CVXOPT linear
and quadratic cone program solvers", 2010, sections 4 and 5 (scalings, products, steps).
"""

import abc
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from ..._arrays import array_module
from ..._eigen import least_eigenvalue
from ._blocks import Part, part_columns
from ._schur import schur_block

__all__ = ["AbstractCone", "Orthant", "SecondOrder", "Semidefinite"]


class AbstractCone(abc.ABC):
    """One cone K with F(y) + F0 in K; `scale` makes W for a pair of interior points."""

    degree: float
    norms: np.ndarray  # ||F_i|| for each i (m,)
    F0: Any

    @abc.abstractmethod
    def linear(self, y: np.ndarray) -> Any:
        """F(y)."""

    @abc.abstractmethod
    def adjoint(self, Z: Any) -> np.ndarray:
        """F*(Z), shape (m,)."""

    def relative(self, residual: Any, y: np.ndarray) -> float:
        """The size of a residual of F(y) + F0 relative to that of its terms."""
        scale = float(np.linalg.norm(self.F0)) + float(np.abs(y) @ self.norms)
        scale += 0.0 if np.any(self.F0) else float(np.abs(y).max() * self.norms.max())
        return float(np.linalg.norm(residual)) / (scale or 1.0)

    @abc.abstractmethod
    def identity(self) -> Any:
        """e."""

    @abc.abstractmethod
    def least(self, x: Any) -> float:
        """The smallest eigenvalue."""

    @abc.abstractmethod
    def rescale(self, S: Any, Z: Any) -> bool:
        """Take the scaling of (S, Z); False where either is not in the interior."""

    @abc.abstractmethod
    def add_schur(self, M: np.ndarray) -> None:
        """M += F*(W'W)^-1 F."""

    @abc.abstractmethod
    def metric(self, x: Any) -> Any:
        """(W'W)^-1 x."""

    @abc.abstractmethod
    def unscaled(self, x: Any) -> Any:
        """W'x."""

    @abc.abstractmethod
    def scaled_slack(self, S: Any) -> Any:
        """W^-T S."""

    @abc.abstractmethod
    def scaled_multiplier(self, Z: Any) -> Any:
        """W Z."""

    @abc.abstractmethod
    def square(self) -> Any:
        """l o l."""

    @abc.abstractmethod
    def product(self, a: Any, b: Any) -> Any:
        """a o b."""

    @abc.abstractmethod
    def divide(self, d: Any) -> Any:
        """x with l o x = d."""

    @abc.abstractmethod
    def longest(self, d: Any) -> float:
        """sup of t with l + t d in K."""


class Semidefinite(AbstractCone):
    """X PSD of order n: W Z = R'Z R."""

    def __init__(self, part: Part, variables: int) -> None:
        self.part, self.active, self.variables = part, part.active, variables
        self.F0 = part.block.F0.toarray()
        self.degree = float(part.order)
        self.schur = schur_block(part.block, part_columns(part.block))
        columns = self.schur.columns
        squares = (
            (columns**2).sum(axis=1)
            if isinstance(columns, np.ndarray)
            else np.asarray(columns.multiply(columns).sum(axis=1)).ravel()
        )
        self.norms = np.zeros(variables)
        self.norms[self.active] = np.sqrt(squares)
        diagonal = columns[:, :: part.order + 1]
        self.diagonal = np.abs(diagonal if isinstance(diagonal, np.ndarray) else diagonal.toarray())
        self.rescale(self.identity(), self.identity())

    def relative(self, residual: np.ndarray, y: np.ndarray) -> float:
        """Row by row: the residual with the terms of the diagonal scaled to 1."""
        size, constant = np.abs(y[self.active]), np.abs(self.F0.diagonal())
        wide = np.maximum(size, np.abs(y).max(initial=0.0))
        d = np.where(constant > 0, constant + size @ self.diagonal, wide @ self.diagonal)
        d = np.where(d > 0, d, float(d.max(initial=0.0)) or 1.0)
        return float(np.linalg.norm(residual / np.sqrt(d) / np.sqrt(d)[:, None]))

    def linear(self, y: np.ndarray) -> np.ndarray:
        return self.schur.linear(y[self.active])

    def adjoint(self, Z: np.ndarray) -> np.ndarray:
        result = np.zeros(self.variables)
        result[self.active] = self.schur.adjoint(Z)
        return result

    def identity(self) -> np.ndarray:
        return np.eye(self.part.order)

    def least(self, x: np.ndarray) -> float:
        return least_eigenvalue(x)

    def rescale(self, S: np.ndarray, Z: np.ndarray) -> bool:
        am = array_module()
        left, right = am.cholesky(S), am.cholesky(Z)
        if left is None or right is None:
            return False
        U, values, Vt = scipy.linalg.svd(
            am.product(right.T, left), check_finite=False, overwrite_a=True, lapack_driver="gesdd"
        )
        if not values[-1] > 0:
            return False
        root = np.sqrt(values)
        self.R = am.product(left, np.ascontiguousarray(Vt.T)) / root
        self.R_inverse = am.product(np.ascontiguousarray(U.T), np.ascontiguousarray(right.T)) / root[:, None]
        V = am.product(np.ascontiguousarray(self.R_inverse.T), self.R_inverse)
        self.V, self.l = 0.5 * (V + V.T), values
        return True

    def add_schur(self, M: np.ndarray) -> None:
        part = self.schur.matrix(self.V, self.R_inverse)
        if self.active.size == M.shape[0]:
            M += part
        else:
            M[np.ix_(self.active, self.active)] += part

    def metric(self, x: np.ndarray) -> np.ndarray:
        # not V x V: the factors keep small eigenvalues accurate
        return _congruence(np.ascontiguousarray(self.R_inverse.T), _congruence(self.R_inverse, x))

    def unscaled(self, x: np.ndarray) -> np.ndarray:
        return _congruence(self.R, x)

    def scaled_slack(self, S: np.ndarray) -> np.ndarray:
        return _congruence(self.R_inverse, S)

    def scaled_multiplier(self, Z: np.ndarray) -> np.ndarray:
        return _congruence(np.ascontiguousarray(self.R.T), Z)

    def square(self) -> np.ndarray:
        return np.diag(self.l**2)

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        half = array_module().product(a, b)
        return 0.5 * (half + half.T)

    def divide(self, d: np.ndarray) -> np.ndarray:
        return 2.0 * d / (self.l[:, None] + self.l)

    def longest(self, d: np.ndarray) -> float:
        root = np.sqrt(self.l)
        least = self.least(d / root / root[:, None])
        return np.inf if least >= 0 else -1.0 / least


def _congruence(A: np.ndarray, x: np.ndarray) -> np.ndarray:
    am = array_module()
    half = am.product(am.product(A, x), np.ascontiguousarray(A.T))
    return 0.5 * (half + half.T)


class Orthant(AbstractCone):
    """x >= 0 (p,): W is diagonal."""

    def __init__(self, F: sp.csr_array, F0: np.ndarray) -> None:
        self.F, self.F0, self.degree = F, F0, float(F0.size)
        self.Ft = sp.csr_array(F.T)
        self.norms = np.sqrt(np.asarray(F.multiply(F).sum(axis=0)).ravel())
        self.absolute = abs(F)
        self.largest = self.absolute.max(axis=1).toarray().ravel() if F.nnz else np.zeros(F0.size)
        self.w = self.l = np.ones(F0.size)

    def linear(self, y: np.ndarray) -> np.ndarray:
        return np.asarray(self.F @ y)

    def adjoint(self, Z: np.ndarray) -> np.ndarray:
        return np.asarray(self.Ft @ Z)

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
        weighted = sp.csr_array(self.F / self.w[:, None])
        if weighted.nnz > 0.1 * weighted.shape[0] * weighted.shape[1]:
            dense = weighted.toarray()
            M += array_module().product(np.ascontiguousarray(dense.T), dense)
            return
        gram = sp.coo_array(weighted.T @ weighted)
        np.add.at(M, (gram.row, gram.col), gram.data)

    def metric(self, x: np.ndarray) -> np.ndarray:
        return x / self.w**2

    def unscaled(self, x: np.ndarray) -> np.ndarray:
        return self.w * x

    def scaled_slack(self, S: np.ndarray) -> np.ndarray:
        return S / self.w

    def scaled_multiplier(self, Z: np.ndarray) -> np.ndarray:
        return self.w * Z

    def square(self) -> np.ndarray:
        return self.l**2

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a * b

    def divide(self, d: np.ndarray) -> np.ndarray:
        return d / self.l

    def longest(self, d: np.ndarray) -> float:
        least = float((d / self.l).min(initial=np.inf))
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
        self.l = self.scaled_multiplier(Z * np.sqrt(z))
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

    def metric(self, x: np.ndarray) -> np.ndarray:
        w = self._inverse()
        return self._apply(w, self._apply(w, x)) / self.eta**2

    def unscaled(self, x: np.ndarray) -> np.ndarray:
        return self.eta * self._apply(self.w, x)

    def scaled_slack(self, S: np.ndarray) -> np.ndarray:
        return self._apply(self._inverse(), S) / self.eta

    def scaled_multiplier(self, Z: np.ndarray) -> np.ndarray:
        return self.eta * self._apply(self.w, Z)

    def square(self) -> np.ndarray:
        return self.product(self.l, self.l)

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.r_[a @ b, a[0] * b[1:] + b[0] * a[1:]]

    def divide(self, d: np.ndarray) -> np.ndarray:
        first = (self.l[0] * d[0] - self.l[1:] @ d[1:]) / _determinant(self.l)
        return np.r_[first, (d[1:] - first * self.l[1:]) / self.l[0]]

    def longest(self, d: np.ndarray) -> float:
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
