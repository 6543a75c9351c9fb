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
import scipy.sparse as sp

from .._witness import Witness
from ..lmi import LMI, SDP, Solution
from ..network import Network
from ._chain import AbstractChainFormulation
from ._point import positive_theta
from ._signs import nonnegative_rows, undecided_signs

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
        """Minimise -F; variables (Lambda, F).

        The problem is `Dissipation`'s for this chain (a law, tested), assembled directly: going through the
        general form took longer than solving small networks.
        """
        network = self.network
        undecided = undecided_signs(network, self.multipliers)
        P, Q = _terms(network)
        inputs, outputs = network.input_dim, network.output_dim
        F0 = sp.csc_array(
            (np.ones(inputs), np.arange(inputs), np.minimum(np.arange(P.shape[0] + 1), inputs)),
            shape=(P.shape[0], P.shape[0]),
        )
        weights = self.incidence
        data = np.concatenate([weights.data, np.full(outputs, -1.0)])
        rows = np.concatenate([weights.indices, weights.shape[0] + np.arange(outputs)])
        ends = np.append(weights.indptr, data.size)
        E = sp.csc_array((data, rows, ends), shape=(P.shape[1], weights.shape[1] + 1))
        G, h = nonnegative_rows(undecided, E.shape[1])
        c = np.zeros(E.shape[1])
        c[-1] = -1.0
        return SDP(c, (LMI(F0, P, Q, E, name="dissipation", partition=network.dims[:-1]),), G=G, h=h)

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


def _terms(network: Network) -> tuple[sp.csc_array, sp.csc_array]:
    """Columns e_a - alpha_a w_a, and e_a - beta_a w_a, for every neuron a; then the output rows."""
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    rows, counts, offset = [], [], 0
    for k, layer in enumerate(network.layers):
        w = layer.linear.to_sparse()
        w.sort_indices()
        count = np.diff(w.indptr)
        if k < network.hidden_layers:
            own, last = offset + network.dims[k] + np.arange(count.size), w.indptr[1:]
            for part, slope in zip(parts, network.slopes[k], strict=True):
                part.append(np.insert(w.data * -np.repeat(slope, count), last, 1.0))
            rows.append(np.insert(w.indices + offset, last, own))
            counts.append(count + 1)
        else:
            for part in parts:
                part.append(w.data)
            rows.append(w.indices + offset)
            counts.append(count)
        offset += network.dims[k]
    ends = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    indices, shape = np.concatenate(rows), (offset, ends.size - 1)
    P, Q = (sp.csc_array((np.concatenate(part), indices, ends), shape=shape) for part in parts)
    return P, Q
