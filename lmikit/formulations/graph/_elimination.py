"""Which sources of a graph's LMI are eliminated by hand, and how many rows are left."""

from collections.abc import Collection, Mapping

import numpy as np
import scipy.optimize
import scipy.sparse as sp

from ...graph import Affine, Apply, Graph

__all__ = ["dense_rows", "eliminated_sources"]


def eliminated_sources(
    sizes: Mapping[int, int],
    reads: Mapping[int, Collection[int]],
    two_sided: Collection[int],
) -> tuple[int, ...]:
    """Sources with diagonal blocks, no two of them beside each other, of the largest size together.

    `reads`: the sources that each node reads; `two_sided`: the nodes with slopes of both signs.
    """
    place = {s: i for i, s in enumerate(sizes)}
    pairs = [(place[k], place[s]) for k, found in reads.items() for s in found]
    full = {s for k in two_sided for s in reads[k]}
    allowed = np.array([0.0 if s in full else 1.0 for s in sizes])
    if not pairs:
        return tuple(s for s in sizes if s not in full)
    rows = np.repeat(np.arange(len(pairs)), 2)
    beside = sp.csr_array((np.ones(rows.size), (rows, np.ravel(pairs))), shape=(len(pairs), len(place)))
    found = scipy.optimize.milp(
        -np.array([float(n) for n in sizes.values()]),
        integrality=np.ones(len(place)),
        bounds=scipy.optimize.Bounds(0.0, allowed),
        constraints=scipy.optimize.LinearConstraint(beside, -np.inf, 1.0),
    )
    return () if found.x is None else tuple(s for s in sizes if found.x[place[s]] > 0.5)


def dense_rows(graph: Graph) -> int | None:
    """At most how many rows are left of Z, before anything is built; None for graphs with groups."""
    sizes: dict[int, int] = {0: graph.input_dim}
    reads: dict[int, set[int]] = {}
    two_sided: list[int] = []
    seen: list[set[int]] = []  # the sources that each node's value depends on
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Affine):
            seen.append(set().union(*(seen[p] for p in node.parents)))
        elif isinstance(node, Apply):
            if node.grouped:
                return None
            linear = node.alpha == node.beta
            seen.append({k} if not linear.any() else seen[node.parent] | ({k} if not linear.all() else set()))
            if not linear.all():
                sizes[k], reads[k] = int((~linear).sum()), seen[node.parent]
                if (node.alpha * node.beta)[~linear].any():
                    two_sided.append(k)
        else:
            seen.append({0})
    return sum(sizes.values()) - sum(sizes[s] for s in eliminated_sources(sizes, reads, two_sided))
