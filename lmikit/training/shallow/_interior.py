"""An interior point method for the convex programs of shallow nets.

    minimise  fit(V) + linear'x    over x = (vec V, rest) with every slack in its cone,

fit smooth and convex. Primal and dual with one step length, Nesterov-Todd scaling and Mehrotra's
corrector; the slacks may start apart from s(x). Where the gradient of the Lagrangian is 0, its value
fit + linear'x - sum <s, z> is a lower bound of the optimum, so sum <s, z> is the gap: stated in floating
point, never a proof.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np

from ..._arrays import array_module, blas_threads
from ..._errors import SolveFailed
from ..._progress import Progress, ProgressCallback
from ._cones import AbstractUnitCone
from ._fits import AbstractFit

__all__ = ["ProgramPoint", "interior_point"]

_SMALL = 1500  # variables up to which several BLAS threads only cost time
_ITERATIONS = 100
_ZERO = 1e-6  # of its start: where a slack goes to zero, residuals are measured against this
_SHARE = 0.9  # of the way to the border: closer, the semidefinite block leaves the central path


@dataclasses.dataclass(frozen=True, eq=False)
class ProgramPoint:
    """x, each cone's multipliers, the gap (inf with residuals left), and whether it is within tolerance."""

    x: np.ndarray
    multipliers: list[np.ndarray]
    gap: float
    iterations: int
    solved: bool


def interior_point(
    fit: AbstractFit,
    linear: np.ndarray,
    cones: Sequence[AbstractUnitCone],
    x: np.ndarray,
    *,
    tol: float = 1e-6,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
) -> ProgramPoint:
    """Minimise from x, at which every cone but the patterns' has its slack inside.

    It stops where the gap is at most `tol` of the objective and the residuals are small beside their
    terms, where no step is left, or at `time_limit` seconds. Raises SolveFailed where x is outside.
    """
    with blas_threads(1 if x.size <= _SMALL else None):
        return _Iteration(fit, linear, cones, x).run(tol, time_limit, progress)


