"""One factorisation for many borders whose rows are known up to radii.

The matrix [[A, -w'], [-w, rho]] is to be proven PSD for every row w, with the least rho that will do.

Rows with radii r: let e = w~ - w, |e| <= r. For any delta > 0 and q = sum_j r_j^2 / delta_j the matrix
[[A, -w~'], [-w~, rho + q]] is [[A - diag(delta), -w'], [-w, rho]] plus [[diag(delta), -e'], [-e, q]], and the
latter is PSD. So A is given delta for radii on its diagonal, and rho is raised by q.
"""

import dataclasses
from typing import Any

import numpy as np

from ._repair import HEADROOM
from ._verified_cholesky import BlockTridiagonal, BorderedCholesky

__all__ = ["least_proven", "merged"]

_ROOM = 2.0**-44  # delta, relative to A's diagonal
_LARGEST = 2.0**30  # of a radius


def least_proven(a: BlockTridiagonal, rows: np.ndarray, radii: np.ndarray | None = None) -> np.ndarray:
    """About the least rho proven for every row (p, n) of the last block of A, or NaN; without radii exact."""
    if radii is None or not radii.any():
        bordered = BorderedCholesky(a, HEADROOM)
        least = bordered.least(rows)
        return np.where(bordered.holds(rows, least), least, np.nan)
    diagonal = a.diagonal[-1] if a.diagonal[-1].ndim == 1 else np.diagonal(a.diagonal[-1])
    delta = np.where(radii.any(axis=0), _ROOM * diagonal, 0.0)
    bordered = BorderedCholesky(_with_radii(a, delta), HEADROOM)
    least = bordered.least(rows)
    proven = np.where(bordered.holds(rows, least) & (radii <= _LARGEST).all(axis=1), least, np.nan)
    ratios = np.where(radii > 0.0, radii * (radii / delta), 0.0)  # infinite where delta underflowed to 0
    lost = (ratios.sum(axis=1) + radii.shape[1] * 2.0**-1040) * (1.0 + 2.0**-30)
    return np.where(radii.any(axis=1), (proven + lost) * (1.0 + 2.0**-50), proven)


def merged(a: BlockTridiagonal, first: int) -> BlockTridiagonal:
    """The same matrices, the blocks from `first` on as one."""
    if first == len(a.diagonal) - 1:
        return a
    starts = np.cumsum([0, *(block.shape[0] for block in a.diagonal[first:])])
    value, rad = np.zeros((starts[-1], starts[-1])), np.zeros((starts[-1], starts[-1]))
    for into, diagonal, lower in (
        (value, a.diagonal[first:], a.lower[first:]),
        (rad, a.diagonal_rad[first:], a.lower_rad[first:]),
    ):
        for k, block in enumerate(diagonal):
            if block is not None:
                here = slice(starts[k], starts[k + 1])
                into[here, here] = np.diag(block) if block.ndim == 1 else block
        for k, block in enumerate(lower):
            if block is not None:
                above, below = slice(starts[k], starts[k + 1]), slice(starts[k + 1], starts[k + 2])
                into[below, above], into[above, below] = block, block.T
    return BlockTridiagonal(
        (*a.diagonal[:first], value),
        _with_rows(a.lower[:first], int(starts[-1])),
        (*a.diagonal_rad[:first], rad if rad.any() else None),
        _with_rows(a.lower_rad[:first], int(starts[-1])),
    )


def _with_rows(lower: tuple[Any, ...], rows: int) -> tuple[Any, ...]:
    """The last block with zeros below, to so many rows: what follows its rows did not read it."""
    if not lower or lower[-1] is None:
        return lower
    *before, last = lower
    grown = np.zeros((rows, last.shape[1]))
    grown[: last.shape[0]] = last
    return (*before, grown)


def _with_radii(a: BlockTridiagonal, delta: np.ndarray) -> BlockTridiagonal:
    """The last diagonal block with these radii more, on its diagonal."""
    rad = a.diagonal_rad[-1]
    if rad is None:
        rad = delta if a.diagonal[-1].ndim == 1 else np.diag(delta)
    else:
        rad = (rad + np.diag(delta) if rad.ndim == 2 else rad + delta) * (1.0 + 2.0**-50)
    return dataclasses.replace(a, diagonal_rad=(*a.diagonal_rad[:-1], rad))
