"""Multipliers at a point for networks with curved activations: anchored chords, ranges, touching parabolas.

Rows are taken in the order of their margins. For each the barrier method runs with the terms at the anchor
and, where those do not reach the target, again with chords and parabolas at v*, the preactivations of
an input near the relaxation's minimiser that a short descent has moved to a small margin: the
inequalities hold on the whole line, whichever point they touch at.
"""

import time
from collections.abc import Collection

import numpy as np

from .._errors import SolveFailed
from .._progress import Progress
from ..certificates.point import (
    MultiplierGroup,
    PointWitness,
    TermMultipliers,
    is_curved,
    point_digest,
    slopes_of_pieces,
)
from ..claims import AbstractRegion, Ball, BallAndBox, Box, PointClaim
from ..network import Identity, Network
from ._curve_constants import ProposedTerm, curve_range, slopes_at, supporting_lines, touching_parabolas
from ._curve_model import (
    CurveAnchor,
    CurvedChain,
    CurveTerms,
    LocalTerm,
    anchor_of,
    curved_chain_of,
    forward,
    local_term,
)
from ._curve_newton import CurvePoint, CurveProblem, climb_curves
from ._curve_reach import descended, pixels, spans
from ._problem import PieceChain, chain_of
from ._propose import Search
from ._rows import least_of_rows, rows_until_below
from ._start import product_multipliers

__all__ = ["CURVE_KINDS", "problem_of", "propose_curve_radius", "propose_curves"]

CURVE_KINDS = ("chord", "range", "parabola", "touch")


def _terms_at(
    anchor: CurveAnchor, values: list[np.ndarray], kinds: Collection[str], first: bool
) -> list[LocalTerm]:
    """The terms of `kinds` touching at `values`; those that touch nowhere only the `first` time."""
    result: list[LocalTerm] = []
    for k, v in enumerate(values):
        activation = anchor.chain.network.layers[k].activation
        if not is_curved(activation):
            names = ("piece_product", "piece_left", "piece_right") if first else ()
            used = np.ones(v.size, dtype=bool)
            result += [local_term(anchor, k, name, {}, used) for name in names]
            continue
        found: list[ProposedTerm] = []
        if first:
            found.append(slopes_at(activation, v, whole="chord" not in kinds))
            if "range" in kinds:
                span = curve_range(activation, v.size)
                found += supporting_lines(activation, v.size) if span is None else [span]
        else:
            found.append(slopes_at(activation, v))
        if not first or "parabola" in kinds:
            found += touching_parabolas(activation, v)
        result += [local_term(anchor, k, t.kind, t.parameters, t.proven) for t in found]
    return result


