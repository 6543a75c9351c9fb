"""Other norms than l2: one LMI with the output lifted, D_in and D_out its variables.

    minimise (c_in + c_out) / 2   s.t.   [[ M(lambda) + E_0'D_in E_0, -Y' ], [ -Y, D_out ]] >= 0,

with D = tau I, c = tau for l2 (input or output) and D = diag(tau), c = sum of tau for an l-infinity input
and an l1 output; one row at a time for an l-infinity output, one column for an l1 input. It generalises
Wang, Prakriya, Jha, "A quantitative geometric approach to neural-network smoothness", NeurIPS 2022 (GeoLIP).
"""

import dataclasses
import functools
import math

import numpy as np
import scipy.sparse as sp

from ...graph import Graph
from ...graph._form import EliminatedForm, eliminate
from ...graph._witness import Part, as_norm
from ...lmi import LMI, SDP, Solution
from .._point import usable_point
from .._signs import nonnegative_rows
from ..iqc import Dissipation
from ._constraints import node_constraint
from ._gain import gathered, spread
from ._maps import EliminatedMaps, linear_fractional_of

__all__ = ["GraphNorms"]


@dataclasses.dataclass(frozen=True, eq=False)
class GraphNorms:
    """The LMI for norms (p, q): for one output `row` where q is infinity, one input `column` where p is 1."""

    graph: Graph
    norm: tuple[float, float]
    row: int | None = None
    column: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "norm", as_norm(self.norm))

    @functools.cached_property
    def form(self) -> EliminatedForm:
        """The eliminated form of the graph."""
        return eliminate(self.graph)

    @functools.cached_property
    def maps(self) -> EliminatedMaps:
        """Its maps, restricted to the row and the column."""
        return linear_fractional_of(self.form).restricted(self.row, self.column)

    def sdp(self) -> SDP:
        """Variables (multipliers node by node, D_in, D_out)."""
        maps = self.maps
        problem = Dissipation(maps.as_fractional(), [node_constraint(self.form, k) for k in maps.nodes])
        inner = problem.sdp()
        block = inner.lmis[0]
        keep = np.arange(block.E.shape[0] - maps.N_yx.shape[0])  # without the terms of -F Y'Y
        size, m = block.size, int(maps.N_yx.shape[0])
        P, Q = (sp.vstack([M[:, keep], sp.csc_array((m, keep.size))]) for M in (block.P, block.Q))
        E = block.E[keep][:, :-1]
        eye = sp.eye_array(size + m, format="csc")
        each_in, each_out = self._diagonals(maps.inputs, m)
        ends = sp.hstack([eye[:, : maps.inputs], eye[:, size:]], format="csc")
        Y = sp.hstack([maps.N_yx, maps.N_yw], format="csc")
        lmi = LMI(
            sp.csc_array(sp.block_array([[sp.csc_array((size, size)), -Y.T], [-Y, sp.csc_array((m, m))]])),
            sp.hstack([P, ends], format="csc"),
            sp.hstack([Q, ends], format="csc"),
            sp.block_diag([E, each_in, each_out], format="csc"),
            name="dissipation",
            partition=maps.partition(lifted=True),
        )
        weights = np.concatenate([_price(each_in), _price(each_out)])
        objective = np.concatenate([np.zeros(E.shape[1]), 0.5 * weights])
        signs = [placed.constraint.terms().nonnegative for placed in problem.placed]
        which = np.concatenate([np.zeros(0, dtype=bool), *signs, np.zeros(weights.size, dtype=bool)])
        G, h = nonnegative_rows(which, lmi.variables)
        return SDP(objective, (lmi,), G=G, h=h)

    def _diagonals(self, inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
        p, q = self.norm
        each_in = np.eye(inputs) if p == math.inf else np.ones((inputs, 1))
        each_out = np.eye(outputs) if q == 1.0 else np.ones((outputs, 1))
        return each_in, each_out

    def start(self, part: Part) -> np.ndarray:
        """The point of an l2 dissipation from all inputs to all outputs, feasible for any norms and ends."""
        each_in, each_out = self._diagonals(self.maps.inputs, int(self.maps.N_yx.shape[0]))
        d_in = np.full(each_in.shape[1], float(part.d_in[0]))
        d_out = np.full(each_out.shape[1], float(part.d_out[0]))
        return np.concatenate([gathered(self.form, part.multipliers), d_in, d_out])

    def part(self, solution: Solution) -> Part:
        """The multipliers and D's of the solver's point, raised where they are not positive."""
        y = usable_point(solution)
        each_in, each_out = self._diagonals(self.maps.inputs, int(self.maps.N_yx.shape[0]))
        count_out, count_in = each_out.shape[1], each_in.shape[1]
        d_out, d_in = y[y.size - count_out :], y[y.size - count_out - count_in : y.size - count_out]
        multipliers = spread(self.form, y[: y.size - count_out - count_in])
        return Part(_positive(d_in), _positive(d_out), multipliers, self.row, self.column)


def _price(each: np.ndarray) -> np.ndarray:
    """c as a function of the variables: the largest entry of one number, or the sum."""
    return np.ones(each.shape[1])


def _positive(d: np.ndarray) -> np.ndarray:
    return np.maximum(d, 1e-12 * max(float(np.abs(d).max(initial=0.0)), np.finfo(float).tiny))
