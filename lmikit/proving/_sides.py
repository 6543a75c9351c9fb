"""Candidates for the two sides, tested by the prover itself; the first that is proven is kept."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..certificates.sdp._data import Cone
from ..certificates.sdp._enclosure import Projection
from ..certificates.sdp._records import Drop, DualSide, PrimalSide
from ..certificates.sdp._sides import dual_side, metric, primal_side
from ..lmi import SDP, Dual
from ._correction import Corrector, onto_equalities

__all__ = ["DualSearch", "PrimalSearch", "packed", "smallest", "tidy"]


def smallest(ok: Callable[[float], bool], refinements: int = 3) -> float | None:
    """The least t of a logarithmic grid in [0, 1], refined by bisection, with ok(t)."""
    if ok(0.0):
        return 0.0
    low = 1e-11
    for t in (*10.0 ** np.arange(-10, 0.0), 1.0):
        if ok(float(t)):
            high = float(t)
            break
        low = float(t)
    else:
        return None
    for _ in range(refinements):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if ok(middle) else (middle, high)
    return high


def tidy(x: np.ndarray) -> np.ndarray:
    """Without the numbers that are far below the largest, whose products would underflow."""
    return np.where(np.abs(x) > 1e-100 * np.abs(x).max(initial=0.0), x, 0.0)


def packed(cone: Cone, dual: Dual) -> np.ndarray:
    """Multipliers as a point of the layout."""
    blocks = [(np.asarray(X) + np.asarray(X).T) / 2 for X in dual.X]
    s = dual.s or tuple(np.zeros(n) for n in cone.layout.soc)
    return cone.layout.pack(blocks, [np.maximum(dual.z, 0.0), *s, dual.v])


class PrimalSearch:
    """Points y, within bounds where there are some; `best` is the side with the least proven value."""

    def __init__(self, sdp: SDP, cone: Cone, drop: Drop, bounds: np.ndarray | None = None) -> None:
        self.sdp, self.cone, self.drop, self.bounds = sdp, cone, drop, bounds
        self.best: tuple[float, PrimalSide] | None = None

    def test(self, y: np.ndarray) -> bool:
        """Whether a feasible point near y is proven."""
        y = tidy(onto_equalities(self.sdp.A, self.sdp.b, y))
        if self.bounds is not None and (np.abs(y) > self.bounds).any():
            return False
        side = PrimalSide(y, self.drop)
        result = primal_side(self.cone, side)
        if result.ok and math.isfinite(result.value) and (self.best is None or result.value < self.best[0]):
            self.best = (result.value, side)
        return result.ok

    def between(self, y: np.ndarray, interior: np.ndarray) -> bool:
        """The point of the segment nearest y that is proven."""
        return smallest(lambda t: self.test((1 - t) * y + t * interior)) is not None


class DualSearch:
    """Multipliers x on faces, with equations dropped; `best` has the largest proven value."""

    def __init__(
        self,
        cone: Cone,
        bounds: np.ndarray | None = None,
        faces: tuple[np.ndarray | None, ...] = (),
        drop: Drop | None = None,
    ) -> None:
        self.cone, self.bounds, self.faces, self.drop = cone, bounds, faces, drop or {}
        keep = np.ones(cone.c.size, dtype=bool)
        keep[list(self.drop)] = False
        self.keep = keep
        self.corrector = Corrector(cone, keep)
        self.best: tuple[float, DualSide] | None = None
        self.reason = ""
        self.cache: dict[Any, Projection] = {}

    def right(self, u: np.ndarray | None) -> np.ndarray:
        """c + H u."""
        return self.cone.c if self.cone.H is None or u is None else self.cone.c + self.cone.H @ u

    def test(self, x: np.ndarray, u: np.ndarray | None, *, positive: bool = False) -> bool:
        """Whether multipliers near x are proven (and their value is positive, for a ray)."""
        right = self.right(u)
        own = self.corrector(x, right)
        for name in ("plain", "scaled", *(() if self.bounds is None else ("paid",))):
            point = own if name == "paid" else self._stepped(own, right, name)
            if self._proven(point, u, name, positive=positive):
                return True
        return False

    def pay(self, x: np.ndarray, u: np.ndarray | None, inwards: np.ndarray) -> bool:
        """Whether multipliers moved just into the cone are proven, the bounds paying for what they lack."""

        def at(t: float) -> bool:
            return self._proven(x + t * inwards, u, "paid")

        return smallest(at) is not None

    def _proven(self, x: np.ndarray, u: np.ndarray | None, name: str, *, positive: bool = False) -> bool:
        side = self._side(tidy(x), u, name)
        result = dual_side(self.cone, side, self.bounds, self.cache)
        self.reason = result.reason
        if not (result.ok and (not positive or result.value > 0)):
            return False
        if self.best is None or result.value > self.best[0]:
            self.best = (result.value, side)
        return True

    def _stepped(self, x: np.ndarray, right: np.ndarray, name: str) -> np.ndarray:
        """Two steps of the correction that the proof will enclose, so that it encloses next to nothing."""
        for _ in range(2):
            g = metric(self.cone.layout, x, name)
            key = (name, g.tobytes())
            if key not in self.cache:
                if len(self.cache) > 3:
                    self.cache.clear()
                T, T_rad = (
                    self.cone.T[self.keep],
                    None if self.cone.T_rad is None else self.cone.T_rad[self.keep],
                )
                self.cache[key] = Projection(T, T_rad, g, self.cone.weight)
            projection = self.cache[key]
            if projection.fault:
                return x
            x = x + projection.step(self.corrector.defect(x, right))
        return x

    def _side(self, x: np.ndarray, u: np.ndarray | None, name: str) -> DualSide:
        shape = self.cone.layout
        return DualSide(
            tuple(shape.matrix(x, k) for k in range(len(shape.psd))),
            x[shape.linear_slice],
            tuple(x[part] for part in shape.soc_slices()),
            x[shape.zero_slice],
            None if self.cone.H is None else u,
            self.faces,
            self.drop,
            name,
        )

    def between(
        self, x: np.ndarray, u: np.ndarray | None, interior: np.ndarray, interior_u: np.ndarray | None
    ) -> bool:
        """The point of the segment nearest x that is proven."""

        def at(t: float) -> bool:
            mixed = None if u is None or interior_u is None else (1 - t) * u + t * interior_u
            return self.test((1 - t) * x + t * interior, mixed)

        return smallest(at) is not None
