"""LipSDP layer by layer: the chordal form of the block-tridiagonal LMI.

A block-tridiagonal matrix is PSD exactly when it is a sum of PSD matrices on its cliques, here the
pairs of neighbouring layers. With symmetric X_k (n_k, n_k), X_0 = I, X_L = F W_L'W_L,

    [[X_{k-1}, 0], [0, -X_k]] + sum_{a in layer k} Lambda_a sym(p_a q_a') >= 0,   k = 1..L.

Adding the k-th to the (k+1)-th cancels X_k and gives the joint form; the optimum is the same.
"""

import dataclasses
from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from .._witness import Witness
from ..lmi import LMI, SDP, Solution
from ._chain import AbstractChainFormulation
from ._point import positive_theta
from ._signs import nonnegative_rows, undecided_signs

__all__ = ["ChordalLipSDP"]


@dataclasses.dataclass(frozen=True, eq=False)
class ChordalLipSDP(AbstractChainFormulation):
    """One LMI of size n_{k-1} + n_k per hidden layer; y = (Lambda, X_1, ..., X_{L-1}, F)."""

    theorem: ClassVar[str] = (
        "Agler, Helton, McCullough, Rodman, Linear Algebra Appl. 107 (1988), Theorem 2.3 (PSD matrices on "
        "chordal patterns) applied to LipSDP, Fazlyab et al., NeurIPS 2019, Theorem 2; assumes slopes of "
        "each neuron in [alpha, beta] globally, any biases."
    )

    def sdp(self) -> SDP:
        """Minimise -F."""
        dims = self.network.dims
        inner = dims[1:-2] if self.network.hidden_layers else ()
        triangles = [n * (n + 1) // 2 for n in inner]
        multipliers = self.incidence.shape[1]
        starts = multipliers + np.concatenate([[0], np.cumsum(triangles)]).astype(int)
        variables = int(starts[-1]) + 1
        blocks = [self._block(k, starts, variables) for k in range(1, max(self.network.hidden_layers, 1) + 1)]
        G, h = nonnegative_rows(undecided_signs(self.network, self.multipliers), variables)
        objective = np.zeros(variables)
        objective[-1] = -1.0
        return SDP(objective, tuple(blocks), G=G, h=h)

    def _block(self, k: int, starts: np.ndarray, variables: int) -> LMI:
        """The clique of layers k-1 and k."""
        network = self.network
        hidden, dims = network.hidden_layers, network.dims
        if hidden == 0:  # I - F W_0'W_0
            terms = [_ChordalTerms.output(network.layers[0].linear.to_sparse(), 0, variables)]
            return _lmi(sp.eye_array(dims[0]), terms, "layer 0", (dims[0],))
        n_in, n_out = dims[k - 1], dims[k]
        terms = [self._neurons(k, variables)]
        if k > 1:
            terms.append(_ChordalTerms.symmetric(n_in, 0, n_in + n_out, 1.0, starts[k - 2], variables))
        if k < hidden:
            terms.append(_ChordalTerms.symmetric(n_out, n_in, n_in + n_out, -1.0, starts[k - 1], variables))
        else:
            terms.append(_ChordalTerms.output(network.layers[k].linear.to_sparse(), n_in, variables))
        corner = np.concatenate([np.full(n_in, 1.0 if k == 1 else 0.0), np.zeros(n_out)])
        return _lmi(sp.diags_array(corner), terms, f"layer {k}", (n_in, n_out))

    def _neurons(self, k: int, variables: int) -> "_ChordalTerms":
        layer, first = self.network.layers[k - 1], sum(self.network.dims[1:k])
        W = layer.linear.to_sparse()
        eye = sp.eye_array(W.shape[0])
        P = sp.vstack([-W.T @ sp.diags_array(layer.alpha), eye], format="csc")
        Q = sp.vstack([-W.T @ sp.diags_array(layer.beta), eye], format="csc")
        incidence = self.incidence[first : first + W.shape[0]]
        pad = sp.csc_array((W.shape[0], variables - incidence.shape[1]))
        return _ChordalTerms(P, Q, sp.hstack([incidence, pad], format="csc"))

    def witness(self, solution: Solution) -> Witness:
        """rho = 1/F, T = rho Lambda / 2; the X_k are not needed any more."""
        y = positive_theta(solution)
        Lambda = self.incidence @ y[: self.incidence.shape[1]]
        return self.propose(1.0 / y[-1], Lambda / (2.0 * y[-1]), solution)


@dataclasses.dataclass(frozen=True, eq=False)
class _ChordalTerms:
    P: sp.csc_array
    Q: sp.csc_array
    E: sp.csc_array

    @classmethod
    def output(cls, W: sp.csr_array, offset: int, variables: int) -> "_ChordalTerms":
        """-F W'W on the columns from `offset` on."""
        rows = W.shape[0]
        P = sp.vstack([sp.csc_array((offset, rows)), W.T], format="csc")
        last = np.full(rows, variables - 1)
        return cls(
            P, P, sp.csc_array((np.full(rows, -1.0), (np.arange(rows), last)), shape=(rows, variables))
        )

    @classmethod
    def symmetric(
        cls, n: int, offset: int, size: int, sign: float, start: int, variables: int
    ) -> "_ChordalTerms":
        """sign * X on rows offset.., X (n, n) symmetric: its upper triangle, row by row, from `start` on."""
        i, j = np.triu_indices(n)
        eye = sp.eye_array(size, format="csc")
        weight = sign * np.where(i == j, 1.0, 2.0)
        terms = np.arange(i.size)
        E = sp.csc_array((weight, (terms, start + terms)), shape=(i.size, variables))
        return cls(eye[:, offset + i], eye[:, offset + j], E)


def _lmi(F0: sp.sparray, terms: list[_ChordalTerms], name: str, partition: tuple[int, ...]) -> LMI:
    P, Q = (sp.hstack([getattr(t, side) for t in terms], format="csc") for side in "PQ")
    return LMI(sp.csc_array(F0), P, Q, sp.vstack([t.E for t in terms], format="csc"), name, partition)
