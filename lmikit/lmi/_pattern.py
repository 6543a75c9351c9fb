"""Aggregate sparsity of LMI blocks, and words for it."""

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from ._sdp import LMI, SDP

__all__ = ["aggregate_pattern", "describe_lmi", "describe_sdp", "fits_partition"]

_SHOWN = 8  # blocks listed one by one in a description


def _ones(matrix: sp.csc_array) -> sp.csc_array:
    return sp.csc_array((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)


def aggregate_pattern(lmi: "LMI") -> sp.csc_array:
    """Ones where F(y) may be nonzero for some y, the diagonal included; cancellations are not seen."""
    live = np.flatnonzero(np.diff(lmi.E.tocsr().indptr))
    half = _ones(lmi.P)[:, live] @ _ones(lmi.Q)[:, live].T
    return _ones(sp.csc_array(half + half.T + _ones(lmi.F0) + sp.eye_array(lmi.size)))


def fits_partition(pattern: sp.csc_array, partition: tuple[int, ...]) -> bool:
    """Whether a pattern is block tridiagonal under these block sizes."""
    label = np.repeat(np.arange(len(partition)), partition)
    coo = pattern.tocoo()
    return bool((np.abs(label[coo.row] - label[coo.col]) <= 1).all())


def _count(number: int, noun: str) -> str:
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number} {noun if number == 1 else plural}"


def describe_lmi(lmi: "LMI") -> str:
    """Order, rank-one terms, nonzeros and block structure of one LMI."""
    n = lmi.size
    if n == 0:
        return "order 0"
    pattern = aggregate_pattern(lmi)
    words = [f"order {n}", _count(lmi.P.shape[1], "term"), f"{pattern.nnz} of {n * n} entries"]
    parts = int(connected_components(pattern, directed=False, return_labels=False))
    if lmi.partition is not None:
        sizes = lmi.partition
        spread = str(sizes[0]) if len(set(sizes)) == 1 else f"{min(sizes)} to {max(sizes)}"
        words.append(f"block tridiagonal, {_count(len(sizes), 'block')} of {spread}")
    elif pattern.nnz == n:
        words.append("diagonal")
    elif parts > 1:
        words.append(f"{parts} independent parts")
    elif n > 1:
        coo = pattern.tocoo()
        band = int(np.abs(coo.row.astype(np.int64) - coo.col).max())
        words.append("dense" if pattern.nnz == n * n else f"half bandwidth {band}")
    return ", ".join(words)


def describe_sdp(sdp: "SDP") -> str:
    """What `repr` of an SDP shows: a line of totals, then one line per LMI."""
    kind = "linear" if sdp.H is None else f"quadratic ({sdp.H.nnz} nonzeros)"
    head = [
        _count(sdp.variables, "variable"),
        _count(len(sdp.lmis), "LMI"),
        _count(sdp.h.size, "inequality"),
        _count(sdp.b.size, "equality"),
        _count(len(sdp.socs), "second-order cone"),
        f"{kind} objective",
    ]
    lines = [f"<SDP: {', '.join(head)}"]
    for k, lmi in enumerate(sdp.lmis[:_SHOWN]):
        lines.append(f"  {lmi.name or f'lmis[{k}]'}: {describe_lmi(lmi)}")
    if len(sdp.lmis) > _SHOWN:
        rest = [lmi.size for lmi in sdp.lmis[_SHOWN:]]
        lines.append(f"  and {len(rest)} more of order {min(rest)} to {max(rest)}")
    return "\n".join(lines) + ">"
