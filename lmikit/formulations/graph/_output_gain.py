"""The l2 gain of a graph as a function of its multipliers alone: rho = lambda_max(Q(Lambda)).

Per kept channel of a node k with slopes in [alpha, beta], let c = (alpha + beta)/2 and r = (beta - alpha)/2.
With Lambda_k > 0 diagonal, v_k = V_k z (`lmikit.graph._form`) and one for the input, the LMI of the graph is

    z'Z z = |x|^2 + sum_k (w_k - c v_k)'Lambda_k (w_k - c v_k) - v_k' r^2 Lambda_k v_k,
    [[Z, -Y'], [-Y, rho I]] >= 0   <=>   rho I >= Q(Lambda) = Y Z^-1 Y',   Z > 0,

so that Q, of the order of the output, is a matrix-convex function of Lambda (a Schur complement of a linear
one). The increments S = Z^-1 Y' to the output's directions give its derivatives without any inverse:

    Q'[D]    = sum_k U' r^2 D U - (S_k - c U)'D (S_k - c U),   U = V_k S,
    Q''[D,D] = 2 (Z[D] S)' Z^-1 (Z[D] S),                      Z[D] the derivative of Z.

Z has a diagonal block for every node that no node with slopes of both signs reads (alpha beta = 0 there).
A largest set of such nodes, no two of which stand in one product, is eliminated by hand: of a chain every
second layer, of two convolutions one. What is left of Z is factorised as one dense matrix.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np
from scipy.linalg import lapack

from ..._errors import InputError
from ...graph import Apply
from ...graph._form import EliminatedForm
from ._elimination import eliminated_sources
from ._quick_maps import QuickMap

__all__ = ["GainPoint", "OutputGain"]

_ITERATIONS = 12  # of the subspace, from a random one
Columns = dict[int, np.ndarray]  # by source, (size, columns)


@dataclasses.dataclass(frozen=True, eq=False)
class _ReadingNode:
    """V by source, and per channel c, alpha beta and r^2."""

    rows: dict[int, QuickMap]
    centre: np.ndarray
    product: np.ndarray
    square: np.ndarray

    @property
    def two_sided(self) -> bool:
        return bool(self.product.any())


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
    def nodes(self) -> dict[int, _ReadingNode]:
        """The nonlinear nodes in order."""
        return {k: _node(self.form, k) for k in self.form.sources[1:]}

    @functools.cached_property
    def output(self) -> dict[int, np.ndarray]:
        """Y' by source."""
        return {s: np.ascontiguousarray(rows.mid.T) for s, rows in self.form.Y.items()}

    @functools.cached_property
    def sizes(self) -> dict[int, int]:
        """Rows of Z by source."""
        return {s: self.form.size(s) for s in self.form.sources}

    @functools.cached_property
    def gone(self) -> tuple[int, ...]:
        """The sources that are eliminated by hand."""
        reads = {k: tuple(self.form.V[k]) for k in self.nodes}
        return eliminated_sources(self.sizes, reads, [k for k, n in self.nodes.items() if n.two_sided])

    @functools.cached_property
    def places(self) -> dict[int, slice]:
        """Where the other sources stand in the dense matrix."""
        kept = [s for s in self.sizes if s not in self.gone]
        ends = np.cumsum([0, *(self.sizes[s] for s in kept)]).tolist()
        return {s: slice(a, b) for s, a, b in zip(kept, ends, ends[1:], strict=False)}

    @property
    def rows(self) -> int:
        """Of the dense matrix."""
        return sum(self.sizes[s] for s in self.places)

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
        factor = self._factor(weights)
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
            for s, place in self.places.items():
                ends[s][:, outputs:] = watched[place]
        states = self._solved(factor, weights, ends)
        gram = sum((ends[s].T @ states[s] for s in ends), start=np.zeros((width, width)))
        if not np.isfinite(gram).all():
            return None
        return GainPoint(self, weights, factor, states, self._seen(states), 0.5 * (gram + gram.T))

    def _seen(self, states: Columns) -> Columns:
        """V_k S."""
        found = {}
        for k, node in self.nodes.items():
            terms = [m.matrix @ states[s] for s, m in node.rows.items()]
            found[k] = np.asarray(sum(terms[1:], start=terms[0]))
        return found

    @functools.cached_property
    def _beside(self) -> dict[int, list[tuple[int, bool]]]:
        """Per eliminated source what shares a block with it, and whether that reads it."""
        found: dict[int, list[tuple[int, bool]]] = {e: [] for e in self.gone}
        for k, node in self.nodes.items():
            for s in node.rows:
                if k in found:
                    found[k].append((s, False))
                if s in found:
                    found[s].append((k, True))
        return found

    @functools.cached_property
    def _through(self) -> dict[tuple[int, int, int], np.ndarray]:
        """V_ne c V_ep for a reader n and a source p of an eliminated e: constant."""
        found = {}
        for e, beside in self._beside.items():
            sources, readers = ([b for b, reads in beside if reads == side] for side in (False, True))
            for n, p in itertools.product(readers, sources):
                found[e, n, p] = self.nodes[n].rows[e].times(self.nodes[e].centre, self.nodes[e].rows[p].T)
        return found

    def _factor(self, weights: Mapping[int, np.ndarray]) -> np.ndarray | None:
        """The lower Cholesky factor of what is left of Z."""
        matrix = np.zeros((self.rows, self.rows), order="F")
        np.fill_diagonal(matrix, np.concatenate([weights[s] for s in self.places]))
        for a, b, block in itertools.chain(self._own(weights), self._eliminated(weights)):
            matrix[self.places[a], self.places[b]] += block
        factor, info = lapack.dpotrf(matrix, lower=1, clean=0, overwrite_a=1)
        return factor if info == 0 else None

    def _own(self, weights: Mapping[int, np.ndarray]) -> Iterator[tuple[int, int, np.ndarray]]:
        """The blocks of Z below its diagonal, and the full diagonal ones of slopes of both signs."""
        for k, node in self.nodes.items():
            for s, rows in node.rows.items():
                if k in self.places and s in self.places:
                    yield k, s, -(node.centre * weights[k])[:, None] * rows.dense
            if node.two_sided:
                for s, t in itertools.combinations_with_replacement(sorted(node.rows), 2):
                    yield (
                        t,
                        s,
                        node.rows[t].T.times(node.product * weights[k], node.rows[s].T),
                    )

    def _eliminated(self, weights: Mapping[int, np.ndarray]) -> Iterator[tuple[int, int, np.ndarray]]:
        """What the eliminated sources leave: minus their blocks, by the inverse of their diagonal."""
        for e, beside in self._beside.items():
            pairs = itertools.combinations_with_replacement(sorted(beside), 2)
            for (a, a_reads), (b, b_reads) in pairs:
                yield b, a, -self._left_by(weights, e, (a, a_reads), (b, b_reads))

    def _left_by(
        self,
        weights: Mapping[int, np.ndarray],
        e: int,
        first: tuple[int, bool],
        second: tuple[int, bool],
    ) -> np.ndarray:
        """M_be Lambda_e^-1 M_ae', of which the lower triangle matters where a is b."""
        (a, a_reads), (b, b_reads) = first, second
        if b_reads and not a_reads:
            return (self.nodes[b].centre * weights[b])[:, None] * self._through[e, b, a]
        if a_reads:
            maps, own = [self.nodes[n].rows[e] for n in (b, a)], 1.0 / weights[e]
        else:
            maps, own = (
                [self._columns[e, n] for n in (b, a)],
                self.nodes[e].centre ** 2 * weights[e],
            )
        block = maps[0].gram(own) if a == b else maps[0].times(own, maps[1])
        if not a_reads:
            return block
        left, right = (self.nodes[n].centre * weights[n] for n in (b, a))
        return left[:, None] * block * right

    @functools.cached_property
    def _columns(self) -> dict[tuple[int, int], QuickMap]:
        """V_ks' of eliminated nodes."""
        return {(k, s): rows.T for k, node in self.nodes.items() for s, rows in node.rows.items()}

    def _solved(self, factor: np.ndarray, weights: Mapping[int, np.ndarray], ends: Columns) -> Columns:
        """Z^-1 of the columns."""
        right = np.concatenate([ends[s] for s in self.places], axis=0)
        for e in self.gone:
            for n, reads in self._beside[e]:
                if reads:
                    moved = self.nodes[n].rows[e].matrix @ (ends[e] / weights[e][:, None])
                    right[self.places[n]] += (self.nodes[n].centre * weights[n])[:, None] * moved
                else:
                    columns = self.nodes[e].rows[n].transposed
                    right[self.places[n]] += columns @ (self.nodes[e].centre[:, None] * ends[e])
        solution = lapack.dpotrs(factor, right, lower=1)[0]
        result = {s: solution[place] for s, place in self.places.items()}
        for e in self.gone:
            own = ends[e] / weights[e][:, None]
            for n, reads in self._beside[e]:
                if reads:
                    scaled = (self.nodes[n].centre * weights[n])[:, None] * result[n]
                    own = own + (self.nodes[n].rows[e].transposed @ scaled) / weights[e][:, None]
                else:
                    own = own + self.nodes[e].centre[:, None] * (self.nodes[e].rows[n].matrix @ result[n])
            result[e] = own
        return result


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
        root = np.sqrt(np.concatenate([self.weights[s] for s in self.gain.places]))[:, None]
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

    def curvature(self, weight: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """The Hessian of <P, Q> times a direction."""
        gain, moved = self.gain, self.gain.split(direction)
        right = {s: np.zeros_like(states) for s, states in self.states.items()}
        for k, node in gain.nodes.items():
            d = moved[k][:, None]
            right[k] += d * (self.states[k] - node.centre[:, None] * self.seen[k])
            pushed = d * (node.product[:, None] * self.seen[k] - node.centre[:, None] * self.states[k])
            for s, rows in node.rows.items():
                right[s] += rows.transposed @ pushed
        change = gain._solved(self.factor, self.weights, right)  # minus the derivative of S
        seen, result = gain._seen(change), []
        for k, node in gain.nodes.items():
            c = node.centre[:, None]
            behind, moving = self.states[k] - c * self.seen[k], change[k] - c * seen[k]
            own = (moving @ weight) * behind
            ahead = (seen[k] @ weight) * self.seen[k] * node.square[:, None]
            result.append(2.0 * (own - ahead).sum(axis=1))
        return np.concatenate(result)


def _node(form: EliminatedForm, k: int) -> _ReadingNode:
    node, kept = form.graph.nodes[k], form.kept[k]
    assert isinstance(node, Apply)
    alpha, beta = node.alpha[kept], node.beta[kept]
    centre, radius = 0.5 * alpha + 0.5 * beta, 0.5 * beta - 0.5 * alpha
    return _ReadingNode(
        {s: QuickMap.of(e.mid) for s, e in form.V[k].items()},
        centre,
        alpha * beta,
        radius**2,
    )
