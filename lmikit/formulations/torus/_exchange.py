"""The torus LMI of a network that ends in an image: an interior point on few frequencies, all watched.

Few frequencies bind at an optimum. Z(w) of the others only limits the steps: each iterate is feasible on the
whole grid, so that its own F is a bound, and a frequency that was in the way of a step joins those in use,
its X on the central path. The dual on the frequencies in use bounds the optimum on all of them from below.
"""

import dataclasses
import logging
import math
import time

import numpy as np

from ..._arrays import ArrayModule, array_module, blas_threads
from ..._progress import Progress, ProgressCallback
from ...torus import TorusForm, TorusWitness
from ._fast import fast_torus
from ._interior import TorusPoint, advanced, centred, least_value
from ._lmi import TorusLmi
from ._model import TorusModel, torus_model
from ._tridiagonal import definite
from ._value import output_needed
from ._warm import begun_again

__all__ = ["exchanged"]

_log = logging.getLogger("lmikit")
_INSIDE = 0.95  # of Fast's multipliers, level by level, and half of its F: the start
_NEAR = 0.9  # of the largest output weight that a frequency needs: those at which a warm start begins
_DROPS = (1e-1, 1e-2, 1e-3, 1e-4)  # gaps at which frequencies are dropped
_KEPT = 0.9  # of the way to the boundary of a frequency that is not in use
_SLOW = 0.1, 3  # steps below that length, so many in a row, call for a larger X
_ENOUGH = 1e-3  # of the gap asked for, where the dual's bound does not show it
_ADDED = 8
_STEPS = 200
_STUCK = 1e-3, 3  # steps below that length, so many in a row, end the search
_ACTIVE = 0.3  # of the gap: what a frequency that is dropped may be worth in the dual
_SMALL = 4096.0  # numbers of all matrices up to which no frequency is left out
_CHUNK = 2**24  # numbers of the matrices that are looked at together
_THREADED = 128  # rows of a level from which more than one thread pays


@dataclasses.dataclass(eq=False)
class _ExchangeSearch:
    """The frequencies in use and the iterate there, which is feasible on the whole grid."""

    model: TorusModel
    am: ArrayModule
    grid: tuple[TorusLmi, ...]
    chosen: np.ndarray
    lmi: TorusLmi
    point: TorusPoint
    blocking: np.ndarray  # frequencies that shortened the last step

    def limit(self, y: np.ndarray, dy: np.ndarray, length: float) -> float:
        """How far the whole grid lets y go along dy; what is in the way is noted."""
        xp = self.am.xp
        flags = [self.am.to_numpy(definite(part.matrix(y + length * dy), xp)) for part in self.grid]
        good = np.concatenate(flags)
        good[self.chosen] = True  # the length is theirs
        self.blocking = np.flatnonzero(~good)
        if not self.blocking.size:
            return length
        lmi = TorusLmi(self.model.at(self.blocking), self.am)
        low, high = np.zeros(len(self.blocking)), np.full(len(self.blocking), length)
        Z, dZ = lmi.matrix(y), lmi.matrix(dy, 0.0)
        for _ in range(8):
            middle = 0.5 * (low + high)
            inside = self.am.to_numpy(definite(Z.along(dZ, self.am.asarray(middle)), xp))
            low, high = np.where(inside, middle, low), np.where(inside, high, middle)
        self.blocking = self.blocking[np.argsort(low, kind="stable")]
        return _KEPT * float(low.min())

    def recentre(self) -> None:
        """X on the central path, far from the optimum: y has outrun what X can follow."""
        again = centred(self.lmi, self.point.y, float(self.point.y[-1]))
        self.point = again or self.point

    def drop(self) -> None:
        """Leave out the frequencies whose X is worth less than the gap."""
        price = np.abs(self.lmi.traces_each(self.point.X) * self.point.y).sum(axis=1) / self.point.y[-1]
        kept = np.flatnonzero(price > _ACTIVE * self.point.gap())
        if not kept.size or len(kept) == len(self.chosen):
            return
        self.chosen = self.chosen[kept]
        self.lmi = TorusLmi(self.model.at(self.chosen), self.am)
        self.point = TorusPoint(
            self.point.y, self.point.X.at(kept), self.point.Z.at(kept), self.point.lengths
        )

    def add(self) -> None:
        """What was in the way, with X on the central path."""
        found = _apart(self.model, self.blocking)
        mu = self.point.X.inner(self.point.Z) / self.lmi.degree
        own = centred(TorusLmi(self.model.at(found), self.am), self.point.y, mu)
        if own is None:  # at the limit of floats
            return
        X, Z = (a.with_others(b, self.am.xp) for a, b in ((self.point.X, own.X), (self.point.Z, own.Z)))
        self.point = TorusPoint(self.point.y, X, Z, self.point.lengths)
        self.chosen = np.concatenate([self.chosen, found])
        self.lmi = TorusLmi(self.model.at(self.chosen), self.am)


