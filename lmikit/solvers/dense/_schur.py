"""The Schur complement of one PSD block: M_ij = <F_i, V F_j V>, V = W^-1 for the scaling point W.

Three ways, chosen by their cost before the first iteration, after Fujisawa, Kojima and Nakata [1]:

    products   U_j = V F_j V as matrices, M_ij = <F_i, U_j>: for F_j with many entries
    pairs      F_j = sum_t E_tj sym(p_t q_t'):  M = E'K E,
               K_tu = (p_t'V p_u q_t'V q_u + p_t'V q_u q_t'V p_u) / 2: for F_j with few terms
    gram       B_j = vec(R^-1 F_j R^-T) with V = R^-T R^-1, M = B B': where all F_j are full

[1] K. Fujisawa, M. Kojima, K. Nakata, "Exploiting sparsity in primal-dual interior-point methods
for semidefinite programming", Math. Program. 79 (1997), section 3 (formulas F-1, F-2, F-3).
"""

import dataclasses

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from ..._arrays import array_module
from ...lmi import LMI

__all__ = ["SchurBlock", "schur_block"]

_CHUNK = 1 << 22  # numbers in one temporary
_GATHER = 8.0  # cost of one entry of K, in flops of a matrix product
_SPARSE = 6.0  # cost of one product of sparse with dense, likewise


