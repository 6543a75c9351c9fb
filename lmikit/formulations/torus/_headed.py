"""The torus LMI of a network that ends in fully connected layers: path following, feasible at every step.

Minimises t d + phi (`Star`) by Newton's method while t grows. Every iterate is strictly feasible, so that the
best one is an answer at any time. At a minimum d is within v / t of the optimum, v the rows of phi; at a
Newton decrement q < 1 the estimate is (v + (q + v^(1/2)) q / (1 - q)) / t, as for self-concordant barriers
(Nesterov, "Introductory lectures on convex optimization", theorem 4.2.7), which phi is up to its weight. The
figures are floating point, of multipliers below caps that only dead channels come near: proposals and
estimates.

First Newton's method on the logarithms of the multipliers leads to the neighbourhood (`_logarithms`), on a
coarse grid of frequencies and then on all. d is raised wherever it comes too near to what the multipliers
need: that would shorten all further steps.
"""

import dataclasses
import logging
import math
import time

import numpy as np
import scipy.linalg

from ..._arrays import ArrayModule, array_module, blas_threads
from ..._progress import Progress, ProgressCallback
from ...torus import TorusForm, TorusWitness
from ._fast import fast_torus
from ._logarithms import approached
from ._model import TorusModel, torus_model
from ._star import Star, Trial
from ._warm import begun_again

__all__ = ["headed"]

_log = logging.getLogger("lmikit")
_STEPS = 150
_START = 0.7  # of what Fast allows
_WORSE = 6.0  # times L^2
_DEAD = 1e5  # times the least multiplier of a node: of channels that receive next to nothing
_ROOM = 100.0, 2.0  # caps on the multipliers relative to the start, the second of dead channels
_COARSE = 4, 6  # sides of the first grid
_SHARE = 3.0  # of the arms in the barrier, on the way to the neighbourhood
_PRICE, _GAIN = 2.0, 1e-2  # weight of log d by the barrier's degree, and the gain of log d at which it ends
_AGAIN = 0.3  # of the t at which a warm start's share of Fast's multipliers would be the gap
_CENTRED = 0.7  # decrement from which t grows
_NEAR = 2.0  # times t: the derivative of phi in d from which d is raised
_GROWTH, _FAR = 5.0, 10.0  # of t, and to what decrement at most


def headed(
    form: TorusForm,
    *,
    gap: float = 1e-4,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
    arrays: str = "numpy",
    warm_start: TorusWitness | None = None,
) -> TorusWitness:
    """Multipliers per channel and per neuron of the head, their value, and the solver's lower end of it.

    Stops within the relative gap of L^2, or at the time limit with the best iterate, Fast's multipliers
    where they are better. `arrays` names the array module. `warm_start`: multipliers of these sizes to begin
    at, if that is of use.
    """
    model = torus_model(form)
    inside = _inside(form, model)
    if not 1e-100 < inside.d_out < 1e100:  # squares of its inverse would leave the range
        return fast_torus(form, model)
    parts = [*inside.multipliers, *inside.head]
    search = _HeadedSearch(model, parts, inside.d_out, array_module(arrays), time_limit, progress)
    with blas_threads(1):
        t = None if warm_start is None else search.begin_at(warm_start)
        if t is None:
            search.approach(_few(model))
        search.follow(gap, t)
    fast = fast_torus(form, model)
    if not search.best[0] < fast.d_out:
        return fast
    return _witness(form, *search.best, [len(a) for a in parts], search.lower)


def _inside(form: TorusForm, model: TorusModel) -> TorusWitness:
    """A strictly feasible point: Fast's in proportion to what channels receive, unless that is far worse."""
    plain, balanced = (fast_torus(form, model, _START, balanced=b) for b in (False, True))
    return balanced if balanced.d_out <= _WORSE * plain.d_out else plain


def _few(model: TorusModel) -> TorusModel | None:
    """The frequencies next to a coarse grid, with the weight of all; None where that saves little."""
    cells, axes = model.form.cells, []
    side = _COARSE[0] if len(model.frequencies) < 60 else _COARSE[1]
    for m in cells:
        axes.append({round(a * m / side) % m for a in range(side)})
    chosen = [j for j, (a, b) in enumerate(model.frequencies) if int(a) in axes[0] and int(b) in axes[1]]
    if 3 * len(chosen) > len(model.frequencies):
        return None
    sample = model.at(np.array(chosen))
    weights = sample.weights * (model.weights.sum() / sample.weights.sum())
    return dataclasses.replace(sample, weights=weights)


