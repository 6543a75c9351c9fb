"""Clique trees of chordal extensions of sparsity patterns.

A set of cliques that covers a pattern and has the running intersection property (for each index the
cliques that hold it form a subtree) is all that chordal decomposition needs; see L. Vandenberghe and
M. S. Andersen, "Chordal graphs and semidefinite optimization", 2015, sections 3 and 4.
"""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from .._errors import BackendMissing, InputError
from ._pattern import fits_partition

__all__ = ["CliqueTree", "clique_tree"]


@dataclasses.dataclass(frozen=True, eq=False)
class CliqueTree:
    """Cliques (sorted index arrays) of a chordal pattern of order n, and the parent of each (-1: a root).

    Parents come before their children. `separators[k]` is what clique k shares with its parent.
    """

    n: int
    cliques: tuple[np.ndarray, ...]
    parents: tuple[int, ...]

    @property
    def separators(self) -> tuple[np.ndarray, ...]:
        """cliques[k] and cliques[parents[k]] intersected; empty for roots."""
        none = np.zeros(0, dtype=np.int64)
        pairs = zip(self.cliques, self.parents, strict=True)
        return tuple(
            none if p < 0 else np.intersect1d(c, self.cliques[p], assume_unique=True) for c, p in pairs
        )

    def incidence(self) -> sp.csc_array:
        """B (n, number of cliques), one where the index lies in the clique."""
        return _incidence(self.n, self.cliques)

    def pattern(self) -> sp.csc_array:
        """The chordal pattern, ones where some clique holds both indices."""
        B = self.incidence()
        product = sp.csc_array(B @ B.T)
        product.data[:] = 1.0
        return product


def clique_tree(
    pattern: sp.csc_array, partition: tuple[int, ...] | None = None, *, merge: bool = True
) -> CliqueTree:
    """A clique tree of a chordal extension of a symmetric pattern (n, n) with a full diagonal.

    With a partition under which the pattern is block tridiagonal the cliques are the pairs of
    neighbouring blocks; otherwise each connected part is extended by networkx's minimum degree
    heuristic. merge joins neighbours while (cubes of the orders) that makes the blocks cheaper.
    Raises InputError where the partition does not fit, BackendMissing without networkx.
    """
    n = int(pattern.shape[0])
    if partition is not None and not fits_partition(pattern, partition):
        raise InputError(f"the pattern is not block tridiagonal under the partition {partition}.")
    if partition is not None:
        edges = np.cumsum([0, *partition])
        last = max(len(partition) - 1, 1)
        cliques = [np.arange(edges[k], edges[min(k + 2, len(partition))]) for k in range(last)]
    else:
        cliques = _general_cliques(pattern)
    cliques = [clique for clique in cliques if clique.size]
    parents = _spanning_forest(n, cliques)
    cliques, parents = _merge(cliques, parents, only_subsets=not merge)
    return _topological(n, cliques, parents)


def _incidence(n: int, cliques: tuple[np.ndarray, ...] | list[np.ndarray]) -> sp.csc_array:
    sizes = [clique.size for clique in cliques]
    index = np.concatenate([np.zeros(0, dtype=np.int64), *cliques])
    return sp.csc_array((np.ones(index.size), index, np.cumsum([0, *sizes])), shape=(n, len(cliques)))


def _networkx() -> Any:
    try:
        import networkx
        from networkx.algorithms.approximation import treewidth_min_degree
    except ImportError as error:
        raise BackendMissing(
            f"cliques of a general pattern need networkx ({error}); pip install 'lmikit[chordal]', "
            "or give the LMI a partition under which it is block tridiagonal."
        ) from error
    return networkx, treewidth_min_degree


def _general_cliques(pattern: sp.csc_array) -> list[np.ndarray]:
    """Bags of a tree decomposition of each connected part; full parts need no heuristic."""
    count, label = connected_components(pattern, directed=False)
    cliques = []
    order = np.argsort(label, kind="stable")
    for part in np.split(order, np.cumsum(np.bincount(label, minlength=count))[:-1]) if count else []:
        block = pattern[:, part][part].tocoo()
        if block.nnz == part.size**2:
            cliques.append(np.sort(part))
            continue
        networkx, treewidth_min_degree = _networkx()
        graph = networkx.Graph()
        graph.add_nodes_from(range(part.size))
        upper = block.row < block.col
        graph.add_edges_from(zip(block.row[upper].tolist(), block.col[upper].tolist(), strict=True))
        _, tree = treewidth_min_degree(graph)
        cliques += [np.sort(part[sorted(bag)]) for bag in tree.nodes]
    return cliques


def _spanning_forest(n: int, cliques: list[np.ndarray]) -> list[int]:
    """Parents in a maximum-weight spanning forest by overlap: a clique tree if one exists."""
    B = _incidence(n, cliques)
    overlap = sp.coo_array(B.T @ B)
    off = overlap.row != overlap.col
    weights = sp.csr_array(
        (n + 1.0 - overlap.data[off], (overlap.row[off], overlap.col[off])), shape=overlap.shape
    )
    tree = minimum_spanning_tree(weights)
    parents = np.full(len(cliques), -1)
    _, label = connected_components(tree, directed=False)
    for root in np.unique(label, return_index=True)[1]:
        _, above = breadth_first_order(tree, root, directed=False)
        parents = np.where(above >= 0, above, parents)
    return parents.tolist()


def _merge(
    cliques: list[np.ndarray], parents: list[int], *, only_subsets: bool
) -> tuple[list[np.ndarray], list[int]]:
    """Join a clique with its parent while |union|^3 <= |clique|^3 + |parent|^3, or only subsets."""
    members = [set(clique.tolist()) for clique in cliques]
    into = list(range(len(cliques)))

    def find(k: int) -> int:
        while into[k] != k:
            into[k] = into[into[k]]
            k = into[k]
        return k

    changed = True
    while changed:
        changed = False
        for k in reversed(range(len(cliques))):
            if into[k] != k or parents[k] < 0:
                continue
            p = find(parents[k])
            union = len(members[k]) + len(members[p]) - len(members[k] & members[p])
            sizes = len(members[k]), len(members[p])
            if union == max(sizes) or (not only_subsets and union**3 <= sizes[0] ** 3 + sizes[1] ** 3):
                members[p] |= members[k]
                into[k] = p
                changed = True
    alive = [k for k in range(len(cliques)) if into[k] == k]
    position = {k: index for index, k in enumerate(alive)}
    merged = [np.array(sorted(members[k]), dtype=np.int64) for k in alive]
    return merged, [-1 if parents[k] < 0 else position[find(parents[k])] for k in alive]


def _topological(n: int, cliques: list[np.ndarray], parents: list[int]) -> CliqueTree:
    """The same tree with parents before children."""
    children: list[list[int]] = [[] for _ in cliques]
    order = [k for k, p in enumerate(parents) if p < 0]
    for k, p in enumerate(parents):
        if p >= 0:
            children[p].append(k)
    for k in order:  # grows while it is read
        order.extend(children[k])
    position = {k: index for index, k in enumerate(order)}
    return CliqueTree(
        n,
        tuple(cliques[k].astype(np.int64) for k in order),
        tuple(-1 if parents[k] < 0 else position[parents[k]] for k in order),
    )
