"""Multipliers for all rows at one point: the worst row first, the others from its multipliers for free."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np

from .._errors import SolveFailed
from ..certificates.point import MultiplierGroup, PointWitness, TermMultipliers, point_digest
from ..claims import AbstractRegion, PointClaim
from ._ascent import ascend_projected
from ._dual import Dual
from ._newton import newton_ascent
from ._problem import Chain, Place, place_of
from ._start import product_multipliers, scales_of, start_for

__all__ = ["Search", "propose_margins"]

_LARGEST_NEWTON = 2500  # rows of M; beyond it one step costs more than the ascent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """How long to look: evaluations and Newton steps per row, and seconds for all of them.

    `target` ends the search for a row once its bound is above it; infinity asks for the best
    bound that the budget finds.
    """

    budget: int = 60
    newton: int = 60
    target: float = 0.0
    time_limit: float | None = None


@dataclasses.dataclass(eq=False)
class _Found:
    """Multipliers y and the rows that they serve, with scale and (unproven) bound."""

    y: np.ndarray
    scales: np.ndarray
    bounds: np.ndarray


def propose_margins(
    chain: Chain, region: AbstractRegion, rows: np.ndarray, offsets: np.ndarray, search: Search
) -> PointWitness:
    """A witness for rows[r] . f(x) + offsets[r] >= lower[r] on the region; its bounds are estimates."""
    deadline = np.inf if search.time_limit is None else time.monotonic() + search.time_limit
    place = place_of(chain, region)
    dual = Dual(place)
    best = np.full(len(rows), -np.inf)
    chosen = np.zeros(len(rows), dtype=int)
    found: list[_Found] = []
    multipliers, rho = product_multipliers(chain)
    margin = rows @ place.outputs + offsets
    order = np.argsort(margin / np.maximum(np.linalg.norm(rows @ chain.weights[-1], axis=1), 1e-300))
    for r in order:
        if best[r] > search.target:
            continue
        late = bool(found) and time.monotonic() > deadline
        y = _climb(dual, multipliers, rho, rows[r], offsets[r], search, deadline) if not late else None
        if y is None:
            continue
        bounds, scales = dual.scaled_rows(y, rows, offsets)
        better = bounds > best
        chosen[better], best[better] = len(found), bounds[better]
        found.append(_Found(y, scales, bounds))
        if best[r] <= search.target and np.isfinite(search.target):
            break  # one row that stays open decides the point
    for r in np.flatnonzero(~np.isfinite(best)):  # none of the vectors serves it: the start does
        y = start_for(dual, multipliers, rho, rows[r], float(offsets[r]))
        if y is None:
            raise SolveFailed(
                f"no feasible multipliers were found for row {r}; rescale the network's layers."
            )
        bounds, scales = dual.scaled_rows(y, rows, offsets)
        chosen[r], best[r] = len(found), bounds[r]
        found.append(_Found(y, scales, bounds))
    groups = tuple(
        _group(dual, f, tuple(np.flatnonzero(chosen == g)))
        for g, f in enumerate(found)
        if (chosen == g).any()
    )
    claim = PointClaim(region, rows, best, offsets)
    return PointWitness(point_digest(chain.network), claim, groups, "margin dual, interval-free")


def _climb(
    dual: Dual,
    multipliers: list[np.ndarray],
    rho: float,
    row: np.ndarray,
    offset: float,
    search: Search,
    deadline: float,
) -> np.ndarray | None:
    dual.objective(row, float(offset))
    y = start_for(dual, multipliers, rho, row, float(offset))
    if y is None:
        return None
    scale, lower = scales_of(dual, y)
    late: Callable[[], bool] = lambda: time.monotonic() > deadline  # noqa: E731
    target = search.target + 1e-7
    first = ascend_projected(dual.evaluate, y, scale, lower, budget=search.budget, target=target, stop=late)
    size = dual.neurons + (dual.boxes or dual.place.chain.sizes[0])
    if first.value > target or late() or not search.newton or size > _LARGEST_NEWTON:
        return first.y
    second = newton_ascent(dual, y, target=target, iterations=search.newton, stop=late)
    return second.y if second.value > first.value else first.y


def _group(dual: Dual, found: _Found, rows: tuple[int, ...]) -> MultiplierGroup:
    place: Place = dual.place
    head, t, eta, nu = dual.parts(found.y)
    split = place.chain.split
    layers = tuple(
        (
            TermMultipliers("piece_product", a),
            TermMultipliers("piece_left", b),
            TermMultipliers("piece_right", c),
        )
        for a, b, c in zip(split(t), split(eta), split(nu), strict=True)
    )
    mu = float(head[0]) if dual.balls else 0.0
    tau = head[dual.balls : dual.balls + dual.boxes]
    return MultiplierGroup(rows, found.scales[list(rows)], mu, tau, layers)