class _HeadedSearch:
    """The iterate y, the best point (value, y) so far and the lower end."""

    def __init__(
        self,
        model: TorusModel,
        parts: list[np.ndarray],
        d: float,
        am: ArrayModule,
        time_limit: float | None,
        progress: ProgressCallback | None,
    ) -> None:
        self.model, self._am, self._progress, self._step = model, am, progress, 0
        self.y = np.append(np.concatenate(parts), 2.0 * d)
        room = np.concatenate([np.where(t > _DEAD * t.min(), _ROOM[1], _ROOM[0]) for t in parts])
        self._room = np.append(room, _ROOM[0])
        self._begin = time.perf_counter()
        self._limit = math.inf if time_limit is None else time_limit
        self.best, self.lower = (d, self.y), 0.0

    def begin_at(self, warm: TorusWitness) -> float | None:
        """The t near which that point can be centred; None, and no move, where Fast's is no worse."""
        star, (d, y) = Star(self.model, am=self._am), self.best

        def needed(T: np.ndarray) -> float:
            trial = star.trial(np.append(T, 1e3 * d))
            return math.inf if trial is None else trial.needed

        found = begun_again(warm, y[:-1], needed)
        if found is None or not 0.0 < found[1] < d:
            return None
        T, value, share = found
        self.y = np.append(T, value * (1.0 + 1e-3 * share))
        self._found(value)
        return _AGAIN * star.degree / (share * value)

    def approach(self, few: TorusModel | None) -> None:
        """To the neighbourhood of the optimum, on the way the best points of all frequencies."""
        star = Star(self.model, share=_SHARE, am=self._am)
        if few is not None:
            coarse, near = Star(few, share=_SHARE, am=self._am), self.y
            for _, point in approached(coarse, near, _PRICE * coarse.degree, _GAIN):
                near = point
                if self._seconds() > 0.5 * self._limit:
                    break
            self.y = _feasible(star, near, self.y)
        for needed, point in approached(star, self.y, _PRICE * star.degree, _GAIN):
            self.y = point
            self._found(needed)
            if self._seconds() > self._limit:
                return

    def _found(self, needed: float) -> None:
        self.best = min(self.best, (needed, self.y), key=lambda pair: pair[0])
        if self._progress is not None:
            least, value = math.sqrt(self.lower) if self.lower > 0.0 else None, math.sqrt(self.best[0])
            at = Progress(
                "torus", self._step, objective=value, bound_on_optimum=least, seconds=self._seconds()
            )
            self._progress(at)
        self._step += 1

    def _seconds(self) -> float:
        return time.perf_counter() - self._begin

    def follow(self, gap: float, t: float | None) -> None:
        """Newton's method on t d + phi, t growing, until the gap is met (or about to be) or nothing moves."""
        star = Star(self.model, self._room * self.y, am=self._am)
        here = star.trial(self.y)
        if here is not None and t is not None:
            self.y, here = _lifted(star, self.y, here, t)
        for step in range(_STEPS):
            if here is None:
                break
            self._found(here.needed)
            if self._seconds() > self._limit or self.lower > (1.0 - gap) * self.best[0]:
                break
            barrier = star.barrier(self.y)
            newton = _Newton(barrier.gradient, barrier.hessian)
            t = -float(barrier.gradient[-1]) if t is None else t
            decrement = newton.decrement(t)
            if decrement < 1.0:
                self.lower = max(self.lower, float(self.y[-1]) - newton.distance(t, star.degree))
            if decrement < _CENTRED:
                t = min(_GROWTH * t, newton.farthest(_FAR), 2.0 * star.degree / (gap * float(self.y[-1])))
            _log.debug("torus with head: step %d, t %.2e, decrement %.2g, L %.8g, at least %.8g",
                       step, t, decrement, self.best[0] ** 0.5, self.lower**0.5)  # fmt: skip
            moved = _moved(star, self.y, here, newton.direction(t), t)
            if moved is None:
                break
            self.y, here = _lifted(star, *moved, t)


