"""LipSDP for a chain of layers, in the normalisation "identity on the input, F on the output".

Variables y = (Lambda, F). With z = (x, phi_1, ..., phi_L) and w_a the row with v_a = w_a'z,

    maximise F  s.t.  diag(I, 0) + sum_a Lambda_a sym(p_a q_a') - F Y'Y >= 0,   Lambda >= 0,
    p_a = e_a - alpha_a w_a,   q_a = e_a - beta_a w_a,   Y the output rows.

Every increment has (dphi_a - alpha_a dv_a)(dphi_a - beta_a dv_a) <= 0, hence |dx|^2 >= F |dy|^2,
that is L = F^(-1/2). In the convention of `Witness`, rho = 1/F and T = rho Lambda / 2.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from .._witness import Witness
from ..lmi import SDP, Solution
from ..network import linear_fractional
from ._chain import AbstractChainFormulation
from ._point import positive_theta
from ._signs import undecided_signs
from .iqc import Dissipation, SlopeRestricted

__all__ = ["JointLipSDP"]


@dataclasses.dataclass(frozen=True, eq=False)
class JointLipSDP(AbstractChainFormulation):
    """LipSDP as one block-tridiagonal LMI with partition (n_0, n_1, ..., n_L).

    `multipliers` is "neuron" (y = (Lambda (N,), F)) or "layer" (y = (Lambda (L,), F)). Lambda >= 0
    enters as G y <= h only where the LMI does not imply it (see `undecided_signs`).
    """

    theorem: ClassVar[str] = (
        "Fazlyab, Robey, Hassani, Morari, Pappas, NeurIPS 2019, Theorem 2 with diagonal multipliers; "
        "assumes slopes of each neuron in [alpha, beta] globally, any biases."
    )

    def sdp(self) -> SDP:
        """Minimise -F; variables (Lambda, F)."""
        form = linear_fractional(self.network)
        problem = Dissipation(
            form, [SlopeRestricted(form.alpha, form.beta)], partition=self.network.dims[:-1]
        )
        undecided = undecided_signs(self.network, self.multipliers)
        return problem.sdp(undecided, None if self.multipliers == "neuron" else self.incidence)

    def witness(self, solution: Solution) -> Witness:
        """rho = 1/F, T = rho Lambda / 2; negative Lambda are left for `verify` to clip."""
        y = positive_theta(solution)
        return self.propose(1.0 / y[-1], self.incidence @ y[:-1] / (2.0 * y[-1]), solution)

    def point(self, witness: Witness, shrink: float = 1.0) -> np.ndarray:
        """y with F = shrink / rho: the inverse of `witness`, and for shrink < 1 a point inside the cone.

        Lambda_k is multiplied by shrink^(k/(L+1)): the tilt that turns M >= 0 into M > 0 where alpha
        beta <= 0 (a convex combination of M with its diagonal part, up to a congruence). For
        "layer", each layer takes the largest of its multipliers.
        """
        return np.append(
            2.0 / witness.rho * self.multipliers_of(witness) * self.tilt(shrink), shrink / witness.rho
        )
