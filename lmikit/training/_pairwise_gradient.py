"""The optimum of LipSDP for every pair of outputs, and its gradient in the weights.

F*(W) = max F over M(Lambda, F; W) PSD (`JointLipSDP`), L = F*^(-1/2). At an optimum Lambda with multiplier X
of the inequality the envelope theorem gives dF* = <X, dM>, the derivative at fixed Lambda and F (Danskin;
Bonnans and Shapiro, Perturbation Analysis of Optimization Problems, 2000, Theorem 4.24). With rows w_a:

    dF*/dw_a = -Lambda_a (alpha_a X q_a + beta_a X p_a),     dF*/dY = -2 F Y X,

each cut to the signals that the row multiplies.
"""

import dataclasses
import itertools
import math

import numpy as np

from .._errors import InputError, SolveFailed
from .._witness import Witness
from ..formulations import JointLipSDP
from ..methods._start import closed_form_start
from ..network import Network, is_wide
from ..reductions import LayerPowers, reduce, scale_witness
from ..solvers import AbstractSolver, LowRank

__all__ = ["PairwiseGradient", "pair_network", "pairwise_gradient"]

_INSIDE = 0.5  # of the start's F, as in LipSDP


@dataclasses.dataclass(frozen=True, eq=False)
class PairwiseGradient:
    """`L` (m, m), symmetric, and for each pair i < j, in the order of `itertools.combinations`, its gradient.

    `gradients[k]` is (pairs, *W_k.shape). `witnesses`, one per pair, are proposals for `pairwise_bounds`,
    which proves them: L itself is what a solver computed.
    """

    L: np.ndarray
    gradients: tuple[np.ndarray, ...]
    witnesses: tuple[Witness, ...]

    def pull(self, in_L: np.ndarray) -> list[np.ndarray]:
        """The gradients in W_0, W_1, ... of a loss whose gradient in L is `in_L` (m, m)."""
        if np.shape(in_L) != self.L.shape:
            raise InputError(f"in_L has shape {np.shape(in_L)}; expected {self.L.shape}, one entry per pair.")
        first, second = np.triu_indices(len(self.L), 1)
        each = in_L[first, second] + in_L[second, first]
        return [np.tensordot(each, g, axes=1) for g in self.gradients]


def pairwise_gradient(network: Network, *, solver: AbstractSolver | None = None) -> PairwiseGradient:
    """L_ij, the least Lipschitz bound of f_i - f_j that multipliers per neuron show, and dL_ij/dW_k.

    L_ij = min sqrt(rho) over M(rho, T) >= 0 (see `lmikit.Witness`) for the network whose last matrix is
    the row w_i - w_j; one semidefinite program per pair. `solver` must return multipliers on the
    problem's pattern (None: LowRank to 1e-9). Where the optimal multiplier X is not unique, L_ij has a kink
    and the gradient is one of several. Not proven: proofs come from `pairwise_bounds` with `witnesses`.

    Raises InputError for fewer than two outputs, no hidden layer, linear neurons and layers too large for
    dense blocks; SolveFailed where a solver returns no multipliers.
    """
    if network.output_dim < 2:
        raise InputError(f"the network has {network.output_dim} output; expected at least 2, one per class.")
    if any(is_wide(layer.linear) for layer in network.layers):
        raise InputError("a layer is too large for dense blocks; expected a small dense network.")
    if not network.hidden_layers or any((alpha == beta).any() for alpha, beta in network.slopes):
        raise InputError("the network has linear neurons or no hidden layer; expected slopes alpha < beta.")
    solver = LowRank(tol=1e-9) if solver is None else solver
    network, rotated = _with_fewer_inputs(network)
    last = network.weights[-1]
    outputs, pairs = len(last), list(itertools.combinations(range(len(last)), 2))
    L = np.zeros((outputs, outputs))
    gradients = [np.zeros((len(pairs), *w.shape)) for w in network.weights]
    witnesses = []
    for p, (i, j) in enumerate(pairs):
        L[i, j], row, witness = _of_row(pair_network(network, i, j), solver)
        L[j, i] = L[i, j]
        witnesses.append(witness)
        for g, r in zip(gradients[:-1], row[:-1], strict=True):
            g[p] = r
        gradients[-1][p, i], gradients[-1][p, j] = row[-1][0], -row[-1][0]
    if rotated is not None:
        gradients[0] = gradients[0] @ rotated.T
    return PairwiseGradient(L, tuple(gradients), tuple(witnesses))


