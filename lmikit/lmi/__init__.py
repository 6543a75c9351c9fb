"""The solver-agnostic LMI layer; it has never heard of a network."""

from ._cbf import read_cbf, write_cbf
from ._chordal import Decomposition, decompose
from ._cliques import CliqueTree, clique_tree
from ._completion import complete
from ._cone_constraints import exponential_cone, power_cone, rotated_cone
from ._cones import ConicProgram, ExponentialCone, PowerCone
from ._constraint import Constraint
from ._curved import Curved
from ._epigraph import epigraph_form
from ._expression import Expression
from ._norms import norm, nuclear_norm, quad_form, quad_over_lin, sigma_max, sum_squares
from ._pattern import aggregate_pattern
from ._problem import Problem
from ._residuals import DualResiduals, Residuals
from ._sdp import LMI, SDP, SOC
from ._sdpa import read_sdpa, write_sdpa
from ._solution import Dual, Solution, Status
from ._spectral import det_rootn, geo_mean, lambda_max, lambda_min, log_det
from ._spy import spy
from ._structure import block, constant, diag, hstack, kron, multiply, reshape, sym, trace, vec, vstack
from ._values import Values

__all__ = [
    "LMI",
    "SDP",
    "SOC",
    "CliqueTree",
    "ConicProgram",
    "Constraint",
    "Curved",
    "Decomposition",
    "Dual",
    "DualResiduals",
    "ExponentialCone",
    "Expression",
    "PowerCone",
    "Problem",
    "Residuals",
    "Solution",
    "Status",
    "Values",
    "aggregate_pattern",
    "block",
    "clique_tree",
    "complete",
    "constant",
    "decompose",
    "det_rootn",
    "diag",
    "epigraph_form",
    "exponential_cone",
    "geo_mean",
    "hstack",
    "kron",
    "lambda_max",
    "lambda_min",
    "log_det",
    "multiply",
    "norm",
    "nuclear_norm",
    "power_cone",
    "quad_form",
    "quad_over_lin",
    "read_cbf",
    "read_sdpa",
    "reshape",
    "rotated_cone",
    "sigma_max",
    "spy",
    "sum_squares",
    "sym",
    "trace",
    "vec",
    "vstack",
    "write_cbf",
    "write_sdpa",
]