def exchanged(
    form: TorusForm,
    *,
    gap: float = 1e-6,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
    arrays: str = "numpy",
    warm_start: TorusWitness | None = None,
) -> TorusWitness:
    """Multipliers per channel with their value on the whole grid, and the solver's lower end of it.

    Stops within the relative gap of L^2, or at the time limit with the best iterate; every progress report
    has the value of the best one so far. `arrays` names the array module. `warm_start`: multipliers of these
    sizes to begin at, if that is of use.
    """
    begin = time.perf_counter()
    deadline = math.inf if time_limit is None else begin + time_limit
    model = torus_model(form)
    fast = fast_torus(form, model)
    widest = max(sum(form.size(s) for s in level) for level in model.partition)
    with blas_threads(1 if widest < _THREADED else None):
        search = _begun(form, model, array_module(arrays), warm_start)
        if search is None:
            return fast
        best, lower, stuck = search.point.y, 0.0, 0
        drops, slow = list(_DROPS), 0
        for step in range(_STEPS):
            moved = advanced(search.lmi, search.point, search.limit)
            if moved is None:
                break
            search.point = moved
            if moved.gap() < 1.0:
                lower = max(lower, least_value(search.lmi, moved.X))
            best = moved.y if moved.y[-1] > best[-1] else best
            seconds = time.perf_counter() - begin
            _report(progress, search, step, best, lower, seconds)
            stuck = stuck + 1 if max(moved.lengths) < _STUCK[0] else 0
            done = lower * best[-1] > 1.0 - gap or moved.gap() < _ENOUGH * gap
            if done or seconds > deadline - begin or stuck >= _STUCK[1]:
                break
            slow = slow + 1 if max(moved.lengths) < _SLOW[0] else 0
            if slow >= _SLOW[1]:
                slow = 0
                search.recentre()
            if drops and moved.gap() < drops[0]:
                drops.pop(0)
                search.drop()
            if search.blocking.size:
                search.add()
        return _witness(form, model, fast, best[:-1], lower)


def _begun(
    form: TorusForm, model: TorusModel, am: ArrayModule, warm: TorusWitness | None
) -> _ExchangeSearch | None:
    """From a point well inside, by Fast or near the warm start; None where floats do not allow it."""
    inside = fast_torus(form, model, _INSIDE)
    if inside.d_out < 1e-250:  # the output is 0
        return None
    y = np.append(np.concatenate(inside.multipliers), 0.5 / inside.d_out)
    chosen, mu = _first(form, model), float(y[-1])
    again = None if warm is None else _begun_again(form, model, warm, y)
    if again is not None:
        y, few, mu = again
        chosen = chosen if len(chosen) == len(model.frequencies) else few
    numbers = sum(sum(form.size(s) for s in level) ** 2 for level in model.partition)
    count = len(model.frequencies)
    parts = np.array_split(np.arange(count), max(1, -(-2 * count * numbers // _CHUNK)))
    grid = tuple(TorusLmi(model.at(part), am) for part in parts)
    if not all(bool(definite(part.matrix(y), am.xp).all()) for part in grid):
        return None if again is None else _begun(form, model, am, None)
    lmi = TorusLmi(model.at(chosen), am)
    point = centred(lmi, y, mu)
    return (
        None if point is None else _ExchangeSearch(model, am, grid, chosen, lmi, point, np.zeros(0, np.int64))
    )


def _begun_again(
    form: TorusForm, model: TorusModel, warm: TorusWitness, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """(point, frequencies that need most there, mu); None where Fast's is no worse."""

    def each(T: np.ndarray) -> np.ndarray:
        return output_needed(model, np.split(T, np.cumsum(form.channels)[:-1]))

    found = begun_again(warm, inside[:-1], lambda T: float(each(T).max()))
    if found is None or not 0.0 < found[1] < 0.5 / inside[-1]:
        return None
    T, value, share = found
    y, worth = np.append(T, (1.0 - share) / value), each(T)
    order = np.argsort(-worth, kind="stable")
    return y, _apart(model, order[worth[order] > _NEAR * value]), share * float(y[-1])


def _report(
    progress: ProgressCallback | None,
    search: _ExchangeSearch,
    step: int,
    best: np.ndarray,
    lower: float,
    seconds: float,
) -> None:
    point, value = search.point, float(best[-1]) ** -0.5
    _log.debug(
        "torus: step %d, %d frequencies, %d in the way, L %.8g, at least %.8g, gap %.1e, lengths %.2f %.2f",
        step, len(search.chosen), len(search.blocking), value, lower**0.5, point.gap(), *point.lengths,
    )  # fmt: skip
    if progress is not None:
        least = lower**0.5 if lower > 0.0 else None
        progress(Progress("torus", step, objective=value, bound_on_optimum=least, seconds=seconds))


def _witness(
    form: TorusForm, model: TorusModel, fast: TorusWitness, T: np.ndarray, lower: float
) -> TorusWitness:
    """With the value that T has on the whole grid, or Fast's where that is less."""
    multipliers = tuple(np.split(T, np.cumsum(form.channels)[:-1]))
    value = float(output_needed(model, multipliers).max())
    if not value < fast.d_out:
        value, multipliers = fast.d_out, fast.multipliers
    least = math.sqrt(lower) if lower > 0.0 else None
    return TorusWitness(form.cells, 1.0, value, multipliers, (), "LipSDP on the torus", least)


def _first(form: TorusForm, model: TorusModel) -> np.ndarray:
    """Every frequency of a small problem, else those nearest to a coarse grid."""
    count, order = len(model.frequencies), sum(form.size(s) for s in model.sources)
    if count * order * order <= _SMALL:
        return np.arange(count)
    coarse = {
        (round(a * form.cells[0] / 4) % form.cells[0], round(b * form.cells[1] / 4) % form.cells[1])
        for a in range(4)
        for b in range(4)
    }
    return np.array([j for j, (a, b) in enumerate(model.frequencies) if (int(a), int(b)) in coarse])


def _apart(model: TorusModel, candidates: np.ndarray) -> np.ndarray:
    """The first of the frequencies, no two of them neighbours."""
    cells = np.array(model.form.cells)
    found: list[int] = []
    for j in candidates:
        if len(found) >= _ADDED:
            break
        apart = True
        for other in found:
            for sign in (1, -1):
                distance = np.abs(model.frequencies[j] - sign * model.frequencies[other]) % cells
                apart &= bool(np.minimum(distance, cells - distance).max() > 1)
        if apart:
            found.append(int(j))
    return np.array(found, dtype=np.int64)
