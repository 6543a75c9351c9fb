"""Constraint generation: solve with a working set of pattern rows, add the violated ones, repeat.

A program with fewer rows is a relaxation, so the first point that violates none of the rows left out
is optimal for all of them.
"""

import time
from collections.abc import Callable

import numpy as np

from ..._errors import SolveFailed

__all__ = ["solve_with_rows"]

_TOLERANCE = 1e-7  # of s >= 0, relative to the norm of the row and the largest unit

Solved = tuple[np.ndarray, np.ndarray, float | None]


def solve_with_rows(
    solve: Callable[[np.ndarray, float | None], Solved],
    slack: Callable[[np.ndarray], np.ndarray],
    norms: np.ndarray,
    v: np.ndarray,
    *,
    start: float | None = None,
    whole: bool = False,
    rounds: int = 20,
    time_limit: float | None = None,
) -> Solved:
    """What `solve(mask, seconds)` returns for pattern rows mask (n, N) that leave no other row violated.

    That is (y, a multiplier for every row, 0 where it was left out, the gap or None). `slack(v)` (n, N) is
    >= 0 where the rows hold, `norms` (N,) are those of the rows. `start` in (0, 1] begins with that share
    of the rows, those that v (the leading variables) is nearest to violating, None with all of them;
    `whole`: a row of the data comes with all n units. Raises SolveFailed where rows stay violated.
    """
    began = time.perf_counter()
    margin = slack(v) / np.maximum(norms, np.finfo(float).tiny)
    nearest = margin.min(axis=0) if whole else margin
    chosen = np.full(nearest.shape, True) if start is None else nearest <= np.quantile(nearest, start)
    working = np.broadcast_to(chosen, margin.shape).copy()
    for _ in range(rounds):
        left = None if time_limit is None else max(time_limit - (time.perf_counter() - began), 1e-3)
        found = solve(working, left)
        if working.all():
            return found
        leading = found[0][: v.size]
        reach = max(float(np.abs(leading).max(initial=0.0)), 1e-12)
        violated = (slack(leading) < -_TOLERANCE * reach * norms) & ~working
        if not violated.any() or (left is not None and left <= 1e-3):
            return found
        working |= violated.any(axis=0) if whole else violated
    raise SolveFailed(f"rows were still violated after {rounds} rounds; start with more of them.")
