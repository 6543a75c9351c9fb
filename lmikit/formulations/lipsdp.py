"""LipSDP for a chain of layers, in the normalisation "identity on the input, F on the output".

Variables y = (Lambda, F). With z = (x, phi_1, ..., phi_L) and w_a the row with v_a = w_a'z,

    maximise F  s.t.  diag(I, 0) + sum_a Lambda_a sym(p_a q_a') - F Y'Y >= 0,   Lambda >= 0,
    p_a = e_a - alpha_a w_a,   q_a = e_a - beta_a w_a,   Y the output rows.

Every increment has (dphi_a - alpha_a dv_a)(dphi_a - beta_a dv_a) <= 0, hence |dx|^2 >= F |dy|^2,
that is L = F^(-1/2). In the convention of `Witness`, rho = 1/F and T = rho Lambda / 2.
"""

import dataclasses
import functools
import math
from typing import ClassVar, Literal

import numpy as np
import scipy.sparse as sp

from .._errors import InputError, OptionError, SolveFailed
from .._witness import Witness
from ..lmi import LMI, SDP, Solution
from ..network import Network
from ._base import AbstractFormulation

__all__ = ["JointLipSDP"]


@dataclasses.dataclass(frozen=True, eq=False)
class JointLipSDP(AbstractFormulation):
    """LipSDP as one block-tridiagonal LMI with partition (n_0, n_1, ..., n_L).

    `multipliers` is "neuron" (y = (Lambda (N,), F)) or "layer" (y = (Lambda (L,), F)). Coupled
    multipliers ("network") are refused: they are invalid for increments (Pauli et al., IEEE
    L-CSS 2022, section III; f(x) = relu(x) - relu(x - 1) is a counterexample).

    Lambda >= 0 enters as G y <= h only where the LMI does not imply it. For F >= 0 the diagonal
    entry of neuron a reads Lambda_a + sum_b Lambda_b alpha_b beta_b W_ba^2 >= F |Y e_a|^2 >= 0 over
    the neurons b of the next layer, so that (from the last layer backwards) only an a with a
    successor of alpha_b beta_b > 0 can have Lambda_a < 0.
    """

    network: Network
    multipliers: Literal["neuron", "layer"] = "neuron"
    theorem: ClassVar[str] = (
        "Fazlyab, Robey, Hassani, Morari, Pappas, NeurIPS 2019, Theorem 2 with diagonal multipliers; "
        "assumes slopes of each neuron in [alpha, beta] globally, any biases."
    )

    def __post_init__(self) -> None:
        if self.multipliers not in ("neuron", "layer"):
            raise OptionError(
                f"multipliers is {self.multipliers!r}; expected 'neuron' or 'layer'. Coupled multipliers "
                "(LipSDP-Network) are invalid for increments: Pauli et al., IEEE L-CSS 2022, and "
                "f(x) = relu(x) - relu(x - 1), for which they show a Lipschitz constant of 0."
            )

    @functools.cached_property
    def incidence(self) -> sp.csc_array:
        """Neuron to variable, (N, N) or (N, L): Lambda per neuron = incidence @ y[:-1]."""
        sizes = self.network.dims[1:-1]
        if self.multipliers == "neuron":
            return sp.csc_array(sp.eye_array(sum(sizes)))
        layer = np.repeat(np.arange(len(sizes)), sizes)
        ones = np.ones(layer.size)
        return sp.csc_array((ones, (np.arange(layer.size), layer)), shape=(layer.size, len(sizes)))

    def sdp(self) -> SDP:
        """Minimise -F; variables (Lambda, F)."""
        network = self.network
        sizes, outputs = network.dims[:-1], network.output_dim
        total, n0 = sum(sizes), sizes[0]
        neurons = total - n0
        V, Y = _rows(network)
        picks = sp.eye_array(total, format="csc")[:, n0:]
        alpha, beta = _slopes(network)
        P = sp.hstack([picks - V.T @ sp.diags_array(alpha), Y.T], format="csc")
        Q = sp.hstack([picks - V.T @ sp.diags_array(beta), Y.T], format="csc")
        output = sp.csc_array(np.full((outputs, 1), -1.0))
        E = sp.block_diag([self.incidence, output], format="csc")
        if neurons == 0:
            E = output
        F0 = sp.diags_array(np.concatenate([np.ones(n0), np.zeros(neurons)]), format="csc")
        variables = E.shape[1]
        objective = np.zeros(variables)
        objective[-1] = -1.0
        needed = self._bounded_below()
        G = sp.csc_array(
            (np.full(needed.size, -1.0), (np.arange(needed.size), needed)), shape=(needed.size, variables)
        )
        block = LMI(F0, P, Q, E, name="lipsdp", partition=sizes)
        return SDP(objective, (block,), G=G, h=np.zeros(needed.size))

    def _bounded_below(self) -> np.ndarray:
        """Indices of the Lambda whose sign the LMI leaves open."""
        open_sign = []
        for k in range(1, self.network.hidden_layers + 1):
            layer = self.network.layers[k]
            positive = np.zeros(layer.alpha.size)
            if k < self.network.hidden_layers:
                positive = (layer.alpha * layer.beta > 0).astype(np.float64)
            open_sign.append(abs(layer.linear.to_sparse()).T @ positive > 0)
        if self.multipliers == "layer":  # one neuron of known sign decides for its layer
            return np.flatnonzero([bool(signs.all()) for signs in open_sign])
        return np.flatnonzero(np.concatenate([*open_sign, np.zeros(0, dtype=bool)]))

    def witness(self, solution: Solution) -> Witness:
        """rho = 1/F, T = rho Lambda / 2; negative Lambda are left for `verify` to clip."""
        y = usable_point(solution)
        F = float(y[-1])
        if not F > 0.0:
            raise SolveFailed(
                f"the point from {solution.solver or 'the solver'} has F = {F:.3g}, which bounds nothing; "
                "expected F > 0. Tighten the tolerance or use another solver."
            )
        return Witness(
            "lipsdp",
            1.0 / F,
            self._per_layer(self.incidence @ y[:-1] / (2.0 * F)),
            produced_by=solution.solver,
            optimum_at_least=_lowest(solution.bound_on_optimum),
        )

    def point(self, witness: Witness, shrink: float = 1.0) -> np.ndarray:
        """y with F = shrink / rho: the inverse of `witness`, and a strictly feasible start for shrink < 1.

        For "layer", each layer takes the largest of its multipliers. Raises InputError where the
        witness belongs to another network.
        """
        sizes = tuple(t.size for t in witness.multipliers)
        if witness.kind != "lipsdp" or sizes != self.network.dims[1:-1] or any(witness.layer_pow2):
            raise InputError(
                f"the witness is of kind {witness.kind!r} with multipliers {sizes}; expected 'lipsdp' with "
                f"{self.network.dims[1:-1]} and no layer scaling."
            )
        T = (
            [np.array([t.max()]) for t in witness.multipliers]
            if self.multipliers == "layer"
            else witness.multipliers
        )
        return np.concatenate([*(2.0 / witness.rho * t for t in T), [shrink / witness.rho]])

    def _per_layer(self, values: np.ndarray) -> tuple[np.ndarray, ...]:
        sizes = self.network.dims[1:-1]
        return tuple(np.split(values, np.cumsum(sizes)[:-1])) if sizes else ()


