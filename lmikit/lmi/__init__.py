"""The solver-agnostic LMI layer; it has never heard of a network."""

from ._atoms import block, diag, norm, quad_form, sum_squares, sym, vstack
from ._cbf import read_cbf, write_cbf
from ._chordal import Decomposition, decompose
from ._cliques import CliqueTree, clique_tree
from ._completion import complete
from ._constraint import Constraint
from ._epigraph import epigraph_form
from ._expression import Expression
from ._pattern import aggregate_pattern
from ._problem import Problem
from ._residuals import DualResiduals, Residuals
from ._sdp import LMI, SDP, SOC
from ._sdpa import read_sdpa, write_sdpa
from ._solution import Dual, Solution, Status
from ._spy import spy
from ._values import Values

__all__ = [
    "LMI",
    "SDP",
    "SOC",
    "CliqueTree",
    "Constraint",
    "Decomposition",
    "Dual",
    "DualResiduals",
    "Expression",
    "Problem",
    "Residuals",
    "Solution",
    "Status",
    "Values",
    "aggregate_pattern",
    "block",
    "clique_tree",
    "complete",
    "decompose",
    "diag",
    "epigraph_form",
    "norm",
    "quad_form",
    "read_cbf",
    "read_sdpa",
    "spy",
    "sum_squares",
    "sym",
    "vstack",
    "write_cbf",
    "write_sdpa",
]