def _feasible(star: Star, near: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The point of few frequencies, as far from it toward the start as it takes to be feasible for all."""
    for share in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7):
        mixed = near ** (1.0 - share) * start**share
        mixed[-1] = 1e3 * start[-1]
        trial = star.trial(mixed)
        if trial is not None:
            mixed[-1] = 2.0 * trial.needed
            return mixed
    return start


def _witness(form: TorusForm, value: float, y: np.ndarray, sizes: list[int], lower: float) -> TorusWitness:
    parts, count = tuple(np.split(y[:-1], np.cumsum(sizes)[:-1])), len(form.channels)
    least = math.sqrt(lower) if lower > 0.0 else None
    return TorusWitness(form.cells, 1.0, value, parts[:count], parts[count:], "LipSDP on the torus", least)


class _Newton:
    """Newton's direction of t d + phi for every t: the Hessian does not depend on t."""

    def __init__(self, gradient: np.ndarray, hessian: np.ndarray) -> None:
        price = np.zeros_like(gradient)
        price[-1] = 1.0
        right = np.stack([price, gradient], axis=1)
        scale = 1.0 / np.sqrt(np.diagonal(hessian))[:, None]
        A, shift = scale * hessian * scale.T, 0.0
        while True:
            try:
                factor = scipy.linalg.cho_factor(A + shift * np.eye(len(A)), lower=True)
                break
            except scipy.linalg.LinAlgError:
                shift = max(1e-14, 10.0 * shift)
        found = scipy.linalg.cho_solve(factor, scale * right)
        found = found + scipy.linalg.cho_solve(factor, scale * right - A @ found)
        self._found = scale * found
        self._gram = right.T @ self._found

    def direction(self, t: float) -> np.ndarray:
        """Of descent."""
        return np.asarray(-(t * self._found[:, 0] + self._found[:, 1]))

    def decrement(self, t: float) -> float:
        """The length of the direction in the Hessian's norm."""
        (cc, cg), (_, gg) = self._gram
        return math.sqrt(max(0.0, t * t * cc + 2.0 * t * cg + gg))

    def farthest(self, decrement: float) -> float:
        """The largest t with that decrement."""
        (cc, cg), (_, gg) = self._gram
        return float((math.sqrt(max(0.0, cg * cg - cc * (gg - decrement**2))) - cg) / cc)

    def distance(self, t: float, degree: float) -> float:
        """How far d may be from its optimum, at a decrement below 1."""
        q = self.decrement(t)
        return (degree + (q + math.sqrt(degree)) * q / (1.0 - q)) / t


def _lifted(star: Star, y: np.ndarray, here: Trial, t: float) -> tuple[np.ndarray, Trial]:
    """With the best d where it is too near its limit, which would shorten all steps of the multipliers."""
    if (1.0 / here.slack).sum() < _NEAR * t:
        return y, here
    low, high = 0.0, len(here.slack) / t
    for _ in range(60):  # sum of 1 / (slack + more) = t
        more = 0.5 * (low + high)
        low, high = (more, high) if (1.0 / (here.slack + more)).sum() > t else (low, more)
    above = np.append(y[:-1], y[-1] + high)
    found = star.trial(above)
    return (y, here) if found is None else (above, found)


def _moved(
    star: Star, y: np.ndarray, here: Trial, direction: np.ndarray, t: float
) -> tuple[np.ndarray, Trial] | None:
    """Backtracking on t d + phi, and longer steps while they gain; None where nothing is gained.

    (Newton at most doubles a multiplier that ought to be far larger.)
    """

    def merit(point: np.ndarray, trial: Trial) -> float:
        return t * float(point[-1]) + trial.value

    before = merit(y, here)
    with np.errstate(divide="ignore", invalid="ignore"):
        room = float(np.where(direction < 0.0, -y / direction, np.inf).min())
    length = min(1.0, 0.95 * room)
    found: tuple[np.ndarray, Trial] | None = None
    for _ in range(40):
        point = y + length * direction
        trial = star.trial(point)
        if trial is not None and merit(point, trial) < before:
            found = point, trial
            break
        length *= 0.6
    while found is not None and length >= 0.9:
        length *= 2.0
        point = y + length * direction
        trial = star.trial(point)
        if trial is None or merit(point, trial) >= merit(*found):
            break
        found = point, trial
    return found