class _CurveHunt:
    """The rows of one point and the vectors found for them."""

    def __init__(
        self,
        anchor: CurveAnchor,
        rows: np.ndarray,
        offsets: np.ndarray,
        search: Search,
        kinds: Collection[str],
        radius: bool = False,
    ) -> None:
        self.anchor, self.rows, self.offsets = anchor, rows, offsets
        self.search, self.kinds, self.radius = search, kinds, radius
        self.began = time.monotonic()
        self.base = _terms_at(anchor, anchor.values, kinds, True)
        self.terms = CurveTerms(anchor, self.base)
        self.best = np.full(len(rows), -np.inf)
        self.chosen = np.zeros(len(rows), dtype=int)
        self.found: list[tuple[CurveProblem, np.ndarray, np.ndarray]] = []

    def late(self) -> bool:
        limit = self.search.time_limit
        return limit is not None and time.monotonic() - self.began > limit

    def order(self) -> np.ndarray:
        """Rows by their margin at the anchor over the norm of their gradient in the last layer."""
        sizes = np.linalg.norm(self.rows @ self.anchor.chain.slopes.weights[-1], axis=1)
        margins = self.rows @ self.anchor.outputs + self.offsets
        return np.argsort(margins / np.maximum(sizes, 1e-300))

    def climb(self, r: int, target: float) -> None:
        """Search for row r until its value is above the target."""
        row, offset = self.rows[r], float(self.offsets[r])
        problem = CurveProblem(self.terms, row, offset, self.radius)
        y = _beginning(problem)
        if y is None:
            return
        self.add(problem, y)
        at = self._ascent(problem, y, target)
        if at is not None and not at.value > target and "touch" in self.kinds and not self.late():
            self._touch(problem, at, target)
        if self.search.progress is not None:
            seconds = time.monotonic() - self.began
            done = int((self.best > target).sum())
            self.search.progress(Progress("margin", done, len(self.rows), float(self.best[r]), None, seconds))

    def _ascent(self, problem: CurveProblem, y: np.ndarray, target: float) -> CurvePoint | None:
        at = climb_curves(problem, y, target=target, iterations=self.search.newton, stop=self.late)
        if at is not None:
            self.add(problem, at.y)
        return at

    def _touch(self, problem: CurveProblem, at: CurvePoint, target: float) -> None:
        """The same row with terms at v* as well."""
        anchor = self.anchor
        ball = anchor.region.ball
        reach = np.inf if ball is None else ball.radius
        if self.radius:
            reach = float(np.sqrt(max(at.value, 0.0))) * 1.05
            if reach == 0.0:
                return
        x = descended(anchor, problem, anchor.point_of(at.z[: anchor.inputs]), reach)
        more = _terms_at(anchor, forward(anchor.chain.network, x)[0], self.kinds, False)
        if not any(len(t.where) for t in more):
            return
        wider = CurveProblem(
            CurveTerms(anchor, self.base + more), np.zeros(self.rows.shape[1]), 0.0, self.radius
        )
        wider.start, wider.row = problem.start, problem.row
        count = wider.count - problem.count
        y = np.concatenate([at.y[: problem.count], np.zeros(count), at.y[problem.count :]])
        fresh = slice(problem.count, wider.count)
        size = np.abs(wider.terms.numbers[fresh]).max(axis=1)
        started = _widened(wider, y, fresh, float(np.abs(at.y[: problem.count]).mean()) * 1e-2 / size)
        if started is not None:
            self._ascent(wider, started, target)

    def add(self, problem: CurveProblem, y: np.ndarray) -> None:
        """Keep y and let it serve the rows for which it is the best so far."""
        values, scales = problem.rate(y, self.rows, self.offsets)
        better = values > self.best
        if better.any():
            self.chosen[better], self.best[better] = len(self.found), values[better]
            self.found.append((problem, y, scales))

    def complete(self) -> None:
        """Rows that no vector serves get their start."""
        for r in np.flatnonzero(~np.isfinite(self.best)):
            problem = CurveProblem(self.terms, self.rows[r], float(self.offsets[r]), self.radius)
            y = _beginning(problem)
            if y is not None:
                self.add(problem, y)
            if not np.isfinite(self.best[r]):
                raise SolveFailed(f"no feasible multipliers were found for row {r}; rescale the layers.")

    def groups(self) -> tuple[MultiplierGroup, ...]:
        return tuple(
            self._group(g, tuple(int(r) for r in np.flatnonzero(self.chosen == g)))
            for g in range(len(self.found))
            if (self.chosen == g).any()
        )

    def _group(self, g: int, rows: tuple[int, ...]) -> MultiplierGroup:
        problem, y, scales = self.found[g]
        network, terms = self.anchor.chain.network, problem.terms
        layers: list[list[TermMultipliers]] = [[] for _ in range(network.hidden_layers)]
        tau = np.zeros(0)
        for part, a, b in zip(terms.parts, terms.ends, terms.ends[1:], strict=False):
            if part.layer < 0:
                tau = y[a:b]
                continue
            values = np.zeros(network.layers[part.layer].linear.shape[0])
            values[part.where] = y[a:b]
            layers[part.layer].append(TermMultipliers(part.kind, values, part.parameters))
        return MultiplierGroup(rows, scales[list(rows)], problem.split(y)[0], tau, tuple(map(tuple, layers)))


