"""The quadratic constraint of a nonlinearity on groups, with the matrices that its proof uses."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from ...graph import Apply
from ...graph._form import EliminatedForm
from ...nonlinear import AbstractGroups
from ..iqc import AbstractQuadraticConstraint, QuadraticTerms, SlopeRestricted

__all__ = ["GroupIdentities", "node_constraint"]


@dataclasses.dataclass(frozen=True, eq=False)
class GroupIdentities(AbstractQuadraticConstraint):
    """|N'dw| <= |N'dv| and B'(dw - dv) = 0 in each of `groups` consecutive groups; N (g, d), B (g, k).

    Per group: lam >= 0, then free nu_ij and mu_ij for the pairs i <= j of columns of B.
    """

    N: Any
    B: Any
    groups: int
    obligation: ClassVar[str] = (
        "lam (|N'dw|^2 - |N'dv|^2) <= 0 for lam >= 0; (B'(dw - dv))'nu B'dv = (B'(dw - dv))'mu B'dw = 0."
    )

    @property
    def channels(self) -> tuple[int, int]:
        n = self.groups * self.N.shape[0]
        return n, n

    def terms(self) -> QuadraticTerms:
        one = _one_group(sp.csc_array(self.N), sp.csc_array(self.B))
        eye = sp.eye_array(self.groups)
        Pv, Pw, Qv, Qw, E = (sp.kron(eye, M, format="csc") for M in (one.Pv, one.Pw, one.Qv, one.Qw, one.E))
        return QuadraticTerms(Pv, Pw, Qv, Qw, E, np.tile(one.nonnegative, self.groups))


def _one_group(N: sp.csc_array, B: sp.csc_array) -> QuadraticTerms:
    d, k = N.shape[1], B.shape[1]
    first, second = np.triu_indices(k)
    # a symmetric nu has nu_ij twice off the diagonal: once with i on the left, once with j
    twice = np.flatnonzero(first != second)
    left = np.concatenate([first, second[twice]])
    right = np.concatenate([second, first[twice]])
    owner = np.concatenate([np.arange(first.size), twice])
    r = left.size
    noneN, noneB = sp.csc_array(N.shape), sp.csc_array((B.shape[0], r))
    Bl, Br = B[:, left], B[:, right]
    Pv = sp.hstack([N, noneN, -Bl, -Bl])
    Pw = sp.hstack([noneN, N, Bl, Bl])
    Qv = sp.hstack([N, noneN, Br, noneB])
    Qw = sp.hstack([noneN, N, noneB, Br])
    pairs = sp.csc_array((np.ones(r), (np.arange(r), owner)), shape=(r, first.size))
    lam = np.concatenate([np.full(d, -1.0), np.ones(d)])[:, None]
    E = sp.block_diag([lam, pairs, pairs], format="csc")
    free = np.zeros(2 * first.size, dtype=bool)
    return QuadraticTerms(Pv, Pw, Qv, Qw, E, np.concatenate([[True], free]))


def node_constraint(form: EliminatedForm, k: int) -> AbstractQuadraticConstraint:
    """The constraint of node k on its channels in z."""
    node = form.graph.nodes[k]
    assert isinstance(node, Apply)
    kept = form.kept[k]
    if isinstance(node.function, AbstractGroups):
        function = node.function
        count = kept.size // function.group_size
        return GroupIdentities(function.norm_directions, function.identities, count)
    return SlopeRestricted(node.alpha[kept], node.beta[kept])
