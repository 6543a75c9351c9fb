"""Quadratic constraints as objects: a class of nonlinearities and its multiplier set.

A constraint on w = phi(v) hands over rank-one terms with weights linear in its multipliers:

    sigma(v, w; lam) = sum_j (E lam)_j (p_j'(v, w)) (q_j'(v, w)) <= 0,

for every pair (v, w) of increments that the class can produce and every admissible lam (some
entries nonnegative, the others free). The sum of all sigma and the supply rate must be PSD.
"""

import abc
import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from ..._errors import InputError

__all__ = [
    "AbstractQuadraticConstraint",
    "QuadraticTerms",
    "largest_violation",
    "terms_from_matrices",
    "terms_of",
]


@dataclasses.dataclass(frozen=True, eq=False)
class QuadraticTerms:
    """Pv, Qv (n_v, r); Pw, Qw (n_w, r); E (r, k); `nonnegative` (k,) says which multipliers are >= 0."""

    Pv: sp.csc_array
    Pw: sp.csc_array
    Qv: sp.csc_array
    Qw: sp.csc_array
    E: sp.csc_array
    nonnegative: np.ndarray

    def __post_init__(self) -> None:
        for name in ("Pv", "Pw", "Qv", "Qw", "E"):
            object.__setattr__(self, name, sp.csc_array(getattr(self, name), dtype=np.float64))
        object.__setattr__(self, "nonnegative", np.array(self.nonnegative, dtype=bool))
        r, k = self.E.shape
        widths = [matrix.shape[1] for matrix in (self.Pv, self.Pw, self.Qv, self.Qw)]
        if any(width != r for width in widths) or self.nonnegative.shape != (k,):
            raise InputError(
                f"terms disagree: Pv, Pw, Qv, Qw have {widths} columns and E is {self.E.shape}; expected "
                f"{r} columns each and {k} entries in nonnegative (got {self.nonnegative.shape})."
            )

    @property
    def multipliers(self) -> int:
        """k, the number of multipliers."""
        return int(self.E.shape[1])

    def values(self, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        """d sigma / d lam at increments v (n_v, samples), w (n_w, samples): shape (k, samples)."""
        left = self.Pv.T @ v + self.Pw.T @ w
        right = self.Qv.T @ v + self.Qw.T @ w
        return np.asarray(self.E.T @ (left * right))


class AbstractQuadraticConstraint(abc.ABC):
    """A class of nonlinearities w = phi(v) with its multiplier set.

    To write your own: subclass, say in `obligation` what you have proven, give the channel
    counts and return the terms (from matrices, `terms_from_matrices` does it). lmikit takes
    `obligation` on trust; `largest_violation` can refute it by sampling, never prove it.
    """

    obligation: ClassVar[str]  # the inequality to prove, with its source
    incremental: ClassVar[bool] = True  # about differences of two trajectories, or about one

    @property
    @abc.abstractmethod
    def channels(self) -> tuple[int, int]:
        """(n_v, n_w)."""

    @abc.abstractmethod
    def terms(self) -> QuadraticTerms:
        """The terms of sigma."""


def terms_of(constraint: AbstractQuadraticConstraint) -> QuadraticTerms:
    """The terms of a constraint that may be the caller's own; raises InputError where it is none."""
    if not isinstance(constraint, AbstractQuadraticConstraint):
        raise InputError(
            f"constraint is a {type(constraint).__name__}; expected an AbstractQuadraticConstraint."
        )
    name = type(constraint).__name__
    if not getattr(constraint, "obligation", ""):
        raise InputError(f"{name} has no `obligation`; expected a text that says what you have proven of it.")
    terms = constraint.terms()
    if not isinstance(terms, QuadraticTerms):
        raise InputError(
            f"{name}.terms() returns a {type(terms).__name__}; expected QuadraticTerms. terms_from_matrices "
            "makes them of matrices."
        )
    if (terms.Pv.shape[0], terms.Pw.shape[0]) != tuple(constraint.channels):
        raise InputError(
            f"{name}.terms() are of {(terms.Pv.shape[0], terms.Pw.shape[0])} channels; expected "
            f"{tuple(constraint.channels)}, its own."
        )
    return terms


def terms_from_matrices(
    channels: tuple[int, int], matrices: Sequence[np.ndarray], nonnegative: Sequence[bool]
) -> QuadraticTerms:
    """Terms of sigma = sum_i lam_i (v, w)' M_i (v, w), M_i symmetric (n_v + n_w, n_v + n_w).

    Raises InputError for a matrix of another shape or one that is not symmetric.
    """
    n_v, n_w = channels
    size = n_v + n_w
    rows, cols, data, owner = [], [], [], []
    for i, matrix in enumerate(matrices):
        M = sp.coo_array(np.asarray(matrix, dtype=np.float64))
        if M.shape != (size, size):
            raise InputError(f"matrices[{i}] has shape {M.shape}; expected ({size}, {size}).")
        if abs(M - M.T).max() > 0:
            raise InputError(f"matrices[{i}] is not symmetric; expected M = M'. Pass (M + M') / 2.")
        rows.append(M.row)
        cols.append(M.col)
        data.append(M.data)
        owner.append(np.full(M.nnz, i))
    row, col, owners = np.concatenate(rows), np.concatenate(cols), np.concatenate(owner)
    identity = sp.eye_array(size, format="csc")
    left, right = identity[:, row], identity[:, col]
    E = sp.csc_array((np.concatenate(data), (np.arange(row.size), owners)), shape=(row.size, len(matrices)))
    return QuadraticTerms(left[:n_v], left[n_v:], right[:n_v], right[n_v:], E, np.asarray(nonnegative))


def largest_violation(constraint: AbstractQuadraticConstraint, v: np.ndarray, w: np.ndarray) -> float:
    """Largest sigma / |(v, w)|^2 over unit multipliers and increments v (n_v, s), w (n_w, s).

    Above rounding it refutes `obligation`. Below, it proves nothing.
    """
    terms = terms_of(constraint)
    v, w = np.asarray(v, dtype=np.float64), np.asarray(w, dtype=np.float64)
    sizes = [(n, *v.shape[1:]) for n in constraint.channels]
    if v.ndim != 2 or [v.shape, w.shape] != sizes:
        raise InputError(
            f"v has shape {v.shape} and w {w.shape}; expected {constraint.channels} channels with one column "
            "per sample."
        )
    values = terms.values(v, w)
    values = np.where(terms.nonnegative[:, None], values, np.abs(values))
    scale = (v**2).sum(axis=0) + (w**2).sum(axis=0)
    return float((values / np.where(scale > 0, scale, 1.0)).max(initial=-np.inf))