def _beginning(problem: CurveProblem) -> np.ndarray | None:
    """Product multipliers on chords and pieces with their best scale, a little on the other terms."""
    terms, anchor = problem.terms, problem.terms.anchor
    by_layer, rho = product_multipliers(anchor.chain.slopes)
    y, floor = np.zeros(problem.count + problem.heads), np.zeros(problem.count)
    for part, a, b in zip(terms.parts, terms.ends, terms.ends[1:], strict=False):
        if part.layer < 0:
            y[a:b] = pixels(anchor, rho)
            continue
        t, v = by_layer[part.layer][part.where], anchor.values[part.layer][part.where]
        if part.kind in ("curve_chord", "piece_product"):
            y[a:b] = t
        elif part.kind in ("piece_left", "piece_right"):
            span = spans(anchor, part.layer)[part.where]
            side = -v if part.kind == "piece_left" else v
            y[a:b] = t * span * np.maximum(side, 0.0) + 0.02 * t * (np.abs(v) + 1e-3)
        else:
            floor[a:b] = t / np.maximum(1.0, np.abs(part.numbers).max(axis=1))
    if problem.heads:
        y[-1] = rho
    if problem.radius:
        y[:-1] /= rho
        floor, y[-1] = floor / rho, 1.0
    row, offset = problem.row, problem.start
    started = _widened(problem, y, slice(0, problem.count), floor)
    if started is None:
        return None
    scale = _scale(problem, started, row, offset)
    if scale is None:
        return None
    if problem.radius:
        started[-1] = scale
        return started
    return started / scale


def _scale(problem: CurveProblem, y: np.ndarray, row: np.ndarray, start: float) -> float | None:
    """1 / t of the best multiple of y for this row; for radii the best weight."""
    value, scale = problem.rate_vectors(y, row[:, None], np.array([start]))
    return float(scale[0]) if np.isfinite(value[0]) and scale[0] > 0.0 else None


def _widened(problem: CurveProblem, y: np.ndarray, where: slice, extra: np.ndarray) -> np.ndarray | None:
    """y with a share of `extra` on the terms of the slice, as large as keeps M positive definite."""
    share = 0.1
    for _ in range(40):
        tried = y.copy()
        tried[where] += share * extra
        if problem.at(tried) is not None:
            return tried
        share *= 0.3
    return None


def problem_of(network: Network) -> PieceChain | CurvedChain:
    """The chain of a network, of two linear pieces where all its activations are; raises InputError."""
    pieces = all(
        isinstance(layer.activation, Identity)
        or slopes_of_pieces(layer.activation, layer.linear.shape[0]) is not None
        for layer in network.layers[:-1]
    )
    return chain_of(network) if pieces else curved_chain_of(network)


def propose_curves(
    chain: CurvedChain,
    region: AbstractRegion,
    rows: np.ndarray,
    offsets: np.ndarray,
    search: Search,
    kinds: Collection[str] = CURVE_KINDS,
) -> PointWitness:
    """As `propose_margins`, for chains with curved activations; `kinds` chooses among `CURVE_KINDS`."""
    hunt = _CurveHunt(anchor_of(chain, region), rows, offsets, search, kinds)
    rows_until_below(hunt, search.target)
    hunt.complete()
    claim = PointClaim(region, rows, hunt.best, offsets)
    found = PointWitness(point_digest(chain.network), claim, hunt.groups(), "margin dual with touching terms")
    return chain.slopes.folding.lifted(found)


def propose_curve_radius(
    chain: CurvedChain,
    x0: np.ndarray,
    rows: np.ndarray,
    offsets: np.ndarray,
    search: Search,
    box: Box | None = None,
    kinds: Collection[str] = CURVE_KINDS,
) -> PointWitness | None:
    """As `propose_radius`, for chains with curved activations."""
    unit = Ball(x0, 1.0)
    anchor = anchor_of(chain, unit if box is None else BallAndBox(unit, box))
    if not (rows @ anchor.outputs + offsets > 0.0).all():
        return None
    hunt = _CurveHunt(anchor, rows, offsets, search, kinds, radius=True)
    square = least_of_rows(hunt)
    if not square > 0.0:
        return None
    ball = Ball(x0, float(np.sqrt(square)))
    claim = PointClaim(
        ball if box is None else BallAndBox(ball, box), rows, np.zeros(len(rows)), offsets, "radius"
    )
    found = PointWitness(point_digest(chain.network), claim, hunt.groups(), "radius dual with touching terms")
    return chain.slopes.folding.lifted(found)
