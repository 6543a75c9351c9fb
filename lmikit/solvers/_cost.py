"""What a solve will cost, from the sizes alone, within a factor of a few.

A solver that keeps a PSD block of order n as N = n(n+1)/2 rows of a sparse system, as Clarabel does,
fills an N x N triangle per block: for n = 200 that is 20 GB.
"""

import os

import numpy as np

from ..lmi import LMI, SDP, aggregate_pattern

__all__ = [
    "dense_blocks",
    "dense_bytes",
    "dense_flops",
    "dense_seconds",
    "free_bytes",
    "rows_bytes",
    "rows_seconds",
]

_DENSE = 0.4  # share of nonzeros from which chordal decomposition brings nothing
_BYTES = 50.0  # per pair of rows of one block: system, factor and ordering, measured
_RATE = 4e9  # flops per second of a sparse factorisation
_ITERATIONS = 15
_SETUP = 5e-7  # seconds per nonzero: presolve, equilibration, columns
_DENSE_RATE = 2e10  # flops per second of dense products


def _order(lmi: LMI) -> int:
    """The order of the block, 0 where it is sparse enough to be decomposed."""
    if lmi.size < 2:
        return 0
    if lmi.partition is not None and len(lmi.partition) > 3:
        return 0
    return lmi.size if aggregate_pattern(lmi).nnz >= _DENSE * lmi.size**2 else 0


def dense_blocks(sdp: SDP) -> list[int]:
    """Orders of the LMIs whose pattern is nearly full."""
    return [order for order in map(_order, sdp.lmis) if order]


def _rows(sdp: SDP) -> np.ndarray:
    return np.array([n * (n + 1) / 2 for n in dense_blocks(sdp)])


def _most_rows(sdp: SDP) -> np.ndarray:
    """Rows of the blocks as if every pattern were full; patterns take longer to look at than small solves."""
    return np.array([lmi.size * (lmi.size + 1) / 2 for lmi in sdp.lmis])


def rows_bytes(sdp: SDP, enough: float = 0.0) -> float:
    """Memory of a solver that keeps blocks as rows; a bound on it where that is `enough` at most."""
    most = float(_BYTES * (_most_rows(sdp) ** 2).sum())
    return most if most <= enough else float(_BYTES * (_rows(sdp) ** 2).sum())


def rows_seconds(sdp: SDP, enough: float = 0.0) -> float:
    """Time of a solver that keeps blocks as rows; a bound on it where that is `enough` at most."""
    most = float((_most_rows(sdp) ** 3).sum()) * _ITERATIONS / 3.0 / _RATE
    return most if most <= enough else float((_rows(sdp) ** 3).sum()) * _ITERATIONS / 3.0 / _RATE


def dense_bytes(sdp: SDP) -> float:
    """Memory of `Dense`: Schur complement and its copies, blocks, columns of the blocks."""
    m = float(sdp.variables)
    blocks = 0.0
    for lmi in sdp.lmis:
        products = float(np.diff(lmi.P.indptr) @ np.diff(lmi.Q.indptr)) if lmi.P.shape[1] else 0.0
        spread = max(1.0, lmi.E.nnz / max(1, lmi.E.shape[0]))
        blocks += 24.0 * min(2.0 * products * spread, lmi.size**2 * m) + 160.0 * lmi.size**2
    return 40.0 * m * m + blocks + 16.0 * sdp.b.size * m


def dense_flops(sdp: SDP) -> float:
    """Work of one iteration of `Dense`, at most."""
    m = float(sdp.variables)
    each = sum(25.0 * n**3 + min(4.0 * n**3 * m + 0.5 * n * n * m * m, 1e3 * n * n * m) for n in _sizes(sdp))
    return m**3 / 3.0 + each


def dense_seconds(sdp: SDP) -> float:
    """What `Dense` does between two looks at the clock: its set-up, and one iteration."""
    entries = sum(lmi.E.nnz + lmi.P.nnz + lmi.Q.nnz + lmi.F0.nnz for lmi in sdp.lmis) + sdp.A.nnz + sdp.G.nnz
    return _SETUP * entries + dense_flops(sdp) / _DENSE_RATE


def _sizes(sdp: SDP) -> list[float]:
    return [float(lmi.size) for lmi in sdp.lmis]


def free_bytes() -> float:
    """Memory that is free here; infinity where the system does not say."""
    if "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return float("inf")
