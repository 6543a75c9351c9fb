"""The search for a witness: solve, test, repair with interior points, rays; everything here proposes."""

import dataclasses
import logging
import time
from collections.abc import Callable

import numpy as np

from .._errors import LmikitError
from .._progress import ProgressCallback
from ..certificates.sdp import PrimalSide, SDPWitness
from ..certificates.sdp._data import Cone
from ..certificates.sdp._sides import primal_side
from ..lmi import SDP, Solution, Status
from ..solvers import AbstractSolver
from ._dependent import dependent_rows
from ._faces import complement, compose, null_vectors, on_faces, without_offsets
from ._margins import Margins, with_bounds, with_margins
from ._polish import polish
from ._rays import interior_ray
from ._sides import DualSearch, PrimalSearch, packed, tidy

__all__ = ["ProofSearch"]

_log = logging.getLogger(__name__)
_LEVELS = (1e-4, 1e-6, 1e-7, 1e-2)  # of the size of each part; interiors may be thin
_NARROW, _STEPS = 1e-8, 25  # relative width that is enough, own steps at most
_ROUNDS = 3  # of facial reduction
_SHIFTS = (0.0, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)

Solve = Callable[..., Solution]


class ProofSearch:
    """One problem's search; `run` returns the witness and the reasons for what it lacks."""

    def __init__(
        self,
        sdp: SDP,
        solver: AbstractSolver | None,
        deadline: float | None,
        bounds: np.ndarray | None,
        progress: ProgressCallback | None,
        solve: Solve,
    ) -> None:
        self.sdp, self.solver, self.deadline, self.bounds = sdp, solver, deadline, bounds
        self.progress, self._solve = progress, solve
        self.cone = Cone.of(sdp)
        self.solution: Solution | None = None
        self.solving = 0.0
        self.reasons: list[str] = []

    # solves

    def solve(self, sdp: SDP) -> Solution | None:
        """A solution with the time that is left, or None; what fails is logged and becomes no proof."""
        limit = None if self.deadline is None else self.deadline - time.perf_counter()
        if limit is not None and limit <= 0:
            return None
        start = time.perf_counter()
        try:
            return self._solve(sdp, self.solver, time_limit=limit, progress=self.progress)
        except LmikitError as error:
            if self.solution is None:
                self.reasons.append(f"the solver failed: {error}")
            _log.info("a solve failed: %s", error)
            return None
        finally:
            self.solving += time.perf_counter() - start

    def run(self) -> tuple[SDPWitness | None, tuple[str, ...]]:
        """A witness of everything that was found, or None."""
        self.solution = self.solve(self.sdp)
        status = None if self.solution is None else self.solution.status
        witness = None
        if self.solution is not None and status is Status.INFEASIBLE:
            witness = self._infeasible(self.solution)
        elif status is Status.UNBOUNDED:
            witness = self._unbounded()
        else:
            witness = self._bounds()
        if witness is None and self.solution is not None:
            witness = self._phase_one()
        if witness is None:
            return None, tuple(self.reasons)
        name = "" if self.solution is None else self.solution.solver
        return dataclasses.replace(witness, produced_by=name), tuple(self.reasons)

    def _phase_one(self) -> SDPWitness | None:
        """Feasibility alone: an infeasible problem may look unbounded, or as if it had no interior."""
        plain = dataclasses.replace(self.sdp, c=np.zeros(self.sdp.variables), H=None)
        found = self.solve(plain)
        if found is None or found.status is not Status.INFEASIBLE:
            return None
        return self._infeasible(found)

    # rays

    def _infeasible(self, solution: Solution) -> SDPWitness | None:
        if solution.dual is None:
            return None
        cone = self.cone.without_objective()
        x = packed(cone, solution.dual)
        x = x / max(float(np.abs(x).max(initial=0.0)), 1e-300)
        search = DualSearch(cone, self.bounds, drop=dependent_rows(cone.T, cone.c, cone.T_rad))
        identity = Margins.of(cone, np.zeros(self.sdp.variables), x).identity
        for shift in _SHIFTS:
            if search.test(x + shift * identity, None, positive=True):
                assert search.best is not None
                self.reasons.clear()
                return SDPWitness(dual_ray=search.best[1], bounds=self.bounds)
        self.reasons.append(f"infeasible by the solver, not proven: {search.reason}")
        return None

    def _unbounded(self) -> SDPWitness | None:
        assert self.solution is not None
        if self.solution.y is None:
            return None
        drop = dependent_rows(self.sdp.A, np.zeros_like(self.sdp.b), None)
        cone = self.cone.homogeneous().linear()
        search = PrimalSearch(dataclasses.replace(self.sdp, b=np.zeros_like(self.sdp.b)), cone, drop)
        ray = self.solution.y / max(float(np.abs(self.solution.y).max(initial=0.0)), 1e-300)
        if not (search.test(ray) and primal_side(cone, PrimalSide(tidy(ray), drop)).strict):
            inner = self.solve(interior_ray(self.sdp))
            if inner is not None and inner.y is not None and inner.status.has_point:
                search.between(ray, inner.y[:-1])
        if search.best is None or not search.best[0] < 0:
            self.reasons.append("unbounded by the solver, its ray is not proven")
            return None
        side = search.best[1]
        feasible = None
        if self.sdp.b.size or not primal_side(cone, side).strict:
            feasible = self._feasible()
            if feasible is None:
                self.reasons.append("unbounded by the solver: the ray is proven, a feasible y is not")
                return None
        return SDPWitness(primal=feasible, primal_ray=side)

    def _feasible(self) -> PrimalSide | None:
        """Any feasible y that is proven: the problem without its objective, with margins."""
        plain = dataclasses.replace(self.sdp, c=np.zeros(self.sdp.variables), H=None)
        search = PrimalSearch(self.sdp, self.cone, dependent_rows(self.sdp.A, self.sdp.b, None))
        x, y = np.zeros(self.cone.layout.total), np.zeros(self.sdp.variables)
        margins = Margins.of(self.cone, y, x)
        for level in (1.0, 1e-2, 1e-4, 0.0):
            found = self.solve(
                with_margins(plain, self.cone.without_objective(), level * margins.primal, 0 * x)
            )
            if found is not None and found.y is not None and found.status.has_point and search.test(found.y):
                assert search.best is not None
                return search.best[1]
        return None

    # bounds

    def _bounds(self) -> SDPWitness | None:
        solution = self.solution if self.bounds is None else self._within() or self.solution
        drop = dependent_rows(self.sdp.A, self.sdp.b, None)
        upper = PrimalSearch(self.sdp, self.cone, drop, self.bounds)
        right = self.cone.c
        lower = DualSearch(self.cone, self.bounds, drop=dependent_rows(self.cone.T, right, self.cone.T_rad))
        y = np.zeros(self.sdp.variables)
        x = np.zeros(self.cone.layout.total)
        if solution is not None and solution.status.has_point and solution.y is not None:
            y = solution.y
            if solution.dual is not None:
                x = packed(self.cone, solution.dual)
                lower.test(x, self._linearised(y))
            upper.test(y)
        margins = Margins.of(self.cone, y, x)
        if self.bounds is not None:
            if lower.best is None:
                lower.pay(x, self._linearised(y), margins.dual)
            self._inside(y, upper)
        for level in _LEVELS:
            if upper.best and lower.best:
                break
            self._repair(level * margins.primal, level * margins.dual, y, x, upper, lower)
            if level == _LEVELS[0] and lower.best is None and upper.best is not None:
                lower = self._lower_on_a_face(y) or lower
        self._narrow(upper, lower)
        for search, name in ((upper, "upper"), (lower, "lower")):
            if search.best is None:
                reason = getattr(search, "reason", "")
                self.reasons.append(f"{name}: no point is proven" + (f" ({reason})" if reason else ""))
        if upper.best is None and lower.best is None:
            return None
        return SDPWitness(
            None if upper.best is None else upper.best[1],
            None if lower.best is None else lower.best[1],
            bounds=self.bounds,
        )

    def _within(self) -> Solution | None:
        """A solution within the bounds on y, without the multipliers of these."""
        assert self.bounds is not None
        found = self.solve(with_bounds(self.sdp, self.bounds))
        if found is None or found.y is None or not found.status.has_point:
            return None
        if found.dual is None:
            return found
        return dataclasses.replace(
            found, dual=dataclasses.replace(found.dual, z=found.dual.z[: self.sdp.h.size])
        )

    def _inside(self, y: np.ndarray, upper: PrimalSearch) -> None:
        """A point with room in the constraints and in the bounds, where y is not proven as it is."""
        assert self.bounds is not None
        boxed = with_bounds(self.sdp, self.bounds)
        cone = Cone.of(boxed)
        room = Margins.of(cone, y, np.zeros(cone.layout.total)).primal
        for level in _LEVELS:
            if upper.best is not None:
                return
            inner = self.solve(with_margins(boxed, cone, level * room, 0.0 * room))
            if inner is not None and inner.y is not None and inner.status.has_point:
                upper.between(y, inner.y)

    def _lower_on_a_face(self, y: np.ndarray) -> DualSearch | None:
        """A lower bound from multipliers on a face with an integer basis, where they have no interior."""
        faces: tuple[np.ndarray | None, ...] = (None,) * len(self.sdp.lmis)
        for _ in range(_ROUNDS):
            deeper = self._deeper(faces)
            if deeper is None:
                return None
            faces = deeper
            cone = Cone.of(self.sdp, faces)
            drop = dependent_rows(cone.T, cone.c, cone.T_rad)
            reduced = on_faces(self.sdp, faces, drop)
            lower = DualSearch(cone, self.bounds, faces, drop)
            self._on_face(reduced, lower, y)
            if lower.best is not None:
                return lower
        return None

    def _deeper(self, faces: tuple[np.ndarray | None, ...]) -> tuple[np.ndarray | None, ...] | None:
        """Faces on which a central X of the present ones lies; None where it is interior or not rational."""
        cone = Cone.of(self.sdp, faces)
        drop = dependent_rows(cone.T, cone.c, cone.T_rad)
        central = self.solve(without_offsets(on_faces(self.sdp, faces, drop)))
        if central is None or central.dual is None or not central.status.has_point:
            return None
        result, found = list(faces), False
        for k, X in enumerate(central.dual.X):
            null = null_vectors(np.asarray(X))
            basis = complement(null) if null.shape[1] else None
            if basis is not None:
                result[k], found = compose(faces[k], basis), True
        return tuple(result) if found else None

    def _on_face(self, reduced: SDP, lower: DualSearch, y: np.ndarray) -> None:
        """Solve the reduced problem and repair its multipliers with margins, as on the whole space."""
        cone, u = Cone.of(reduced), self._linearised(y)
        found = self.solve(reduced)
        x, point = np.zeros(cone.layout.total), np.zeros(reduced.variables)
        if found is not None and found.y is not None and found.dual is not None and found.status.has_point:
            x, point = packed(cone, found.dual), found.y
            lower.test(x, u)
        margins = Margins.of(cone, point, x)
        for level in _LEVELS:
            for primal in (level * margins.primal, 0.0 * margins.primal):
                if lower.best is not None:
                    return
                inner = self.solve(with_margins(reduced, cone, primal, level * margins.dual))
                if inner is not None and inner.dual is not None and inner.status.has_point:
                    lower.between(x, u, packed(cone, inner.dual) + level * margins.dual, u)

    def _narrow(self, upper: PrimalSearch, lower: DualSearch) -> None:
        """Where the solver's tolerance left a gap: steps of our own from the two interior points."""
        if upper.best is None or lower.best is None or self._gap(upper, lower) <= _NARROW:
            return
        side = lower.best[1]
        x = lower.cone.layout.pack(side.X, [side.z, *side.s, side.v])
        idle = 0
        for y, moved in polish(lower.cone, lower.corrector, upper.best[1].y, x, _STEPS):
            before = self._gap(upper, lower)
            upper.test(y)
            lower.test(moved, self._linearised(y))
            after = self._gap(upper, lower)
            idle = idle + 1 if after > 0.7 * before else 0
            late = self.deadline is not None and time.perf_counter() > self.deadline
            if after <= _NARROW or idle == 5 or late:
                return

    @staticmethod
    def _gap(upper: PrimalSearch, lower: DualSearch) -> float:
        assert upper.best is not None
        assert lower.best is not None
        return (upper.best[0] - lower.best[0]) / max(1.0, abs(upper.best[0]), abs(lower.best[0]))

    def _linearised(self, y: np.ndarray) -> np.ndarray | None:
        return None if self.sdp.H is None else tidy(y)

    def _repair(
        self,
        primal: np.ndarray,
        dual: np.ndarray,
        y: np.ndarray,
        x: np.ndarray,
        upper: PrimalSearch,
        lower: DualSearch,
    ) -> None:
        """One solve with margins on both sides; on one side at a time where that has no solution."""
        zero = np.zeros_like(primal)
        for sides in ((True, True), (True, False), (False, True)):
            wanted = (sides[0] and upper.best is None, sides[1] and lower.best is None)
            if not any(wanted):
                continue
            room = (primal if sides[0] else zero, dual if sides[1] else zero)
            inner = self.solve(with_margins(self.sdp, self.cone, *room))
            if inner is None or inner.y is None or not inner.status.has_point:
                continue
            if wanted[0]:
                upper.between(y, inner.y)
            if wanted[1] and inner.dual is not None:
                interior = packed(self.cone, inner.dual) + dual
                lower.between(x, self._linearised(y), interior, self._linearised(inner.y))
            if sides == (True, True):
                break
