"""Chordal decomposition: large sparse LMIs as many small ones, and the way back.

A matrix with a chordal pattern is PSD if and only if it is a sum of PSD matrices, one on each clique
(Agler, Helton, McCullough and Rodman, 1988). Along a clique tree that is

    S_k = F_k(y) - U_k + sum over the children c of k of U_c  PSD   for every clique k,

where the F_k share out the entries of F and U_k is a free symmetric matrix on the separator of clique
k from its parent. The multipliers of the S_k agree on separators, which makes them a partial X.
"""

import dataclasses

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from ._cliques import CliqueTree, clique_tree
from ._completion import assemble_cliques, complete
from ._entries import lmi_from_entries, upper_entries
from ._pattern import aggregate_pattern
from ._sdp import LMI, SDP
from ._solution import Dual, Solution
from ._triplets import Triplets

__all__ = ["Decomposition", "decompose"]


@dataclasses.dataclass(frozen=True, eq=False)
class Decomposition:
    """An SDP in clique blocks (`sdp`), equivalent to `original`; its first variables are the original's.

    `trees[k]` is the clique tree of the original LMI k, None where it was left whole.
    """

    original: SDP
    sdp: SDP
    trees: tuple[CliqueTree | None, ...]

    def recover(self, solution: Solution, *, completed: bool = True) -> Solution:
        """The solution of the original: y cut to length, X_k put together from its cliques.

        completed: give X_k in full, by the completion with the largest determinant; otherwise on the
        pattern only (`X_complete` False). Rays of infeasible and unbounded problems carry over alike.
        """
        y = None if solution.y is None else solution.y[: self.original.variables]
        if solution.dual is None:
            return dataclasses.replace(solution, y=y)
        return dataclasses.replace(solution, y=y, dual=self._dual(solution.dual, completed))

    def _dual(self, dual: Dual, completed: bool) -> Dual:
        if len(dual.X) != len(self.sdp.lmis):
            raise InputError(
                f"the dual has {len(dual.X)} blocks; the decomposed SDP has {len(self.sdp.lmis)}."
            )
        blocks, position = [], 0
        for tree in self.trees:
            count = 1 if tree is None else len(tree.cliques)
            parts = dual.X[position : position + count]
            position += count
            X = parts[0] if tree is None else assemble_cliques(parts, tree)
            blocks.append(X if tree is None or not completed else complete(X, tree))
        partial = not completed and any(tree is not None for tree in self.trees)
        return dataclasses.replace(dual, X=tuple(blocks), X_complete=dual.X_complete and not partial)


def decompose(sdp: SDP, *, merge: bool = True) -> Decomposition:
    """Split every LMI whose aggregate pattern has more than one clique (after merging).

    An LMI's partition, where it has one, gives the cliques; other patterns go through networkx
    (BackendMissing without it). Rank-one terms inside one clique stay as they are.
    """
    m = sdp.variables
    trees: list[CliqueTree | None] = []
    for lmi in sdp.lmis:
        tree = clique_tree(aggregate_pattern(lmi), lmi.partition, merge=merge) if lmi.size else None
        trees.append(tree if tree is not None and len(tree.cliques) > 1 else None)
    overlaps = [0 if tree is None else sum(_triangle(s.size) for s in tree.separators) for tree in trees]
    starts = m + np.cumsum([0, *overlaps])
    total = int(starts[-1])
    lmis: list[LMI] = []
    for lmi, tree, start in zip(sdp.lmis, trees, starts[:-1].tolist(), strict=True):
        if tree is None:
            lmis.append(dataclasses.replace(lmi, E=_wider(lmi.E, total)))
        else:
            lmis += _clique_blocks(lmi, tree, start, total)
    wide = SDP(
        np.concatenate([sdp.c, np.zeros(total - m)]),
        tuple(lmis),
        G=_wider(sdp.G, total),
        h=sdp.h,
        A=_wider(sdp.A, total),
        b=sdp.b,
        socs=tuple(dataclasses.replace(soc, C=_wider(soc.C, total)) for soc in sdp.socs),
        H=None if sdp.H is None else _resized(sdp.H, (total, total)),
    )
    return Decomposition(sdp, wide, tuple(trees))


def _triangle(n: int) -> int:
    return n * (n + 1) // 2


def _resized(matrix: sp.csc_array, shape: tuple[int, int]) -> sp.csc_array:
    coo = matrix.tocoo()
    return sp.csc_array((coo.data, (coo.row, coo.col)), shape=shape)


def _wider(matrix: sp.csc_array, columns: int) -> sp.csc_array:
    return _resized(matrix, (matrix.shape[0], columns))


def _homes(supports: sp.csc_array, B: sp.csc_array) -> np.ndarray:
    """For each column of 0/1 supports, a clique that holds all of it, or -1."""
    supports = sp.csc_array((np.ones(supports.nnz), supports.indices, supports.indptr), shape=supports.shape)
    shared = (supports.T @ B).tocoo()
    sizes = np.diff(supports.indptr)
    whole = shared.data == sizes[shared.row]
    homes = np.full(sizes.size, -1)
    homes[shared.row[whole]] = shared.col[whole]
    homes[sizes == 0] = 0
    return homes


def _clique_blocks(lmi: LMI, tree: CliqueTree, start: int, total: int) -> list[LMI]:
    B = tree.incidence()
    homes = _homes(sp.csc_array(abs(lmi.P) + abs(lmi.Q)), B)
    spilled = homes < 0
    loose = LMI(lmi.F0, lmi.P[:, spilled], lmi.Q[:, spilled], lmi.E.tocsr()[spilled])
    entries = upper_entries(loose)  # and F0: entry by entry
    r = entries.val.size
    pairs = sp.csc_array(
        (np.ones(2 * r), (np.r_[entries.row, entries.col], np.tile(np.arange(r), 2))), shape=(tree.n, r)
    )
    entry_homes = _homes(pairs, B)
    moves = _overlap_entries(tree, start)
    children: list[list[int]] = [[] for _ in tree.cliques]
    for c, p in enumerate(tree.parents):
        if p >= 0:
            children[p].append(c)
    rows = lmi.E.tocsr()
    blocks = []
    for k, clique in enumerate(tree.cliques):
        local = np.full(tree.n, -1)
        local[clique] = np.arange(clique.size)
        mine, kept = entry_homes == k, np.flatnonzero(homes == k)
        shape = (clique.size, clique.size)
        own = Triplets(
            shape, local[entries.row[mine]], local[entries.col[mine]], entries.var[mine], entries.val[mine]
        )
        moved = [
            Triplets(shape, local[t.row], local[t.col], t.var, sign * t.val)
            for sign, t in [(-1.0, moves[k]), *((1.0, moves[c]) for c in children[k])]
        ]
        plain = lmi_from_entries(Triplets.concatenate(shape, [own, *moved]).canonical(), total)
        blocks.append(
            LMI(
                plain.F0,
                sp.hstack([plain.P, lmi.P[clique][:, kept]], "csc"),
                sp.hstack([plain.Q, lmi.Q[clique][:, kept]], "csc"),
                sp.vstack([plain.E, _wider(rows[kept], total)], "csc"),
                name=f"{lmi.name or 'lmi'}:{k}",
            )
        )
    return blocks


def _overlap_entries(tree: CliqueTree, start: int) -> list[Triplets]:
    """U_k of each clique, upper entries on its separator in the original's indices."""
    result = []
    for separator in tree.separators:
        i, j = np.triu_indices(separator.size)
        var = start + np.arange(i.size)
        start += i.size
        result.append(Triplets((tree.n, tree.n), separator[i], separator[j], var, np.ones(i.size)))
    return result
