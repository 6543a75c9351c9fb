"""`SDP`: semidefinite programs in rank-one-term form, sparse throughout.

    minimise   c'y + 1/2 y'H y
    subject to F_k(y) = F0_k + sym(P_k diag(E_k y) Q_k') PSD,   sym(A) = (A + A')/2
               C_j y + d_j in the second-order cone (first entry >= norm of the rest)
               G y <= h,   A y = b.

Any linear matrix inequality fits: entry (i, j) is the term e_i e_j'.
"""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._convert import as_csc, floats
from .._errors import InputError
from ._pattern import describe_lmi, describe_sdp
from ._residuals import DualResiduals, Residuals, dual_residuals, residuals
from ._solution import Dual

__all__ = ["LMI", "SDP", "SOC"]


def _sparse(name: str, matrix: Any, shape: tuple[int, int]) -> sp.csc_array:
    result = as_csc(name, matrix)
    if result.shape != shape:
        raise InputError(f"{name} has shape {result.shape}; expected {shape}.")
    return result


def _is_symmetric(matrix: sp.csc_array) -> bool:
    """Whether a canonical matrix equals its transpose; no sparse comparison, which is slow for small ones."""
    columns = np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))
    if np.array_equal(matrix.indices, columns):
        return True  # diagonal, or zero
    other = matrix.T.tocsc()
    other.sort_indices()
    return all(np.array_equal(getattr(matrix, f), getattr(other, f)) for f in ("indptr", "indices", "data"))


def _vector(name: str, values: Any, size: int | None = None) -> np.ndarray:
    result = floats(name, values)
    if result.ndim != 1 or (size is not None and result.size != size):
        raise InputError(f"{name} has shape {result.shape}; expected ({'n' if size is None else size},).")
    return result


@dataclasses.dataclass(frozen=True, eq=False)
class LMI:
    """One block F(y) = F0 + sym(P diag(E y) Q') PSD: F0 (D, D), P and Q (D, r), E (r, m).

    `partition` optionally names consecutive diagonal block sizes (summing to D) under which
    F is block tridiagonal for every y; solvers that use it trust but check it.
    """

    F0: sp.csc_array
    P: sp.csc_array
    Q: sp.csc_array
    E: sp.csc_array
    name: str = ""
    partition: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        size = int(np.shape(self.F0)[0])
        terms = int(np.shape(self.P)[1])
        label = f"LMI {self.name!r}: " if self.name else "LMI: "
        F0 = _sparse(label + "F0", self.F0, (size, size))
        if not _is_symmetric(F0):
            raise InputError(f"{label}F0 is not symmetric; pass (F0 + F0')/2.")
        object.__setattr__(self, "F0", F0)
        object.__setattr__(self, "P", _sparse(label + "P", self.P, (size, terms)))
        object.__setattr__(self, "Q", _sparse(label + "Q", self.Q, (size, terms)))
        object.__setattr__(self, "E", _sparse(label + "E", self.E, (terms, int(np.shape(self.E)[1]))))
        if self.partition is not None:
            partition = tuple(int(n) for n in self.partition)
            if sum(partition) != size or min(partition, default=1) < 1:
                raise InputError(f"{label}partition {partition} does not sum to {size}.")
            object.__setattr__(self, "partition", partition)

    @property
    def size(self) -> int:
        """D, the order of the matrix."""
        return int(self.F0.shape[0])

    @property
    def variables(self) -> int:
        """m, the length of y."""
        return int(self.E.shape[1])

    @property
    def has_entries(self) -> bool:
        """Whether every term is a multiple of e_i e_j', so that P, Q are lists of positions."""
        r = self.E.shape[0]
        counts = np.arange(r + 1)
        return bool(
            self.P.nnz == self.Q.nnz == r
            and np.array_equal(self.P.indptr, counts)
            and np.array_equal(self.Q.indptr, counts)
        )

    def evaluate(self, y: np.ndarray) -> sp.csc_array:
        """F(y), sparse and exactly symmetric."""
        half = (self.P @ sp.diags_array(self.E @ y)) @ self.Q.T
        return sp.csc_array(self.F0 + 0.5 * (half + half.T))

    def adjoint(self, X: np.ndarray) -> np.ndarray:
        """F*(X), shape (m,): d<X, F(y)>/dy for symmetric X (D, D)."""
        if self.has_entries:
            return np.asarray(self.E.T @ (self.P.data * self.Q.data * X[self.P.indices, self.Q.indices]))
        weights = np.asarray((self.P.multiply(X @ self.Q)).sum(axis=0)).ravel()
        return np.asarray(self.E.T @ weights)

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<LMI{name}: {describe_lmi(self)}, {self.variables} variables>"