def _with_fewer_inputs(network: Network) -> tuple[Network, np.ndarray | None]:
    """The network with R' for W_0 = R'Q', Q'Q = I, once for all pairs, and Q: gradients lie in its span."""
    first = network.layers[0]
    if network.weights[0].shape[0] >= network.input_dim:
        return network, None
    q, r = np.linalg.qr(network.weights[0].T)
    layer = dataclasses.replace(first, linear=Network.from_arrays([r.T]).layers[0].linear)
    return Network((layer, *network.layers[1:]), len(r)), q


def pair_network(network: Network, i: int, j: int) -> Network:
    """The network of f_i - f_j, its row rounded."""
    row = network.weights[-1][i] - network.weights[-1][j]
    return Network((*network.layers[:-1], *Network.from_arrays([row[None, :]]).layers), network.input_dim)


def _of_row(pair: Network, solver: AbstractSolver) -> tuple[float, list[np.ndarray], Witness]:
    """(L, gradients, witness) of a network with one output, at its reduced and balanced form."""
    prepared = reduce(pair)
    result = [np.zeros(w.shape) for w in pair.weights]
    if not prepared.network.hidden_layers:  # a constant function
        return 0.0, result, prepared.undo(Witness("lipsdp", 0.0, (), produced_by="constant"))
    start = closed_form_start(prepared.network, "neuron")
    levels = LayerPowers.to_levels(prepared.network, start)
    form = JointLipSDP(levels.network)
    solution = solver.solve(form.sdp(), warm_start=form.point(scale_witness(start, levels.powers), _INSIDE))
    witness = prepared.undo(levels.undo(form.witness(solution)))
    assert solution.y is not None  # `witness` raises SolveFailed without a point
    if solution.dual is None or not solution.dual.X:
        raise SolveFailed(f"{solution.solver} returned no multipliers of the LMI; use LowRank or Clarabel.")
    F = float(solution.y[-1])
    in_F = _gradient_of_F(levels.network, solution.y[:-1], F, solution.dual.X[0])
    shift = witness.layer_pow2
    L = math.ldexp(F**-0.5, sum(shift))
    kept = [np.flatnonzero(t) for t in prepared.undo(start).multipliers]  # those of the start are positive
    live = [np.arange(pair.input_dim), *kept, np.arange(1)]
    for k, g in enumerate(in_F):
        g = np.ldexp(-0.5 * F**-1.5 * g, sum(shift) - shift[k])
        if k == 0 and g.shape[1] != pair.input_dim:  # W_0' = QR: the gradient lies in the rows' span
            rows = np.ldexp(pair.weights[0][live[1]], -shift[0])
            g = g @ np.linalg.lstsq(levels.network.weights[0], rows, rcond=None)[0]
        result[k][np.ix_(live[k + 1], live[k])] = g
    return L, result, witness


def _gradient_of_F(network: Network, Lambda: np.ndarray, F: float, X: np.ndarray) -> list[np.ndarray]:
    ends = np.concatenate([[0], np.cumsum(network.dims[:-1])])
    signals = [slice(a, b) for a, b in itertools.pairwise(ends)]
    gradients, used = [], 0
    for k, (w, (alpha, beta)) in enumerate(zip(network.weights[:-1], network.slopes, strict=True)):
        before, own = signals[k], signals[k + 1]
        lam = Lambda[used : used + len(w)]
        used += len(w)
        straight, through = X[own, before], w @ X[before, before]
        both = (alpha + beta)[:, None] * straight - 2.0 * (alpha * beta)[:, None] * through
        gradients.append(-lam[:, None] * both)
    last = signals[-1]
    return [*gradients, -2.0 * F * network.weights[-1] @ X[last, last]]
