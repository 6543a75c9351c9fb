"""Multipliers for all rows at one point: the worst row first, the others from its multipliers for free."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np

from .._errors import SolveFailed
from .._progress import Progress, ProgressCallback
from ..certificates.point import MultiplierGroup, PointWitness, TermMultipliers, point_digest
from ..claims import AbstractRegion, Ball, BallAndBox, Box, PointClaim
from ._ascent import ascend_projected
from ._dual import MarginDual
from ._linear import linear_margins, linear_radius
from ._newton import newton_ascent
from ._problem import PieceChain, place_of
from ._rows import least_of_rows, rows_until_below
from ._start import product_multipliers, scales_of, start_for

__all__ = ["Search", "propose_margins", "propose_radius"]

_LARGEST_NEWTON = 2500  # rows of M; beyond it one step costs more than the ascent
_LARGEST = 50_000  # neurons; beyond, the factor of M alone takes gigabytes
_PER_NEWTON = 6  # evaluations in the place of one step, where sparse maps leave the ascent alone
_MEMORY, _SPARSE_MEMORY = 20, 100  # pairs that the ascent keeps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """How long to look: evaluations and Newton steps per row, and seconds for all of them.

    Large networks of sparse maps have no Newton steps; they get six evaluations more for each.
    `target` ends the search for a row once its bound is above it; infinity asks for the best
    bound that the budget finds.
    """

    budget: int = 60
    newton: int = 60
    target: float = 0.0
    time_limit: float | None = None
    progress: ProgressCallback | None = None


@dataclasses.dataclass(eq=False)
class _Found:
    """Multipliers y with the scale and the (unproven) value of every row that they can serve."""

    y: np.ndarray
    scales: np.ndarray
    values: np.ndarray


class _Hunt:
    """The rows of one point, the vectors found so far, and which of them serves which row."""

    def __init__(self, dual: MarginDual, rows: np.ndarray, offsets: np.ndarray, search: Search) -> None:
        self.dual, self.rows, self.offsets, self.search = dual, rows, offsets, search
        if dual.neurons > _LARGEST:
            raise SolveFailed(
                f"the network has {dual.neurons} neurons as a chain; the dual is searched up to {_LARGEST}, "
                "CROWN's bounds have no such limit."
            )
        self.start = time.monotonic()
        self.best = np.full(len(rows), -np.inf)
        self.chosen = np.zeros(len(rows), dtype=int)
        self.found: list[_Found] = []
        self.multipliers, self.rho = product_multipliers(dual.place.chain)

    def late(self) -> bool:
        limit = self.search.time_limit
        return limit is not None and time.monotonic() - self.start > limit

    def order(self) -> np.ndarray:
        """Rows by their margin at the anchor over the norm of their gradient in the last layer."""
        place = self.dual.place
        sizes = np.linalg.norm(self.rows @ place.chain.weights[-1], axis=1)
        margins = self.rows @ place.outputs + self.offsets
        return np.argsort(margins / np.maximum(sizes, 1e-300))

    def beginning(self, r: int) -> np.ndarray | None:
        self.dual.objective(self.rows[r], float(self.offsets[r]))
        return start_for(self.dual, self.multipliers, self.rho, self.rows[r], float(self.offsets[r]))

    def adopt(self, other: "_Hunt") -> None:
        """Take over the vectors that were found for the ball alone: tau = 0 for the box."""
        for found in other.found:
            head = np.concatenate([found.y[: self.dual.balls], np.zeros(self.dual.boxes)])
            self.add(np.concatenate([head, found.y[other.dual.head :]]))

    def climb(self, r: int, target: float) -> None:
        """Search for row r until its value is above the target, from its start or a better vector."""
        y = self.beginning(r)
        if y is None:
            return
        dual, search = self.dual, self.search
        scale, lower = scales_of(dual, y)
        stop: Callable[[], bool] = self.late
        known = y
        if self.found and np.isfinite(self.best[r]) and not dual.radius and dual.boxes:
            adopted = self.found[self.chosen[r]]
            known = adopted.y / adopted.scales[r]
        sparse = dual.place.chain.sparse or dual.linear.size > 0
        more = (search.budget + _PER_NEWTON * search.newton, _SPARSE_MEMORY)
        budget, memory = more if sparse else (search.budget, _MEMORY)
        first = ascend_projected(
            dual.evaluate, known, scale, lower, budget=budget, target=target, stop=stop, memory=memory
        )
        best = first.y
        size = dual.neurons + (dual.boxes or min(dual.place.chain.weights[0].shape))
        newton = search.newton and size <= _LARGEST_NEWTON and not sparse
        if newton and not (first.value > target or stop()):
            second = newton_ascent(dual, y, target=target, iterations=search.newton, stop=stop)
            best = second.y if second.value > first.value else first.y
        self.add(dual.filled(best))
        if search.progress is not None:
            seconds = time.monotonic() - self.start
            open_rows = int((self.best > target).sum())
            search.progress(Progress("margin", open_rows, len(self.rows), float(self.best[r]), None, seconds))

    def add(self, y: np.ndarray) -> None:
        """Keep y and let it serve the rows for which it is the best so far."""
        rate = self.dual.squares_of_rows if self.dual.radius else self.dual.scaled_rows
        values, scales = rate(y, self.rows, self.offsets)
        better = values > self.best
        self.chosen[better], self.best[better] = len(self.found), values[better]
        self.found.append(_Found(y, scales, values))

    def complete(self) -> None:
        """Rows that no vector serves, or serves badly, get their start if that is better."""
        for r in np.flatnonzero(~(self.best > min(self.search.target, 0.0))):
            y = self.beginning(int(r))
            if y is not None:
                self.add(y)
            if not np.isfinite(self.best[r]):
                raise SolveFailed(f"no feasible multipliers were found for row {r}; rescale the layers.")

    def groups(self) -> tuple[MultiplierGroup, ...]:
        return tuple(
            self._group(found, tuple(int(r) for r in np.flatnonzero(self.chosen == g)))
            for g, found in enumerate(self.found)
            if (self.chosen == g).any()
        )

    def _group(self, found: _Found, rows: tuple[int, ...]) -> MultiplierGroup:
        dual = self.dual
        head, t, eta, nu = dual.parts(found.y)
        split = dual.place.chain.split
        layers = tuple(
            _terms(*layer)
            for layer in zip(split(dual.place.chain.linear), split(t), split(eta), split(nu), strict=True)
        )
        mu = 1.0 if dual.radius else (float(head[0]) if dual.balls else 0.0)
        tau = head[dual.balls : dual.balls + dual.boxes]
        return MultiplierGroup(rows, found.scales[list(rows)], mu, tau, layers)


def _terms(linear: np.ndarray, t: np.ndarray, eta: np.ndarray, nu: np.ndarray) -> tuple[TermMultipliers, ...]:
    """The terms of a layer, of which the neurons in `linear` (n_k,) bool have no nonlinearity."""
    values = {"linear_square": np.where(linear, -t, 0.0), "linear_line": np.where(linear, eta, 0.0)}
    lines = tuple(TermMultipliers(kind, own) for kind, own in values.items()) if linear.any() else ()
    if linear.all():
        return lines
    pieces = {"piece_product": t, "piece_left": eta, "piece_right": nu}
    return *(TermMultipliers(kind, np.where(linear, 0.0, own)) for kind, own in pieces.items()), *lines


def propose_margins(
    chain: PieceChain, region: AbstractRegion, rows: np.ndarray, offsets: np.ndarray, search: Search
) -> PointWitness:
    """A witness for rows[r] . f(x) + offsets[r] >= lower[r] on the region; its bounds are estimates.

    Rows are searched for until all are above `search.target`; the first that stays below ends the
    search where the target is finite, since it decides the point.
    """
    if not chain.hidden:
        return chain.folding.lifted(linear_margins(chain.network, region, rows, offsets))
    hunt = _Hunt(MarginDual(place_of(chain, region)), rows, offsets, search)
    if region.ball is not None and region.box is not None:  # the ball alone is cheaper, and often enough
        ball = _Hunt(MarginDual(place_of(chain, region.ball)), rows, offsets, search)
        rows_until_below(ball, search.target)
        hunt.adopt(ball)
    rows_until_below(hunt, search.target)
    hunt.complete()
    claim = PointClaim(region, rows, hunt.best, offsets)
    found = PointWitness(point_digest(chain.network), claim, hunt.groups(), "margin dual without intervals")
    return chain.folding.lifted(found)


def propose_radius(
    chain: PieceChain,
    x0: np.ndarray,
    rows: np.ndarray,
    offsets: np.ndarray,
    search: Search,
    box: Box | None = None,
) -> PointWitness | None:
    """A witness that every row stays positive for ||x - x0||_2 < r (and in `box`), r as large as found.

    None where some row is not positive at x0 or no positive radius was found.
    """
    if not chain.hidden:
        linear = linear_radius(chain.network, x0, rows, offsets, box)
        return None if linear is None else chain.folding.lifted(linear)
    unit = Ball(x0, 1.0)
    place = place_of(chain, unit if box is None else BallAndBox(unit, box))
    if not (rows @ place.outputs + offsets > 0.0).all():
        return None
    hunt = _Hunt(MarginDual(place, radius=True), rows, offsets, search)
    square = least_of_rows(hunt)
    if not square > 0.0:
        return None
    ball = Ball(x0, float(np.sqrt(square)))
    region = ball if box is None else BallAndBox(ball, box)
    zero = np.zeros(len(rows))
    claim = PointClaim(region, rows, zero, offsets, "radius")
    found = PointWitness(point_digest(chain.network), claim, hunt.groups(), "radius dual without intervals")
    return chain.folding.lifted(found)
