"""Margins and radii at a point: the dual of the margin SDP, its ascent, and the witnesses they propose."""

from ._choice import propose_best
from ._curve_constants import ProposedTerm, curve_range, slopes_at, supporting_lines, touching_parabolas
from ._curve_model import CurvedChain, curved_chain_of
from ._curve_propose import CURVE_KINDS, problem_of, propose_curve_radius, propose_curves
from ._interval_propose import propose_with_intervals
from ._problem import PieceChain, chain_of
from ._propose import Search, propose_margins, propose_radius
from ._union import united, with_enclosures

__all__ = [
    "CURVE_KINDS",
    "CurvedChain",
    "PieceChain",
    "ProposedTerm",
    "Search",
    "chain_of",
    "curve_range",
    "curved_chain_of",
    "problem_of",
    "propose_best",
    "propose_curve_radius",
    "propose_curves",
    "propose_margins",
    "propose_radius",
    "propose_with_intervals",
    "slopes_at",
    "supporting_lines",
    "touching_parabolas",
    "united",
    "with_enclosures",
]
