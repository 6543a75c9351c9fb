"""LipSDP linear in L itself: the balanced normalisation.

Variables y = (Lambda, L), and m more rows for the output:

    minimise L  s.t.  [[H(Lambda) + L E_0'E_0, Y'], [Y, L I]] >= 0,   H = sum_a Lambda_a sym(p_a q_a').

By a Schur complement it is the joint form divided by L: rho = L^2 and T = L Lambda / 2.
"""

import dataclasses
from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from .._errors import SolveFailed
from .._witness import Witness
from ..lmi import LMI, SDP, Solution
from ..network import linear_fractional
from ._chain import AbstractChainFormulation, chain_slopes
from ._point import usable_point
from ._signs import nonnegative_rows, undecided_signs

__all__ = ["BalancedLipSDP"]


@dataclasses.dataclass(frozen=True, eq=False)
class BalancedLipSDP(AbstractChainFormulation):
    """One block-tridiagonal LMI with partition (n_0, ..., n_L, m); y = (Lambda, L)."""

    theorem: ClassVar[str] = (
        "Fazlyab, Robey, Hassani, Morari, Pappas, NeurIPS 2019, Theorem 2 with diagonal multipliers, after a "
        "Schur complement in the output; assumes slopes of each neuron in [alpha, beta] globally, any biases."
    )

    def sdp(self) -> SDP:
        """Minimise L; variables (Lambda, L)."""
        dims = self.network.dims
        size, n0, m = sum(dims), dims[0], dims[-1]
        form = linear_fractional(self.network)
        V = sp.hstack([form.N_vx, form.N_vw, sp.csc_array((form.N_vx.shape[0], m))], format="csc")
        Y = sp.csc_array(sp.hstack([form.N_yx, form.N_yw]))
        alpha, beta = chain_slopes(self.network)
        eye = sp.eye_array(size, format="csc")
        neurons, ends = eye[:, n0 : size - m], sp.hstack([eye[:, :n0], eye[:, size - m :]], format="csc")
        P = sp.hstack([neurons - V.T @ sp.diags_array(alpha), ends], format="csc")
        Q = sp.hstack([neurons - V.T @ sp.diags_array(beta), ends], format="csc")
        E = sp.block_diag([self.incidence, sp.csc_array(np.ones((n0 + m, 1)))], format="csc")
        corner = sp.csc_array((size - m, size - m))
        F0 = sp.block_array([[corner, Y.T], [Y, None]], format="csc")
        G, h = nonnegative_rows(undecided_signs(self.network, self.multipliers), E.shape[1])
        objective = np.zeros(E.shape[1])
        objective[-1] = 1.0
        block = LMI(F0, P, Q, E, name="balanced", partition=dims)
        return SDP(objective, (block,), G=G, h=h)

    def witness(self, solution: Solution) -> Witness:
        """rho = L^2, T = L Lambda / 2."""
        y = usable_point(solution)
        L = float(y[-1])
        if not L > 0.0:
            raise SolveFailed(
                f"the point of {solution.solver or 'the solver'} has L = {L:.3g}; expected L > 0. Tighten "
                "the tolerance or use another solver."
            )
        return self.propose(L * L, 0.5 * L * (self.incidence @ y[:-1]), solution)

    def lowest_gain(self, bound_on_objective: float) -> float | None:
        """The objective is L itself."""
        return bound_on_objective if np.isfinite(bound_on_objective) and bound_on_objective > 0 else None