@dataclasses.dataclass(frozen=True, eq=False)
class SOC:
    """C y + d in the second-order cone: first entry >= Euclidean norm of the others."""

    C: sp.csc_array
    d: np.ndarray
    name: str = ""

    def __post_init__(self) -> None:
        d = _vector(f"SOC {self.name!r}: d", self.d)
        object.__setattr__(self, "d", d)
        object.__setattr__(
            self, "C", _sparse(f"SOC {self.name!r}: C", self.C, (d.size, int(np.shape(self.C)[1])))
        )


@dataclasses.dataclass(frozen=True, eq=False)
class SDP:
    """Semidefinite program in the form of this module's first lines; validated on construction.

    c (m,); each LMI's E has m columns; G (p, m), h (p,); A (q, m), b (q,); H (m, m) PSD or None.
    Not checked: that H is PSD.
    """

    c: np.ndarray
    lmis: tuple[LMI, ...] = ()
    # None is accepted on the way in and becomes an array with no rows
    G: sp.csc_array = None
    h: np.ndarray = None  # type: ignore[assignment]
    A: sp.csc_array = None
    b: np.ndarray = None  # type: ignore[assignment]
    socs: tuple[SOC, ...] = ()
    H: sp.csc_array | None = None

    def __post_init__(self) -> None:
        c = _vector("c", self.c)
        m = c.size
        object.__setattr__(self, "c", c)
        object.__setattr__(self, "lmis", tuple(self.lmis))
        object.__setattr__(self, "socs", tuple(self.socs))
        for k, lmi in enumerate(self.lmis):
            if lmi.variables != m:
                raise InputError(f"lmis[{k}] has {lmi.variables} variables; expected {m}, the length of c.")
        for k, soc in enumerate(self.socs):
            if soc.C.shape[1] != m:
                raise InputError(f"socs[{k}].C has {soc.C.shape[1]} columns; expected {m}, the length of c.")
        for matrix, vector in (("G", "h"), ("A", "b")):
            left, right = getattr(self, matrix), getattr(self, vector)
            if (left is None) != (right is None):
                missing = matrix if left is None else vector
                raise InputError(f"{missing} is missing; {matrix} and {vector} come together.")
            right = _vector(vector, np.zeros(0) if right is None else right)
            left = sp.csc_array((0, m)) if left is None else left
            object.__setattr__(self, vector, right)
            object.__setattr__(self, matrix, _sparse(matrix, left, (right.size, m)))
        if self.H is not None:
            H = _sparse("H", self.H, (m, m))
            if (H != H.T).nnz:
                raise InputError("H is not symmetric; pass (H + H')/2.")
            object.__setattr__(self, "H", H)

    @property
    def variables(self) -> int:
        """m, the length of y."""
        return int(self.c.size)

    def objective(self, y: np.ndarray) -> float:
        """c'y + 1/2 y'H y."""
        value = float(self.c @ y)
        return value if self.H is None else value + 0.5 * float(y @ (self.H @ y))

    def residuals(self, y: np.ndarray) -> Residuals:
        """The margins of y (m,) in every constraint; floating point, not a proof."""
        return residuals(self, y)

    def dual_residuals(self, y: np.ndarray, dual: Dual) -> DualResiduals:
        """The margins of multipliers, and the duality gap at y (m,); floating point, not a proof."""
        return dual_residuals(self, y, dual)

    def __repr__(self) -> str:
        return describe_sdp(self)
