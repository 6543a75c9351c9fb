"""Margins and radii at a point: the dual of the margin SDP, its ascent, and the witnesses they propose."""

from ._choice import propose_best
from ._curve_constants import ProposedTerm, curve_range, slopes_at, touching_parabolas
from ._interval_propose import propose_with_intervals
from ._problem import PieceChain, chain_of
from ._propose import Search, propose_margins, propose_radius

__all__ = [
    "PieceChain",
    "ProposedTerm",
    "Search",
    "chain_of",
    "curve_range",
    "propose_best",
    "propose_margins",
    "propose_radius",
    "propose_with_intervals",
    "slopes_at",
    "touching_parabolas",
]