@dataclasses.dataclass(frozen=True, eq=False)
class _TermPairs:
    """Terms of the variables `which` (positions among the active ones)."""

    which: np.ndarray
    P: sp.csr_array  # (terms, n)
    Q: sp.csr_array
    E: sp.csr_array  # (terms, which)
    equal: bool

    def matrix(self, V: np.ndarray) -> np.ndarray:
        """E'K E, chunk by chunk of the rows of K."""
        PV = np.asarray(self.P @ V)  # (terms, n)
        QV = PV if self.equal else np.asarray(self.Q @ V)
        terms, m = self.E.shape
        result = np.zeros((m, m))
        Et = sp.csr_array(self.E.T)
        step = max(1, _CHUNK // max(terms, 1))
        for start in range(0, terms, step):
            here = slice(start, start + step)
            PP = np.asarray(self.P @ PV[here].T)
            if self.equal:
                K = PP * PP
            else:
                K = PP * np.asarray(self.Q @ QV[here].T)
                K += np.asarray(self.Q @ PV[here].T) * np.asarray(self.P @ QV[here].T)
                K *= 0.5
            result += np.asarray(Et @ np.asarray(Et[:, here] @ K.T).T)
        return result


@dataclasses.dataclass(frozen=True, eq=False)
class SchurBlock:
    """The block's columns F (active, n^2), and how its Schur complement is formed."""

    n: int
    columns: np.ndarray | sp.csr_array
    products: np.ndarray  # positions formed as U_j
    pairs: _TermPairs | None
    gram: bool
    flops: float  # predicted, of one Schur complement

    def linear(self, y: np.ndarray) -> np.ndarray:
        """sum_i y_i F_i."""
        return np.asarray(self.columns.T @ y).reshape(self.n, self.n)

    def adjoint(self, Z: np.ndarray) -> np.ndarray:
        """<F_i, Z> for each i."""
        return np.asarray(self.columns @ Z.ravel())

    def matrix(self, V: np.ndarray, R_inverse: np.ndarray) -> np.ndarray:
        """M (active, active), symmetric."""
        if self.gram:
            return self._gram(R_inverse)
        m = self.columns.shape[0]
        M = np.zeros((m, m))
        if self.pairs is not None and self.pairs.which.size:
            M[np.ix_(self.pairs.which, self.pairs.which)] = self.pairs.matrix(V)
        step = max(1, _CHUNK // self.n**2)
        for start in range(0, self.products.size, step):
            here = self.products[start : start + step]
            values = np.asarray(self.columns @ self._congruences(here, V).T)
            M[:, here] = values
            M[here, :] = values.T
        return 0.5 * (M + M.T)

    def _congruences(self, which: np.ndarray, V: np.ndarray) -> np.ndarray:
        """vec(V F_j V') for each j, as rows."""
        n, am = self.n, array_module()
        part = self.columns[which]
        if isinstance(part, np.ndarray):
            stack = np.ascontiguousarray(part).reshape(-1, n)
            left = am.product(stack, np.ascontiguousarray(V.T))
        else:
            left = np.asarray(part.reshape((which.size * n, n)).tocsr() @ V.T)
        # (F_j V')' = V F_j, and once more
        turned = np.ascontiguousarray(left.reshape(-1, n, n).transpose(0, 2, 1)).reshape(-1, n)
        return am.product(turned, np.ascontiguousarray(V.T)).reshape(-1, n * n)

    def _gram(self, R_inverse: np.ndarray) -> np.ndarray:
        m, n = self.columns.shape[0], self.n
        lower = np.tril_indices(n)
        weight = np.where(lower[0] == lower[1], 1.0, np.sqrt(2.0))
        index = lower[0] * n + lower[1]
        B = np.empty((m, index.size))
        step = max(1, _CHUNK // n**2)
        for start in range(0, m, step):
            here = np.arange(start, min(m, start + step))
            B[here] = self._congruences(here, R_inverse)[:, index] * weight
        M = scipy.linalg.blas.dsyrk(1.0, B.T, trans=1, lower=1)
        return np.asarray(np.tril(M) + np.tril(M, -1).T)


def schur_block(block: LMI, columns: np.ndarray | sp.csr_array) -> SchurBlock:
    """Choose among the three ways by counting."""
    n, m = block.size, block.variables
    dense = isinstance(columns, np.ndarray)
    entries = np.full(m, n * n) if isinstance(columns, np.ndarray) else np.diff(columns.indptr)
    gram_flops = 4.0 * n**3 * m + 0.5 * n**2 * m**2
    split, mixed_flops = _best_split(block, entries, dense)
    if gram_flops <= mixed_flops:
        return SchurBlock(n, columns, np.arange(m), None, True, gram_flops)
    order = np.argsort(-_terms_per_variable(block), kind="stable")
    few = np.sort(order[split:])
    return SchurBlock(n, columns, np.sort(order[:split]), _pairs(block, few), False, mixed_flops)


def _terms_per_variable(block: LMI) -> np.ndarray:
    return np.diff(block.E.indptr)


def _best_split(block: LMI, entries: np.ndarray, dense: bool) -> tuple[int, float]:
    """How many variables, by falling number of terms, are formed as products, and the cost."""
    n, m = block.size, block.variables
    order = np.argsort(-_terms_per_variable(block), kind="stable")
    rank = np.empty(m, dtype=np.int64)
    rank[order] = np.arange(m)
    E = sp.csr_array(block.E)
    last = np.full(E.shape[0], -1, dtype=np.int64)  # a term is a pair's while some user of it is
    np.maximum.at(last, np.repeat(np.arange(E.shape[0]), np.diff(E.indptr)), rank[E.indices])
    live = E.shape[0] - np.cumsum(np.bincount(last + 1, minlength=m + 1))  # terms with last >= split
    live = np.r_[E.shape[0], live[1:]][: m + 1].astype(float)
    left = E.nnz - np.r_[0, np.cumsum(_terms_per_variable(block)[order])].astype(float)
    splits = np.arange(m + 1)
    total = float(entries.sum())
    width = (block.P.nnz + block.Q.nnz) / max(1, E.shape[0])  # entries of p_t and q_t together
    first = np.r_[0, np.cumsum(np.minimum(entries, n * n)[order])].astype(float)
    product = splits * 2.0 * n**3 + (2.0 * n**3 * splits if dense else _SPARSE * n * first)
    product = product + splits * (2.0 * total if dense else _SPARSE * total)
    pair = live * (n * width * _SPARSE + live * (_GATHER + 2.0 * width * _SPARSE)) + _SPARSE * left * live
    cost = product + pair
    best = int(np.argmin(cost))
    return best, float(cost[best])


def _pairs(block: LMI, which: np.ndarray) -> _TermPairs | None:
    if not which.size:
        return None
    E = sp.csr_array(block.E[:, which])
    used = np.flatnonzero(np.diff(E.indptr))
    P, Q = sp.csr_array(block.P[:, used].T), sp.csr_array(block.Q[:, used].T)
    return _TermPairs(which, P, Q, sp.csr_array(E[used]), bool((P != Q).nnz == 0))
