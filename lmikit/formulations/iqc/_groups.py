"""Constraints of activations that act on groups of neurons: GroupSort, MaxMin, Householder.

All satisfy |dw| <= |dv| per group, and a linear identity B'dw = B'dv (GroupSort keeps the sum;
Householder w = (I - u u')v + u |u'v| moves nothing orthogonal to u). An identity r = B'(dw - dv) = 0
may be multiplied by anything, hence the free multipliers below (with B = 1_g they are the N and Q of
Pauli, Wang, Manchester, Allgoewer, "Novel quadratic constraints for extending LipSDP beyond
slope-restricted activations", ICLR 2024, Lemma 2 and 3; T = lam I + gamma B B').
"""

import abc
import dataclasses
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from ..._errors import InputError
from ._constraint import AbstractQuadraticConstraint, QuadraticTerms

__all__ = ["GroupSort", "Householder", "MaxMin"]


@dataclasses.dataclass(frozen=True, eq=False)
class AbstractGroupConstraint(AbstractQuadraticConstraint):
    """The constraint of a map on consecutive groups of `group_size` neurons; n neurons, a multiple of it."""

    neurons: int
    group_size: int

    def __post_init__(self) -> None:
        if self.group_size < 1 or self.neurons < 1 or self.neurons % self.group_size:
            raise InputError(
                f"{self.neurons} neurons do not split into groups of {self.group_size}; expected a multiple."
            )

    @property
    def channels(self) -> tuple[int, int]:
        return self.neurons, self.neurons

    @abc.abstractmethod
    def _identities(self) -> sp.csc_array:
        """B (group_size, k): the directions in which w equals v."""

    @abc.abstractmethod
    def _norm_basis(self) -> sp.csc_array:
        """Directions (group_size, k) whose squares make the norm inequality."""

    def terms(self) -> QuadraticTerms:
        one = _group_terms(self._norm_basis(), self._identities())
        groups = self.neurons // self.group_size
        eye = sp.eye_array(groups)
        Pv, Pw, Qv, Qw, E = (sp.kron(eye, M, format="csc") for M in (one.Pv, one.Pw, one.Qv, one.Qw, one.E))
        return QuadraticTerms(Pv, Pw, Qv, Qw, E, np.tile(one.nonnegative, groups))


@dataclasses.dataclass(frozen=True, eq=False)
class GroupSort(AbstractGroupConstraint):
    """Sorts consecutive groups of `group_size` neurons; n neurons, a multiple of group_size.

    Per group: lam >= 0 and free nu, mu (four terms in one, see `obligation`).
    """

    obligation: ClassVar[str] = (
        "per group, lam (|dw|^2 - |dv|^2) <= 0 for lam >= 0 (sorting is 1-Lipschitz), and "
        "nu e'(dw - dv) e'dv = 0, mu e'(dw - dv) e'dw = 0 for free nu, mu (sorting keeps the sum)."
    )

    def _identities(self) -> sp.csc_array:
        return sp.csc_array(np.full((self.group_size, 1), 1.0 / np.sqrt(self.group_size)))

    def _norm_basis(self) -> sp.csc_array:
        return sp.eye_array(self.group_size, format="csc")


@dataclasses.dataclass(frozen=True, eq=False)
class Householder(AbstractGroupConstraint):
    """w = (I - u u')v + u |u'v| per group, u a unit vector (group_size,); slope of |.| in [-1, 1].

    One multiplier lam >= 0 per group for the reflected direction, free ones for each direction
    that the reflection leaves alone. `rewriting` gives the same activation as one slope-restricted neuron.
    """

    direction: Any = None
    obligation: ClassVar[str] = (
        "per group, lam ((u'dw)^2 - (u'dv)^2) <= 0 for lam >= 0 (|.| has slopes in [-1, 1]), and "
        "nu_i b_i'(dw - dv) b_i'dv = 0, mu_i b_i'(dw - dv) b_i'dw = 0 for a basis b_i of the complement of u."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        u = np.array(self.direction, dtype=np.float64)
        if u.shape != (self.group_size,) or not np.isfinite(u).all() or abs(float(u @ u) - 1.0) > 1e-12:
            raise InputError(
                f"direction has shape {u.shape} and norm {np.linalg.norm(u):.6g}; expected a unit vector of "
                f"shape ({self.group_size},)."
            )
        object.__setattr__(self, "direction", u)

    def _identities(self) -> sp.csc_array:
        full = np.linalg.qr(self.direction[:, None], mode="complete")[0]
        return sp.csc_array(full[:, 1:])

    def _norm_basis(self) -> sp.csc_array:
        return sp.csc_array(self.direction[:, None])

    def rewriting(self) -> tuple[sp.csr_array, sp.csr_array, sp.csr_array]:
        """C (n, n), R (n, groups), S (groups, n) with w = C v + R |S v|."""
        eye = sp.eye_array(self.neurons // self.group_size)
        u = self.direction[:, None]
        reflect = np.eye(self.group_size) - u @ u.T
        return (
            sp.csr_array(sp.kron(eye, reflect)),
            sp.csr_array(sp.kron(eye, u)),
            sp.csr_array(sp.kron(eye, u.T)),
        )


def MaxMin(neurons: int) -> Householder:
    """(max, min) of consecutive pairs: Householder with u = (1, -1)/sqrt(2)."""
    return Householder(neurons, 2, np.array([1.0, -1.0]) / np.sqrt(2.0))


def _group_terms(norm: sp.csc_array, B: sp.csc_array) -> QuadraticTerms:
    """One group: lam over the squares of `norm`'s directions, then nu_i and mu_i per column of B."""
    size, k = B.shape
    d = norm.shape[1]
    none = sp.csc_array((size, d))
    Pv = sp.hstack([norm, none, -B, -B])
    Pw = sp.hstack([none, norm, B, B])
    Qv = sp.hstack([norm, none, B, sp.csc_array((size, k))])
    Qw = sp.hstack([none, norm, sp.csc_array((size, k)), B])
    lam = np.concatenate([np.full(d, -1.0), np.ones(d)])[:, None]
    E = sp.block_diag([lam, sp.eye_array(2 * k)], format="csc")
    return QuadraticTerms(Pv, Pw, Qv, Qw, E, np.concatenate([[True], np.zeros(2 * k, dtype=bool)]))
