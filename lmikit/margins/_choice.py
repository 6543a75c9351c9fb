"""Which form of the margin dual: without intervals for shallow networks, with them first for deep ones.

Without intervals the radius on which the dual is tight shrinks with the squared product of the
layers' norms, so that from four hidden layers on it proves next to nothing; with intervals most neurons
of a deep network are stable on a small region and drop out. Where the first form leaves a row
open, the other is tried too, and every row keeps the better of the two. Large networks of sparse
maps have the first form only: the other works with dense matrices of all undecided neurons; deep ones
begin with CROWN's bounds alone.
"""

import dataclasses
import time

import numpy as np

from .._errors import SolveFailed
from ..certificates.point import PointWitness
from ..claims import AbstractRegion
from ._interval_propose import propose_with_intervals
from ._problem import PieceChain
from ._propose import Search, propose_margins
from ._union import united, with_enclosures

__all__ = ["propose_best"]

_DEEP = 4  # hidden layers


def propose_best(
    chain: PieceChain, region: AbstractRegion, rows: np.ndarray, offsets: np.ndarray, search: Search
) -> PointWitness:
    """What the two forms prove together; raises SolveFailed where neither finds anything."""
    start = time.monotonic()
    if chain.sparse and chain.hidden >= _DEEP:  # its second is a hundredth of the ascent's
        crown = with_enclosures(chain.original, region, rows, offsets, None, search.target)
        if crown is not None and crown.claim.lower.min() > search.target:
            return crown
    forms = (propose_margins,) if chain.sparse else (propose_margins, propose_with_intervals)
    best: PointWitness | None = None
    for form in reversed(forms) if chain.hidden >= _DEEP else forms:
        left = None if search.time_limit is None else search.time_limit - (time.monotonic() - start)
        if left is not None and left <= 0.0 and best is not None:
            break
        wanted = dataclasses.replace(search, time_limit=left)
        if form is propose_margins and chain.hidden >= _DEEP:
            wanted = dataclasses.replace(wanted, newton=0)  # seconds per row, for next to nothing
        try:
            found = form(chain, region, rows, offsets, wanted)
        except SolveFailed:
            found = None
        best = united([w for w in (best, found) if w is not None])
        if best is not None and best.claim.lower.min() > search.target:
            break
    if best is None:
        raise SolveFailed("neither form of the margin dual has a feasible point for this region.")
    return best
