"""Is an open cell empty in a region? Points and multipliers, by nonnegative least squares; proposals only.

min ||y|| subject to G y >= h is the least-distance problem (Lawson and Hanson, Solving Least Squares
Problems, 1974, chapter 23): with u >= 0 minimising ||[G'; h'] u - e||, e the last unit vector, and residual
r, y = -r_y / r_e where r is not 0, and u are Farkas multipliers where it is. y = G'u / (-r_e), so the same
u say that the closest point is too far.
"""

import dataclasses

import numpy as np
from scipy.optimize import nnls

from .certificates.cells import Cell, Emptiness, ExactRegion, exact_kernel, proves_empty
from .claims import AbstractRegion

__all__ = ["Halfspaces", "Polyhedra"]

_MARGIN = 1e-9  # of open cells, in units of the region
_ZERO = 1e-11


@dataclasses.dataclass(frozen=True, eq=False)
class Halfspaces:
    """rows (r, n_0) y >= limits (r,) in the region's units, unit rows; `norms` before scaling.

    `positions` are those of the constraints in a cell's path.
    """

    rows: np.ndarray
    limits: np.ndarray
    norms: np.ndarray
    positions: tuple[int, ...]

    def with_row(self, row: np.ndarray, limit: float, norm: float, position: int) -> "Halfspaces":
        """One more."""
        return Halfspaces(
            np.vstack([self.rows, row]),
            np.append(self.limits, limit),
            np.append(self.norms, norm),
            (*self.positions, position),
        )


class Polyhedra:
    """The cells of one region; `find` looks for a point with room, `prove` turns multipliers into a proof."""

    def __init__(self, region: AbstractRegion | None, dim: int) -> None:
        self.exact = ExactRegion(region)
        ball = None if region is None else region.ball
        box = None if region is None else region.box
        self.reach = np.inf if ball is None else 1.0
        self.center, self.scale = np.zeros(dim), np.ones(dim)
        if ball is not None:
            self.center, self.scale = ball.x0, np.full(dim, ball.radius)
        elif box is not None:
            self.center, self.scale = 0.5 * box.lower + 0.5 * box.upper, 0.5 * (box.upper - box.lower)
        self.walls, self.wall_limits = np.zeros((0, dim)), np.zeros(0)
        if box is not None:
            low, high = (box.lower - self.center) / self.scale, (box.upper - self.center) / self.scale
            self.walls = np.vstack([np.eye(dim), -np.eye(dim)])
            self.wall_limits = np.concatenate([low, -high])

    def none(self) -> Halfspaces:
        """No constraint but the region's own."""
        return Halfspaces(np.zeros((0, self.center.size)), np.zeros(0), np.zeros(0), ())

    def halfspace(self, form: np.ndarray, sign: int) -> tuple[np.ndarray, float, float]:
        """sign (form[:-1] . x + form[-1]) > 0 as a unit row, limit and norm in the region's units."""
        a = sign * form[:-1] * self.scale
        norm = float(np.linalg.norm(a))
        norm = norm if norm > 0.0 else 1.0
        return a / norm, -sign * float(form[:-1] @ self.center + form[-1]) / norm, norm

    def find(self, cell: Halfspaces) -> tuple[np.ndarray | None, np.ndarray]:
        """(x, multipliers): a point of the open cell in the region or None, and what may refute it."""
        rows = np.vstack([cell.rows, self.walls])
        limits = np.concatenate([cell.limits + _MARGIN, self.wall_limits])
        target = np.zeros(rows.shape[1] + 1)
        target[-1] = 1.0
        system = np.vstack([rows.T, limits])
        try:
            u, _ = nnls(system, target)
        except RuntimeError:  # more iterations than it allows itself
            return None, np.zeros(len(rows))
        rest = system @ u - target
        if rest[-1] > -_ZERO:
            return None, u
        y = -rest[:-1] / rest[-1]
        inside = bool((cell.rows @ y > cell.limits + 0.5 * _MARGIN).all()) if len(cell.rows) else True
        near = bool((self.walls @ y >= self.wall_limits - 1e-7).all()) and float(y @ y) <= self.reach**2
        return (self.center + self.scale * y if inside and near else None), u

    def contains(self, cell: Halfspaces, x: np.ndarray) -> bool:
        """Whether x, a point of the region, lies in the open cell with room, in floating point."""
        y = (x - self.center) / self.scale
        return bool((cell.rows @ y > cell.limits + 0.5 * _MARGIN).all())

    def prove(self, cell: Cell, spaces: Halfspaces, u: np.ndarray) -> Emptiness | None:
        """Integer multipliers that prove the open cell empty, checked exactly; None if none is found."""
        count = len(spaces.positions)
        size = u[:count] / spaces.norms
        if not size.any() or not np.isfinite(size).all():
            return None
        unit = 2.0**40 / size.max()
        rounded = [int(v) for v in np.rint(size * unit)]
        split = None
        if np.isfinite(self.reach) and len(self.walls):
            split = unit * (np.vstack([spaces.rows, self.walls]).T @ u) / self.scale
        found = self._kept(spaces.positions, rounded, split)
        if proves_empty(cell, self.exact, found):
            return found
        return self._degenerate(cell, spaces, u)

    def _degenerate(self, cell: Cell, spaces: Halfspaces, u: np.ndarray) -> Emptiness | None:
        """The exact combination that vanishes, where the cell is flat or the region unbounded."""
        if np.isfinite(self.reach) and not self._without_ball(spaces, u):
            return None
        count = len(spaces.positions)
        used = np.flatnonzero(u > 1e-9 * u.max())
        power = max(form.power for form in cell.forms)
        rows = []
        for t in used:
            if t < count:
                layer, neuron, sign = cell.path[spaces.positions[t]]
                form = cell.forms[layer]
                rows.append([int(v) * sign << (power - form.power) for v in form.values[neuron][:-1]])
            else:
                rows.append([int(v) for v in self.walls[t - count]])
        kernel = exact_kernel(rows)
        if kernel is None:
            return None
        kernel = kernel if sum(kernel) >= 0 else [-k for k in kernel]
        if min(kernel) < 0:
            return None
        mine = [(t, k) for t, k in zip(used, kernel, strict=True) if t < count]
        split = np.zeros(self.center.size) if np.isfinite(self.reach) and len(self.walls) else None
        found = self._kept(tuple(spaces.positions[t] for t, _ in mine), [k for _, k in mine], split)
        return found if proves_empty(cell, self.exact, found) else None

    def _without_ball(self, spaces: Halfspaces, u: np.ndarray) -> bool:
        total = np.vstack([spaces.rows, self.walls]).T @ u
        return float(np.linalg.norm(total)) <= 1e-6 * float(u.max())

    @staticmethod
    def _kept(positions: tuple[int, ...], multipliers: list[int], split: np.ndarray | None) -> Emptiness:
        pairs = [(p, m) for p, m in zip(positions, multipliers, strict=True) if m > 0]
        return Emptiness(tuple(p for p, _ in pairs), tuple(m for _, m in pairs), split)
