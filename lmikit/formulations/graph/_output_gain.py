"""The l2 gain of a graph as a function of its multipliers alone: rho = lambda_max(Q(Lambda)).

Per kept channel of a node k with slopes in [alpha, beta], let c = (alpha + beta)/2 and r = (beta - alpha)/2.
With Lambda_k > 0 diagonal, v_k = V_k z (`lmikit.graph._form`) and one for the input, the LMI of the graph is

    z'Z z = |x|^2 + sum_k (w_k - c v_k)'Lambda_k (w_k - c v_k) - v_k' r^2 Lambda_k v_k,
    [[Z, -Y'], [-Y, rho I]] >= 0   <=>   rho I >= Q(Lambda) = Y Z^-1 Y',   Z > 0,

so that Q, of the order of the output, is a matrix-convex function of Lambda (a Schur complement of a linear
one). The increments S = Z^-1 Y' to the output's directions give its derivatives without any inverse:

    Q'[D]    = sum_k U' r^2 D U - (S_k - c U)'D (S_k - c U),   U = V_k S,
    Q''[D,D] = 2 (Z[D] S)' Z^-1 (Z[D] S),                      Z[D] the derivative of Z.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping

import numpy as np
from scipy.linalg import lapack

from ..._errors import InputError
from ...graph import Apply
from ...graph._form import EliminatedForm
from ._alternating import AlternatingMatrix, Columns, ReadingNode

__all__ = ["GainPoint", "OutputGain"]

_ITERATIONS = 12  # of the subspace, from a random one


@dataclasses.dataclass(frozen=True, eq=False)
class OutputGain:
    """Q, its derivatives and the sizes of a graph whose nonlinear nodes have slopes, no groups.

    Raises InputError for groups. Multipliers are one vector, the kept channels node by node.
    """

    form: EliminatedForm

    def __post_init__(self) -> None:
        nodes = [self.form.graph.nodes[k] for k in self.form.sources[1:]]
        if not nodes or not self.form.Y or any(isinstance(node, Apply) and node.grouped for node in nodes):
            raise InputError("this takes graphs of channels with slopes; expected an output that they bend.")

    @functools.cached_property
    def nodes(self) -> dict[int, ReadingNode]:
        """The nonlinear nodes in order."""
        return {k: ReadingNode.of(self.form, k) for k in self.form.sources[1:]}

    @functools.cached_property
    def output(self) -> dict[int, np.ndarray]:
        """Y' by source."""
        return {s: np.ascontiguousarray(rows.mid.T) for s, rows in self.form.Y.items()}

    @functools.cached_property
    def sizes(self) -> dict[int, int]:
        """Rows of Z by source."""
        return {s: self.form.size(s) for s in self.form.sources}

    @functools.cached_property
    def matrix(self) -> AlternatingMatrix:
        """Z."""
        return AlternatingMatrix(self.nodes, self.sizes)

    @property
    def rows(self) -> int:
        """Of the dense matrix that is factorised."""
        return self.matrix.rows

    @property
    def variables(self) -> int:
        """Kept channels."""
        return sum(self.sizes.values()) - self.sizes[0]

    def split(self, x: np.ndarray) -> dict[int, np.ndarray]:
        """One vector of channels as one per node."""
        ends = np.cumsum([self.sizes[k] for k in self.nodes])[:-1]
        return dict(zip(self.nodes, np.split(x, ends), strict=True))

    def at(self, multipliers: np.ndarray, watched: np.ndarray | None = None) -> "GainPoint | None":
        """Q and what its derivatives need at Lambda > 0; None where Z is not positive definite.

        `watched`: columns (rows, r) of the dense matrix that are taken for r outputs more.
        """
        if not (np.isfinite(multipliers).all() and (multipliers > 0.0).all()):
            return None
        weights = {0: np.ones(self.sizes[0]), **self.split(multipliers)}
        factor = self.matrix.factor(weights)
        return None if factor is None else self._point(weights, factor, watched)

    def _point(
        self,
        weights: Mapping[int, np.ndarray],
        factor: np.ndarray,
        watched: np.ndarray | None,
    ) -> "GainPoint | None":
        outputs = self.form.graph.output_dim
        width = outputs + (0 if watched is None else watched.shape[1])
        ends = {s: np.zeros((n, width)) for s, n in self.sizes.items()}
        for s, columns in self.output.items():
            ends[s][:, :outputs] = columns
        if watched is not None:
            for s, place in self.matrix.places.items():
                ends[s][:, outputs:] = watched[place]
        states = self.matrix.solved(factor, weights, ends)
        gram = sum((ends[s].T @ states[s] for s in ends), start=np.zeros((width, width)))
        if not np.isfinite(gram).all():
            return None
        return GainPoint(self, weights, factor, states, self.seen(states), 0.5 * (gram + gram.T))

    def seen(self, states: Columns) -> Columns:
        """V_k S."""
        found = {}
        for k, node in self.nodes.items():
            terms = [m.matrix @ states[s] for s, m in node.rows.items()]
            found[k] = np.asarray(sum(terms[1:], start=terms[0]))
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class GainPoint:
    """Q, perhaps with outputs that are watched besides, at strictly feasible multipliers; its derivatives."""

    gain: OutputGain
    weights: Mapping[int, np.ndarray]
    factor: np.ndarray
    states: Columns
    seen: Columns
    gram: np.ndarray

    @functools.cached_property
    def rho(self) -> float:
        """lambda_max(Q): the least rho for these multipliers."""
        outputs = self.gain.form.graph.output_dim
        return float(np.linalg.eigvalsh(self.gram[:outputs, :outputs])[-1])

    def weakest(self, count: int, near: np.ndarray | None) -> np.ndarray:
        """Columns (rows, r) along which the dense matrix is least definite, relative to Lambda.

        By subspace iteration from those of a point nearby, if there is one.
        """
        root = np.sqrt(np.concatenate([self.weights[s] for s in self.gain.matrix.places]))[:, None]
        count = min(count, root.size)
        basis = np.random.default_rng(0).standard_normal((root.size, count)) if near is None else near / root
        for _ in range(_ITERATIONS if near is None else 2):
            basis = np.linalg.qr(basis)[0]
            basis = root * lapack.dpotrs(self.factor, root * basis, lower=1)[0]
        return root * np.linalg.qr(basis)[0]

    def watching(self, watched: np.ndarray) -> "GainPoint | None":
        """The same point with other outputs watched besides."""
        return self.gain._point(self.weights, self.factor, watched)

    @functools.cached_property
    def _stacked(self) -> tuple[np.ndarray, np.ndarray]:
        """r U and S - c U of all channels, (variables, outputs)."""
        ahead, behind = [], []
        for k, node in self.gain.nodes.items():
            ahead.append(np.sqrt(node.square)[:, None] * self.seen[k])
            behind.append(self.states[k] - node.centre[:, None] * self.seen[k])
        return np.concatenate(ahead), np.concatenate(behind)

    def derivative(self, direction: np.ndarray) -> np.ndarray:
        """Q'[D]."""
        ahead, behind = self._stacked
        return np.asarray((ahead * direction[:, None]).T @ ahead - (behind * direction[:, None]).T @ behind)

    def gradient(self, weight: np.ndarray) -> np.ndarray:
        """Of <P, Q> in every channel, P symmetric."""
        ahead, behind = self._stacked
        return np.asarray(((ahead @ weight) * ahead).sum(axis=1) - ((behind @ weight) * behind).sum(axis=1))

    def curvature_diagonal(self, weight: np.ndarray) -> np.ndarray:
        """About the diagonal of the Hessian of <P, Q>: with Z replaced by its own diagonal Lambda."""
        result = []
        for k, node in self.gain.nodes.items():
            states, seen, c = self.states[k], self.seen[k], node.centre[:, None]
            behind, pushed = (
                states - c * seen,
                node.product[:, None] * seen - c * states,
            )
            norms = [rows.squared @ (1.0 / self.weights[s]) for s, rows in node.rows.items()]
            own = ((behind @ weight) * behind).sum(axis=1) / self.weights[k]
            result.append(2.0 * (own + ((pushed @ weight) * pushed).sum(axis=1) * sum(norms)))
        return np.concatenate(result)

    def derivative_columns(self, root: np.ndarray) -> np.ndarray:
        """Per channel i the entries of L'Q'[e_i] L for the outputs, those off the diagonal times sqrt(2)."""
        ahead, behind = (part[:, : len(root)] @ root for part in self._stacked)
        rows, columns = np.triu_indices(len(root))
        scale = np.where(rows == columns, 1.0, math.sqrt(2.0))
        return np.asarray((ahead[:, rows] * ahead[:, columns] - behind[:, rows] * behind[:, columns]) * scale)

    def moved(self, direction: np.ndarray) -> Columns:
        """Minus the derivative of S: Z^-1 Z[D] S."""
        gain, moved = self.gain, self.gain.split(direction)
        right = {s: np.zeros_like(states) for s, states in self.states.items()}
        for k, node in gain.nodes.items():
            d = moved[k][:, None]
            right[k] += d * (self.states[k] - node.centre[:, None] * self.seen[k])
            pushed = d * (node.product[:, None] * self.seen[k] - node.centre[:, None] * self.states[k])
            for s, rows in node.rows.items():
                right[s] += rows.transposed @ pushed
        return gain.matrix.solved(self.factor, self.weights, right)

    def curvature(self, weight: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """The Hessian of <P, Q> times a direction."""
        change = self.moved(direction)
        seen, result = self.gain.seen(change), []
        for k, node in self.gain.nodes.items():
            c = node.centre[:, None]
            behind, moving = self.states[k] - c * self.seen[k], change[k] - c * seen[k]
            own = (moving @ weight) * behind
            ahead = (seen[k] @ weight) * self.seen[k] * node.square[:, None]
            result.append(2.0 * (own - ahead).sum(axis=1))
        return np.concatenate(result)
