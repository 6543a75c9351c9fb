"""Levels: an ordered partition of groups of rows such that a matrix is block tridiagonal.

The groups stay in their order. Consecutive ones form a level, and two groups that meet in the matrix must
be in the same level or in neighbouring ones: a value that is used later pulls the groups between together.
"""

import functools
import itertools
from collections.abc import Iterable, Sequence

__all__ = ["factor_cost", "levels"]

_SEARCHED = 90  # groups up to which all partitions are compared


def levels(sizes: Sequence[int], pairs: Iterable[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """The cheapest partition of range(len(sizes)), for a block Cholesky factorisation.

    `pairs`: groups that meet. The cost is sum of n^3 / 3 + n^2 m + n m^2 over levels n, followed by m.
    """
    count = len(sizes)
    reach = list(range(count))
    for a, b in pairs:
        low, high = min(a, b), max(a, b)
        reach[low] = max(reach[low], high)
    starts = _cheapest(tuple(sizes), tuple(reach)) if count <= _SEARCHED else _greedy(reach)
    return tuple(tuple(range(a, b)) for a, b in zip(starts, [*starts[1:], count], strict=True))


def factor_cost(sizes: Sequence[int]) -> float:
    """Operations of a block Cholesky factorisation with levels of these sizes."""
    return sum(_cost(n, m) for n, m in itertools.pairwise([*sizes, 0]))


def _cost(n: int, m: int) -> float:
    """Of a level of n rows and what it does to the m that follow."""
    return n**3 / 3.0 + n * n * m + n * m * m


def _greedy(reach: Sequence[int]) -> tuple[int, ...]:
    """Level by level, each as small as the one before allows."""
    starts, end = [0], 1
    while end < len(reach):
        starts.append(end)
        end = max(end + 1, max(reach[starts[-2] : end]) + 1)
    return tuple(starts)


@functools.lru_cache(maxsize=64)  # one frequency after another asks the same
def _cheapest(sizes: tuple[int, ...], reach: tuple[int, ...]) -> tuple[int, ...]:
    count = len(sizes)
    before = [0]
    for size in sizes:
        before.append(before[-1] + size)

    def cost(a: int, b: int, c: int) -> float:
        """Of level [a, b) and what it does to [b, c)."""
        return _cost(before[b] - before[a], before[c] - before[b])

    @functools.cache
    def best(a: int, b: int) -> tuple[float, tuple[int, ...]]:
        """The cheapest rest after the level [a, b), and where its levels start."""
        if b == count:
            return (before[b] - before[a]) ** 3 / 3.0, ()
        least = max(b + 1, max(reach[a:b]) + 1)
        options = ((c, best(b, c)) for c in range(least, count + 1))
        found = min((cost(a, b, c) + rest[0], (b, *rest[1])) for c, rest in options)
        return found

    return min((best(0, b)[0], (0, *best(0, b)[1])) for b in range(1, count + 1))[1]
