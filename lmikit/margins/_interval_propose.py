"""Witnesses for margins on a region whose proof uses enclosures of the preactivations.

The ascent runs in the undecided neurons. A point (mu, tau, T, kappa, omega) is lifted to the whole
network: a stable neuron with e = w - slope v gets the multiplier of e that makes the minimiser
have e = 0 (the derivative of the rest of the Lagrangian there), and that of e^2 large enough for the
Schur complement, so that the bound of the whole matrix is that of the reduced one.
"""

import time
from collections.abc import Callable

import numpy as np
import scipy.linalg

from ..certificates.point import MultiplierGroup, PointWitness, TermMultipliers, looks_definite, point_digest
from ..claims import AbstractRegion, PointClaim
from ._ascent import Ascent, ascend_projected
from ._interval_dual import IntervalDual
from ._interval_problem import interval_problem
from ._linear import linear_margins
from ._problem import PieceChain
from ._propose import Search

__all__ = ["propose_with_intervals"]

_INSIDE = (0.3, 1.0, 0.03)
_ROOMS = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)  # shares of the scales


def propose_with_intervals(
    chain: PieceChain, region: AbstractRegion, rows: np.ndarray, offsets: np.ndarray, search: Search
) -> PointWitness | None:
    """A witness as of `propose_margins`; its proof encloses the preactivations. None where nothing finite is.

    Every row gets multipliers of its own, the worst by CROWN first; a row that stays open ends
    the search where the target is finite.
    """
    if not chain.hidden:
        return chain.folding.lifted(linear_margins(chain.network, region, rows, offsets))
    problem = interval_problem(chain, region)
    if problem is None:
        return None
    deadline = np.inf if search.time_limit is None else time.monotonic() + search.time_limit
    late: Callable[[], bool] = lambda: time.monotonic() > deadline  # noqa: E731
    dual = IntervalDual(problem)
    best = np.full(len(rows), -np.inf)
    asked = PointClaim(region, rows, np.zeros(len(rows)), offsets)
    starts = []
    for row, offset in zip(rows, offsets, strict=True):
        dual.objective(row, float(offset))
        y, scale, lower = dual.start()
        starts.append((dual.evaluate(y).value, y, scale, lower))
    groups = []
    stopped = False
    for r in np.argsort([value for value, *_ in starts]):
        _, y, scale, lower = starts[r]
        dual.objective(rows[r], float(offsets[r]))
        budget = 1 if stopped else 2 * search.budget
        found, climbed = _climbed(dual, y, scale, lower, budget, search.target + 1e-7, late)
        group, best[r] = _with_room(dual, asked, found, climbed, scale, int(r))
        if group is None:
            continue
        groups.append(group)
        stopped = stopped or (np.isfinite(search.target) and found.value <= search.target)
    if not groups or not np.isfinite(best).all():
        return None
    claim = asked.with_lower(best)
    found_all = PointWitness(point_digest(chain.network), claim, tuple(groups), "margin dual with intervals")
    return chain.folding.lifted(found_all)


def _climbed(
    dual: IntervalDual,
    start: np.ndarray,
    scale: np.ndarray,
    lower: np.ndarray,
    budget: int,
    target: float,
    late: Callable[[], bool],
) -> tuple[Ascent, bool]:
    """The best of a few ascents, and whether it is more than CROWN's point.

    That point lies on the boundary of many constraints, where the ascent stalls; with kappa and
    omega enlarged it begins lower and ends higher.
    """
    climbed = False
    best = ascend_projected(dual.evaluate, start, scale, lower, budget=1, target=target, stop=late)
    for inside in _INSIDE if budget > 1 else ():
        if best.value > target or late():
            break
        moved = start.copy()
        moved[dual.head + dual.count :] += inside * scale[dual.head + dual.count :]
        found = ascend_projected(dual.evaluate, moved, scale, lower, budget=budget, target=target, stop=late)
        best, climbed = (found, True) if found.value > best.value else (best, climbed)
    return best, climbed


def _with_room(
    dual: IntervalDual, claim: PointClaim, found: Ascent, climbed: bool, scale: np.ndarray, r: int
) -> tuple[MultiplierGroup | None, float]:
    """The group of a point, moved inside until the whole network's M has room for a proof, and its value.

    An ascent ends on the boundary of the cone; in the variables of the whole network a multiplier
    there leaves less room than in those of the search. CROWN's own point has room by construction.
    """
    for share in _ROOMS if np.isfinite(found.value) else ():
        y = found.y.copy()
        y[dual.head + dual.count :] += share * scale[dual.head + dual.count :]
        group = _lifted(dual, y, r)
        if group is not None and (not climbed or looks_definite(dual.problem.chain.network, claim, group)):
            return group, dual.evaluate(y).value
    return None, -np.inf


def _lifted(dual: IntervalDual, y: np.ndarray, r: int) -> MultiplierGroup | None:
    """The multipliers of the whole network for row r; None where M is not positive definite."""
    found = dual.minimiser(y)
    if found is None:
        return None
    problem, chain = dual.problem, dual.problem.chain
    head, t, kappa, omega = dual.parts(y)
    line, square = _stable_multipliers(dual, y, found[1], found[3])
    left, right = np.concatenate(chain.left), np.concatenate(chain.right)
    span = np.abs(right - left)
    neurons = left.size
    per_span = 1.0 / span[problem.undecided] ** 2

    def spread(index: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
        full = np.zeros(neurons)
        full[index] = values
        return chain.split(full)

    und, stable = problem.undecided, problem.stable
    products, lefts, rights = (spread(und, m * per_span) for m in (t, kappa, omega))
    limits = [spread(und, span[und] * bound * (1.0 + 1e-12)) for bound in (problem.upper, problem.depth)]
    lines, squares, slopes = spread(stable, line), spread(stable, -square), chain.split(problem.slope)
    layers = tuple(
        (
            TermMultipliers("piece_product", products[k]),
            TermMultipliers("piece_left_limit", lefts[k], {"limit": limits[0][k]}),
            TermMultipliers("piece_right_limit", rights[k], {"limit": limits[1][k]}),
            TermMultipliers("stable_line", lines[k], {"slope": slopes[k]}),
            TermMultipliers("stable_square", squares[k], {"slope": slopes[k]}),
        )
        for k in range(chain.hidden)
    )
    mu = float(head[0]) if dual.balls else 0.0
    return MultiplierGroup((r,), np.ones(1), mu, head[dual.balls :], layers)


def _stable_multipliers(
    dual: IntervalDual, y: np.ndarray, z: np.ndarray, factor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For e = 0: the derivative of the Lagrangian, and diagonal entries that outweigh the coupling."""
    problem = dual.problem
    _, t, _, omega = dual.parts(y)
    first = 1 + dual.size
    n_e = -problem.preactivations[:, first:]
    n = dual.n_rows @ z - dual.v0
    r = z[dual.p :]
    line = dual.row[first:] + n_e.T @ (t * r + omega * (2.0 * n - problem.depth))
    coupling = dual.n_rows.T @ (omega[:, None] * n_e)
    coupling[dual.p :] += 0.5 * t[:, None] * n_e
    own = n_e.T @ (omega[:, None] * n_e)
    if not problem.stable.size:
        return line, np.zeros(0)
    half = scipy.linalg.lapack.dtrtrs(factor, coupling, lower=1)[0]
    needed = np.abs(half.T @ half - own).sum(axis=1)
    return line, 2.0 * needed + 1e-3 * max(float(needed.max(initial=0.0)), float(y[: dual.head].mean()))