def usable_point(solution: Solution) -> np.ndarray:
    """`solution.y`, or SolveFailed where its status gives no point; inaccurate points pass."""
    if not solution.status.has_point or solution.y is None:
        raise SolveFailed(
            f"{solution.solver or 'the solver'} ended {solution.status.name} "
            f"({solution.native_status or 'no native status'}): {solution.status.value}."
        )
    if not np.isfinite(solution.y).all():
        raise SolveFailed(f"{solution.solver or 'the solver'} returned NaN or infinity; use another solver.")
    return solution.y


def _lowest(bound_on_objective: float) -> float | None:
    """The L that the dual bound on -F excludes improvements beyond, or None where it says nothing."""
    if not math.isfinite(bound_on_objective) or bound_on_objective >= 0.0:
        return None
    return 1.0 / math.sqrt(-bound_on_objective)


def _rows(network: Network) -> tuple[sp.csc_array, sp.csc_array]:
    """V (N, n_0 + N) and Y (m, n_0 + N): pre-activations and outputs as functions of z."""
    starts = np.concatenate([[0], np.cumsum(network.dims[:-1])])
    total, n0 = int(starts[-1]), network.input_dim
    rows, cols, data = [], [], []
    for k, layer in enumerate(network.layers):
        W = layer.linear.to_sparse().tocoo()
        rows.append(W.row + starts[k + 1] - n0)
        cols.append(W.col + starts[k])
        data.append(W.data)
    stacked = sp.csr_array(
        (np.concatenate(data), (np.concatenate(rows), np.concatenate(cols))),
        shape=(total - n0 + network.output_dim, total),
    )
    return stacked[: total - n0].tocsc(), stacked[total - n0 :].tocsc()


def _slopes(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """(alpha, beta) of all hidden neurons, each (N,)."""
    alpha = np.concatenate([np.zeros(0), *(a for a, _ in network.slopes)])
    beta = np.concatenate([np.zeros(0), *(b for _, b in network.slopes)])
    return alpha, beta
