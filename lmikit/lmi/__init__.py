"""The solver-agnostic LMI layer; it has never heard of a network."""

from ._atoms import block, diag, norm, quad_form, sum_squares, sym, vstack
from ._constraint import Constraint
from ._expression import Expression
from ._problem import Problem
from ._sdp import LMI, SDP, SOC
from ._solution import Dual, Solution, Status
from ._values import Values

__all__ = [
    "LMI",
    "SDP",
    "SOC",
    "Constraint",
    "Dual",
    "Expression",
    "Problem",
    "Solution",
    "Status",
    "Values",
    "block",
    "diag",
    "norm",
    "quad_form",
    "sum_squares",
    "sym",
    "vstack",
]
