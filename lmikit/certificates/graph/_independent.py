"""An order of elimination for large maps that are sparse: sources with diagonal blocks first, then the rest.

Sources that share no block and have diagonal ones each (of convolutions every second map) fill in only what
their channels touch: the square of a channel's neighbours, where levels factorise a whole map as dense.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ...graph._enclosure import EnclosedMatrix
from ...graph._levels import factor_cost

__all__ = ["independent_first", "is_diagonal"]

_LARGE = 3e9  # operations of the levels from which another order is looked for
_WORTH = 0.5  # share of them that it may cost
_SPARSE_COST = 250.0  # of a multiplication in a product of sparse matrices, against a dense one


def independent_first(
    blocks: Mapping[tuple[int, int], EnclosedMatrix],
    order: Sequence[int],
    sizes: Sequence[int],
    partition: Sequence[Sequence[int]],
) -> tuple[int, ...]:
    """Places in `order` of the sources to eliminate first, the largest before others; () for the levels.

    What the output, which stands last, reads is not among them.
    """
    levels_cost = factor_cost([sum(sizes[i] for i in level) for level in partition])
    if levels_cost < _LARGE:
        return ()
    place = {name: i for i, name in enumerate(order)}
    beside: dict[int, set[int]] = {i: set() for i in range(len(order))}
    for a, b in blocks:
        if a != b:
            beside[place[a]].add(place[b])
            beside[place[b]].add(place[a])
    last = len(order) - 1
    full = {place[a] for (a, b), e in blocks.items() if a == b and not is_diagonal(e)}
    taken: list[int] = []
    for i in sorted(range(last), key=lambda i: -sizes[i]):
        if i not in full and i not in beside[last] and not beside[i] & set(taken):
            taken.append(i)
    rest = float(sum(sizes[i] for i in range(len(order)) if i not in taken))
    fill = np.concatenate([np.zeros(0), *(_neighbours(blocks, order[i]) for i in taken)])
    cost = rest**3 / 3.0 + min(_SPARSE_COST * float((fill**2).sum()), fill.size * rest**2)
    return tuple(sorted(taken)) if taken and cost < _WORTH * levels_cost else ()


def is_diagonal(block: EnclosedMatrix) -> bool:
    """Whether nothing stands off the diagonal and nothing is rounded."""
    return block.rad is None and np.count_nonzero(block.mid) == np.count_nonzero(np.diagonal(block.mid))


def _neighbours(blocks: Mapping[tuple[int, int], EnclosedMatrix], name: int) -> np.ndarray:
    """How many rows of other sources each channel touches."""
    counts: list[np.ndarray] = []
    for (a, b), e in blocks.items():
        if a != b and name in (a, b):
            counts.append(np.count_nonzero(e.mid, axis=0 if b == name else 1))
    return np.asarray(sum(counts), dtype=float)
