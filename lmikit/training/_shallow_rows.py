"""Constraint generation: solve with a working set of pattern rows, add the violated ones, repeat.

A program with fewer rows is a relaxation, so the first point that violates none of the rows left out
is optimal for all of them.
"""

import time
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from .._errors import SolveFailed
from .._progress import ProgressCallback
from ..lmi import SDP
from ..solvers import AbstractSolver

__all__ = ["solve_with_rows"]

_TOLERANCE = 1e-7  # of G v <= 0, relative to the norm of the row and the largest unit


def solve_with_rows(
    program: Callable[[sp.csr_array], SDP],
    G: sp.csr_array,
    v: np.ndarray,
    solver: AbstractSolver,
    *,
    start: float | None = None,
    rounds: int = 20,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Solve `program(G)`: (y, a multiplier for every row of G, 0 where it was left out).

    `start` in (0, 1] begins with that share of the rows, None with all of them.
    The first working set holds the rows that `v` (the leading variables) is nearest to violating.
    Raises SolveFailed where a solve has no usable point.
    """
    began = time.perf_counter()
    working = np.ones(G.shape[0], dtype=bool)
    norms = np.sqrt(np.asarray(G.multiply(G).sum(axis=1)).ravel())
    if start is not None:
        nearness = G @ v / np.maximum(norms, np.finfo(float).tiny)
        working = nearness >= np.quantile(nearness, 1.0 - start)
    for _ in range(rounds):
        left = None if time_limit is None else max(time_limit - (time.perf_counter() - began), 1e-3)
        solution = solver.solve(program(G[working]), time_limit=left, progress=progress)
        if solution.y is None or not solution.status.has_point:
            raise SolveFailed(
                f"{type(solver).__name__} ended with {solution.status.name} ({solution.native_status}); "
                "try another solver, or scale the columns of X and y to unit variance."
            )
        if working.all():
            break
        reach = max(float(np.abs(solution.y[: v.size]).max(initial=0.0)), 1e-12)
        violated = (G @ solution.y[: v.size] > _TOLERANCE * reach * norms) & ~working
        if not violated.any() or (left is not None and left <= 1e-3):
            break
        working |= violated
    else:
        raise SolveFailed(f"rows were still violated after {rounds} rounds; start with more of them.")
    multipliers = np.zeros(G.shape[0])
    if solution.dual is not None and solution.dual.z.size:
        multipliers[working] = solution.dual.z
    return solution.y, multipliers