class _Iteration:
    """The iterate (x, s, z) and one step of it after the other."""

    def __init__(
        self, fit: AbstractFit, linear: np.ndarray, cones: Sequence[AbstractUnitCone], x: np.ndarray
    ) -> None:
        self.fit, self.linear, self.cones, self.x = fit, linear, cones, x.copy()
        self.degree = sum(cone.degree for cone in cones)
        self.s = [cone.start(x) for cone in cones]
        self.least = [_ZERO * float(np.abs(s).max()) for s in self.s]
        self._evaluate()
        mu = max(self.objective, 1e-9) / self.degree
        self._centre(mu)
        self.z = [mu * cone.pushed(s) for cone, s in zip(cones, self.s, strict=True)]

    def _centre(self, mu: float) -> None:
        """Minimise linear'x + mu sum F(s) over the variables beside V by Newton's method."""
        split, nothing = self.fit.columns, np.zeros_like(self.x)
        for _ in range(50):
            g, K = self.linear[split:].copy(), np.zeros((self.x.size, self.x.size))
            for cone, s in zip(self.cones, self.s, strict=True):
                pull = cone.adjoint(pushed := cone.pushed(s))[split:]
                if not cone.rescale(s, pushed):
                    raise SolveFailed("the given weights and multipliers are not inside the cone.")
                if pull.any():
                    g -= mu * pull
                    cone.add_hessian(K)
            dx = nothing.copy()
            dx[split:] = np.linalg.solve(mu * K[split:, split:], -g)
            decrement = np.sqrt(max(-float(g @ dx[split:]) / mu, 0.0))
            # stays inside: 2 F is self-concordant (F itself is not: a norm cone of degree 1 has half of -log)
            alpha = 1.0 / (1.0 + np.sqrt(2.0) * decrement) if decrement > 0.3 else 1.0
            self.x += alpha * dx
            self.s = [s + alpha * d for s, d in zip(self.s, self._moved(dx), strict=True)]
            if decrement < 0.1:
                break
        self._evaluate()

    def _moved(self, dx: np.ndarray) -> list[np.ndarray]:
        nothing = np.zeros_like(dx)
        return [cone.slack(dx) - cone.slack(nothing) for cone in self.cones]

    def run(self, tol: float, time_limit: float | None, progress: ProgressCallback | None) -> ProgramPoint:
        least = 1e-3 * abs(self.objective) + 1e-12  # the infimum may be 0, and not attained
        began, solved, k = time.perf_counter(), False, 0
        for k in range(_ITERATIONS):
            self._residuals()
            if progress is not None:
                seconds = time.perf_counter() - began
                progress(
                    Progress("convex_shallow", k, None, self.objective, self.objective - self.gap, seconds)
                )
            solved = self.gap <= tol * max(abs(self.objective), least) and self._small(1e3 * tol)
            late = time_limit is not None and time.perf_counter() - began > time_limit
            if solved or late or not self._step():
                break
        gap = self.gap if self._small(1e-3) else np.inf
        return ProgramPoint(self.x, self.z, gap, k, solved)

    def _evaluate(self) -> None:
        value, gradient, self.H = self.fit.curved(self.x[: self.fit.columns])
        self.objective = value + float(self.linear @ self.x)
        self.gradient = self.linear.copy()
        self.gradient[: gradient.size] += gradient

    def _residuals(self) -> None:
        self.pulls = [cone.adjoint(z) for cone, z in zip(self.cones, self.z, strict=True)]
        self.dual = self.gradient - sum(self.pulls)
        self.primal = [cone.slack(self.x) - s for cone, s in zip(self.cones, self.s, strict=True)]
        self.gap = sum(float(np.vdot(s, z)) for s, z in zip(self.s, self.z, strict=True))

    def _small(self, tol: float) -> bool:
        """Whether both residuals are small beside the terms that make them up."""
        terms = np.linalg.norm(self.gradient) + sum(float(np.linalg.norm(p)) for p in self.pulls)
        apart = max(
            float(np.abs(r).max()) / max(float(np.abs(s).max()), least)
            for r, s, least in zip(self.primal, self.s, self.least, strict=True)
        )
        return bool(np.linalg.norm(self.dual) <= tol * terms and apart <= tol)

    def _step(self) -> bool:
        """One predictor and corrector; False where no useful step is left."""
        if not all(cone.rescale(s, z) for cone, s, z in zip(self.cones, self.s, self.z, strict=True)):
            return False
        K = np.zeros((self.x.size, self.x.size))
        K[: self.fit.columns, : self.fit.columns] = self.H
        for cone in self.cones:
            cone.add_hessian(K)
        scale = 1.0 / np.sqrt(np.maximum(K.diagonal(), 1e-300))
        K *= scale
        K *= scale[:, None]
        K.flat[:: len(K) + 1] += 1e-13
        am = array_module()
        factor = am.cholesky(K)
        if factor is None:
            return False
        mu = self.gap / self.degree

        def solve(b: np.ndarray) -> np.ndarray:
            return np.asarray(scale * am.cholesky_solve(factor, scale * b))

        dx, ds, dz = self._direction(solve, 0.0, None)
        sigma = (1.0 - min(1.0, self._reach(ds, dz))) ** 3
        pairs = list(zip(ds, dz, strict=True))
        dx, ds, dz = self._direction(solve, sigma * mu, pairs)
        alpha = min(1.0, _SHARE * self._reach(ds, dz))
        if not (alpha > 1e-8 and np.isfinite(dx).all()):
            return False
        self.x += alpha * dx
        self.s = [s + alpha * d for s, d in zip(self.s, ds, strict=True)]
        self.z = [z + alpha * d for z, d in zip(self.z, dz, strict=True)]
        self._evaluate()
        return True

    def _direction(
        self,
        solve: Callable[[np.ndarray], np.ndarray],
        target: float,
        pairs: list[tuple[np.ndarray, np.ndarray]] | None,
    ) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
        """(dx, ds, dz) towards complementarity `target`; `pairs` are those of the predictor."""
        forces = []
        for k, (cone, s, z) in enumerate(zip(self.cones, self.s, self.z, strict=True)):
            force = -z if target == 0.0 else target * cone.pushed(s) - z
            forces.append(force if pairs is None else force - cone.corrector(*pairs[k]))
        b = -self.dual
        for cone, force, r in zip(self.cones, forces, self.primal, strict=True):
            b = b + cone.adjoint(force - cone.weigh(r))
        dx = solve(b)
        ds = [d + r for d, r in zip(self._moved(dx), self.primal, strict=True)]
        dz = [f - cone.weigh(d) for cone, f, d in zip(self.cones, forces, ds, strict=True)]
        return dx, ds, dz

    def _reach(self, ds: list[np.ndarray], dz: list[np.ndarray]) -> float:
        return min(cone.reach(a, b) for cone, a, b in zip(self.cones, ds, dz, strict=True))
