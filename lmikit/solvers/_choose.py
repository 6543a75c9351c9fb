"""Which solver suits an SDP, by its structure and size, and why."""

import importlib.util

import numpy as np

from ..lmi import SDP
from ._base import AbstractSolver
from ._clarabel import Clarabel
from ._cost import dense_blocks, dense_bytes, dense_flops, free_bytes, rows_seconds
from ._scs import SCS
from .dense import Dense
from .low_rank import LowRank

__all__ = ["choose"]

_QUICK = 0.5  # seconds that Clarabel may take before another solver is thought of
_LONG = 3e12  # flops of one iteration of Dense that are too many
_LARGE = 40  # order from which few terms are worth a method of their own


def choose(sdp: SDP) -> tuple[tuple[AbstractSolver, str], ...]:
    """Solvers in the order in which to try them, each with the reason in words."""
    clarabel = (Clarabel(), "small, sparse or with cones")
    if rows_seconds(sdp, enough=_QUICK) <= _QUICK:
        return (clarabel,)
    blocks = dense_blocks(sdp)
    fits = dense_bytes(sdp) < 0.75 * free_bytes()
    dense = (Dense(), f"a dense block of order {max(blocks)}")
    if _few_terms(sdp):
        low = (LowRank(), f"an LMI of order {max(blocks)} with few terms")
        return (low, dense) if fits else (low,)
    if fits and dense_flops(sdp) < _LONG:
        return (dense,)
    if importlib.util.find_spec("scs") is not None:
        return ((SCS(), f"too large for an interior point: {sdp.variables} variables"),)
    return (dense,) if fits else (clarabel,)


def _few_terms(sdp: SDP) -> bool:
    if LowRank().suits(sdp) is not None or max(lmi.size for lmi in sdp.lmis) < _LARGE:
        return False
    terms = sum(int((np.diff(lmi.E.tocsr().indptr) > 0).sum()) for lmi in sdp.lmis)
    return terms <= sdp.variables + sum(lmi.size for lmi in sdp.lmis)
