"""Z of a graph's LMI with a set of sources eliminated by hand: its dense factor, and solutions with it.

Z has a diagonal block for every node that no node with slopes of both signs reads (alpha beta = 0 there).
A largest set of such nodes, no two of which stand in one product, is eliminated by hand: of a chain every
second layer, of two convolutions one. What is left of Z is factorised as one dense matrix.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from scipy.linalg import lapack

from ...graph import Apply
from ...graph._form import EliminatedForm
from ._elimination import eliminated_sources
from ._quick_maps import QuickMap

__all__ = ["AlternatingMatrix", "Columns", "ReadingNode"]

Columns = dict[int, np.ndarray]  # by source, (size, columns)


@dataclasses.dataclass(frozen=True, eq=False)
class ReadingNode:
    """V by source, and per channel c, alpha beta and r^2."""

    rows: dict[int, QuickMap]
    centre: np.ndarray
    product: np.ndarray
    square: np.ndarray

    @classmethod
    def of(cls, form: EliminatedForm, k: int) -> "ReadingNode":
        """Of the kept channels of a node with slopes."""
        node, kept = form.graph.nodes[k], form.kept[k]
        assert isinstance(node, Apply)
        alpha, beta = node.alpha[kept], node.beta[kept]
        centre, radius = 0.5 * alpha + 0.5 * beta, 0.5 * beta - 0.5 * alpha
        return cls(
            {s: QuickMap.of(e.mid) for s, e in form.V[k].items()},
            centre,
            alpha * beta,
            radius**2,
        )

    @property
    def two_sided(self) -> bool:
        return bool(self.product.any())


@dataclasses.dataclass(frozen=True, eq=False)
class AlternatingMatrix:
    """Z(Lambda) of these nodes, with the multipliers and 1 for the input as `weights` by source."""

    nodes: Mapping[int, ReadingNode]
    sizes: Mapping[int, int]

    @functools.cached_property
    def gone(self) -> tuple[int, ...]:
        """The sources that are eliminated by hand."""
        reads = {k: tuple(node.rows) for k, node in self.nodes.items()}
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

    def factor(self, weights: Mapping[int, np.ndarray]) -> np.ndarray | None:
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

    def solved(self, factor: np.ndarray, weights: Mapping[int, np.ndarray], ends: Columns) -> Columns:
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
