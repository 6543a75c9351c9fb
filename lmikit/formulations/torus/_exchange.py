"""The torus LMI on few frequencies: solve, look at all of them, exchange, until none is violated.

Few frequencies bind at an optimum. The optimum on a part of the grid bounds that on the whole one from below;
the multipliers' own value on the whole grid bounds it from above.
"""

import logging
import math
import time

import numpy as np

from ..._progress import Progress, ProgressCallback
from ...torus import TorusForm, TorusWitness
from ._dense import DenseTorus
from ._fast import fast_torus
from ._model import TorusModel, torus_model
from ._newton import follow
from ._value import output_needed

__all__ = ["exchanged"]

_log = logging.getLogger("lmikit")
_LOOSE = 3e-3
_ADDED = 8
_ROUNDS = 40
_ACTIVE = 1e-4  # share of the multipliers' weight below which a frequency is dropped
_SMALL = 4096.0  # numbers of all matrices up to which no frequency is left out


def exchanged(
    form: TorusForm,
    *,
    gap: float = 2e-6,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
) -> TorusWitness:
    """Multipliers per channel with their value on the whole grid, and the gap's lower end."""
    begin = time.perf_counter()
    deadline = math.inf if time_limit is None else begin + time_limit
    model = torus_model(form)
    fast = fast_torus(form, model)
    best, best_T = fast.d_out, np.concatenate(fast.multipliers)
    inside = fast_torus(form, model, 0.7)
    inner = np.append(np.concatenate(inside.multipliers), 0.5 / inside.d_out)
    point = inner
    chosen, lower, loose = _first(form, model), 0.0, True
    first_gap = 3.0
    for _ in range(_ROUNDS):
        problem = DenseTorus(model.at(chosen))
        start = _feasible(problem, point, inner)
        if start is None:
            break
        target = _LOOSE if loose else gap

        def note(value: float, step: int) -> None:
            if progress is not None:
                seconds = time.perf_counter() - begin
                progress(Progress("torus", step, objective=value, seconds=seconds))

        centre = follow(
            problem,
            start,
            gap=target,
            first_gap=first_gap,
            deadline=deadline,
            progress=None if progress is None else note,
        )
        point, T, F = centre.point, centre.point[:-1], centre.point[-1]
        needed, value, own = _values(form, model, T)
        if value < best:
            best, best_T = value, own
        if centre.gap <= target * 1.01:
            lower = max(lower, math.exp(-centre.gap) / F)
        _log.info(
            "torus: %d frequencies, L %.8g (working set), %.8g (all), gap %.1e, %d steps",
            len(chosen), F**-0.5, best**0.5, centre.gap, centre.steps,
        )  # fmt: skip
        violated = needed > (1.0 + (3e-3 if loose else 2.0 * gap)) / F
        violated[chosen] = False
        if time.perf_counter() > deadline or (not violated.any() and not loose):
            break
        if not violated.any():
            loose, first_gap = False, 2.0 * _LOOSE
            continue
        first_gap = 0.3 if loose else 1e-2
        if centre.gap <= target * 1.01:
            chosen = chosen[centre.weights > _ACTIVE * centre.weights.sum()]
        chosen = np.concatenate([chosen, _worst(model, needed, violated)])
    return TorusWitness(
        form.cells, 1.0, best, _split(form, best_T), (), "LipSDP on the torus",
        math.sqrt(lower) if lower > 0.0 else None,
    )  # fmt: skip


def _split(form: TorusForm, T: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.split(T, np.cumsum(form.channels)[:-1]))


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


def _tilts(form: TorusForm, T: np.ndarray) -> list[np.ndarray]:
    """T and, turning a matrix that is not definite into one that is, T with later nodes made smaller."""
    depth = np.repeat(np.arange(1.0, len(form.channels) + 1.0), form.channels)
    return [T, *(T * (1.0 - s) ** depth for s in np.geomspace(1e-6, 0.5, 24))]


def _feasible(problem: DenseTorus, point: np.ndarray, inner: np.ndarray) -> np.ndarray | None:
    """A point between the last one and Fast's, which is feasible at every frequency: the set is convex."""
    for share in (0.0, 1e-3, 1e-2, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0):
        mixed = (1.0 - share) * point + share * inner
        if problem.factor(mixed) is not None:
            return np.asarray((1.0 - 0.1 * (1.0 - share)) * mixed + 0.1 * (1.0 - share) * inner)
    return None


def _values(form: TorusForm, model: TorusModel, T: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """(what each frequency needs, the largest for T or a tilted T, and that T)."""
    needed = output_needed(model, _split(form, T))
    if np.isfinite(needed).all():
        return needed, float(needed.max()), T
    for tilted in _tilts(form, T)[1:]:
        value = float(output_needed(model, _split(form, tilted)).max())
        if math.isfinite(value):
            return needed, value, tilted
    return needed, math.inf, T


def _worst(model: TorusModel, needed: np.ndarray, violated: np.ndarray) -> np.ndarray:
    """The worst violated frequencies, no two of them neighbours."""
    cells = np.array(model.form.cells)
    found: list[int] = []
    for j in np.argsort(-needed, kind="stable"):
        if not violated[j] or len(found) >= _ADDED:
            break
        apart = True
        for other in found:
            for sign in (1, -1):
                distance = np.abs(model.frequencies[j] - sign * model.frequencies[other]) % cells
                apart &= bool(np.minimum(distance, cells - distance).max() > 1)
        if apart:
            found.append(int(j))
    return np.array(found, dtype=np.int64)
