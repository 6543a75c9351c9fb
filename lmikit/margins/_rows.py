"""The order in which rows are searched for, for any search that keeps the best bound of every row."""

from collections.abc import Sized
from typing import Protocol

import numpy as np

__all__ = ["RowHunt", "least_of_rows", "rows_until_below"]

_ROOM = 1e-7  # above the target, for what the proof loses


class RowHunt(Protocol):
    """`best` (rows,) by row, -inf where nothing is known; `found` is not empty once anything is."""

    best: np.ndarray

    @property
    def found(self) -> Sized: ...

    def order(self) -> np.ndarray: ...

    def late(self) -> bool: ...

    def climb(self, r: int, target: float) -> None: ...

    def complete(self) -> None: ...


def rows_until_below(hunt: RowHunt, wanted: float) -> None:
    """Rows in their order until one stays below the target, which may be infinite: then all of them."""
    target = wanted + _ROOM * max(1.0, abs(wanted)) if np.isfinite(wanted) else np.inf
    for r in hunt.order():
        if hunt.best[r] > target or (hunt.found and hunt.late()):
            continue
        hunt.climb(int(r), target)
        if hunt.best[r] <= target and np.isfinite(target):
            break


def least_of_rows(hunt: RowHunt) -> float:
    """The least best bound of all rows: another than those that were searched is binding only below them."""
    least = np.inf
    for r in hunt.order():
        if hunt.found and (hunt.best[r] >= least or hunt.late()):
            continue
        hunt.climb(int(r), least * (1.0 + _ROOM))
        least = min(least, float(hunt.best[r]))
    hunt.complete()
    return float(hunt.best.min())
