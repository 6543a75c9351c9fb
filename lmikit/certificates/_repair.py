"""From any multipliers to multipliers whose lifted LMI can be proven: proposals only, no proofs.

For fixed T the least rho is rho*(T) = lambda_max(Y'H^-1 Y - X_0), H the hidden and output blocks and
X_0 the part of the input block without rho; it is finite where H > 0. Two families of T contain
the repairs that have a guarantee:

* tilt: T_k (1 + e)^(L + 1 - k). With alpha = 0, beta = 1 and N >= -eta D, D the diagonal part of the
  lifted N, congruence by s_k^-1/2, s_k = (1 + e)^(L + 1 - k), gives N'' = (1 - theta) D + theta N with
  theta = (1 + e)^-1/2 <= 1 / (1 + eta), which is PSD: e = (1 + eta)^2 - 1 always works, and
  L grows by (1 + eta)^(L + 1) at most;
* scale: s T. Then H(sT) = s H_0 - C with C the output term, and rho*(sT) is convex in s.

The last resort is the always feasible closed form T_c, alone or mixed in: N is affine in (rho, T), so
every convex combination of feasible points is feasible. Every proposal is proven afterwards.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import scipy.linalg

from ._feasible import largest_eigenvalue
from ._forms import Form
from ._lifted import Lifted
from ._verified_cholesky import equilibrate

__all__ = ["HEADROOM", "least_rho", "propose_multipliers"]

Multipliers = tuple[np.ndarray, ...]

HEADROOM = 6.0  # room for checkers whose rounding margins are larger, or another BLAS
_GOOD = 3e-8  # multipliers this close (relatively) to their claimed rho need no search
_TILTS = (1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 2.0, 10.0)
_ROOM = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5)
_SCALES = (-9.0, -4.5, -2.0, -0.9, -0.3, 0.3, 0.9, 2.0, 4.5, 9.0)  # logarithms
_MIXES = (1e-9, 1e-7, 1e-5, 1e-3, 1e-2, 0.1, 0.3, 0.6)


def least_rho(lifted: Lifted) -> float:
    """rho*(T) up to rounding, hidden blocks shifted as the proof will shift them; inf where H is not PD."""
    with np.errstate(all="ignore"):
        b = equilibrate(lifted.at(_ample_rho(lifted)), HEADROOM)
        if isinstance(b, str):
            return math.inf
        schur: np.ndarray | None = None
        panel: np.ndarray | None = None
        for k in range(len(b.diagonal) - 1, 0, -1):
            if panel is None and b.diagonal[k].ndim == 1:
                panel = b.lower[k - 1] / np.sqrt(b.shifted[k])[:, None]
                continue
            block = np.diag(b.shifted[k]) if b.diagonal[k].ndim == 1 else b.diagonal[k].copy()
            np.fill_diagonal(block, b.shifted[k])
            if panel is not None:
                block -= panel.T @ panel
            schur, info = scipy.linalg.lapack.dpotrf(block, lower=1, clean=1)
            if info != 0:
                return math.inf
            panel, _ = scipy.linalg.lapack.dtrtrs(schur, b.lower[k - 1], lower=1)
        if panel is None or not np.isfinite(panel).all():
            return math.inf
        panel = np.ldexp(panel, b.exponents[0])
        rho = _largest(panel, lifted.input_term)
    return max(rho, _radius_level(lifted), math.ulp(0.0))


def _radius_level(lifted: Lifted) -> float:
    """A rho that the radii of the input's couplings alone ask for; all there is where they cancel."""
    rad, first = lifted.lower_rad[0], lifted.diagonal[0]
    if rad is None:
        return 0.0
    diagonal = first if first.ndim == 1 else np.diagonal(first)
    return 1024.0 * float(rad.sum(axis=0).max() * (rad / diagonal[:, None]).sum(axis=1).max())


def _ample_rho(lifted: Lifted) -> float:
    """A rho that keeps every off-diagonal entry below the geometric mean of its diagonal entries."""
    first = lifted.diagonal[0]
    diagonal = first if first.ndim == 1 else np.diagonal(first)
    ample = 4.0 * float((lifted.lower[0] ** 2 / diagonal[:, None]).max())
    if lifted.input_term is not None:
        ample += 2.0 * float(np.abs(lifted.input_term[0]).max())
    return max(ample, _radius_level(lifted))


def _largest(z: np.ndarray, term: tuple[np.ndarray, np.ndarray] | None) -> float:
    """lambda_max(Z'Z - term)."""
    if term is not None:
        gram = z.T @ z - term[0] + np.diag(term[1].sum(axis=1))
    else:
        gram = z @ z.T if z.shape[0] <= z.shape[1] else z.T @ z
    return largest_eigenvalue(gram)


@dataclasses.dataclass
class _MultiplierSearch:
    """The best multipliers so far."""

    form: Form
    rho: float = math.inf
    multipliers: Multipliers = ()

    def attempt(self, multipliers: Multipliers) -> float:
        if not all(np.isfinite(t).all() and (t > 0.0).all() for t in multipliers):
            return math.inf
        rho = least_rho(self.form.lift(multipliers))
        if rho < self.rho:
            self.rho, self.multipliers = rho, multipliers
        return rho


def propose_multipliers(
    form: Form, given: Sequence[np.ndarray], rho: float
) -> Iterator[tuple[Multipliers, float]]:
    """Multipliers to try, best first, each with its rho*; the last is the always feasible point.

    `given` may hold anything: NaN and infinity are replaced by the closed form's entries, and entries
    below 1e-10 of their level's largest are raised to that, both relative to the neurons' own scales.
    """
    form = form.compressed()
    search = _MultiplierSearch(form)
    if all(np.isfinite(t).all() and (t > 0.0).all() for t in given):
        search.attempt(tuple(given))
        if math.isfinite(search.rho) and search.rho <= rho * (1.0 + _GOOD):
            yield search.multipliers, search.rho
    closed = form.closed()
    _search_all(search, _clipped(given, closed, form.natural()), closed, rho)
    best, best_rho = search.multipliers, search.rho
    if best:
        yield best, best_rho
    for e in _ROOM if best else ():  # the search may end at the edge of what rounding margins allow
        tilted = _tilted(best, e)
        yield tilted, search.attempt(tilted)
    yield closed, search.attempt(closed)


def _tilted(given: Multipliers, e: float) -> Multipliers:
    """T_k (1 + e)^(L + 1 - k)."""
    return tuple(t * (1.0 + e) ** (len(given) - k) for k, t in enumerate(given))


def _search_all(search: _MultiplierSearch, start: Multipliers, closed: Multipliers, rho: float) -> None:
    closed_rho = search.attempt(closed)
    if start is not closed:
        search.attempt(start)
        _search_tilts(search, start)
        if not search.rho <= rho * (1.0 + 1e-6):
            _search_scales(search, start)
            _search_mixes(search, start, closed)
    if search.rho >= closed_rho * (1.0 - 1e-3):
        _search_scales(search, closed)


def _clipped(given: Sequence[np.ndarray], closed: Multipliers, natural: Multipliers) -> Multipliers:
    """`closed` itself where nothing in `given` is usable."""
    if not any((np.isfinite(t) & (t > 0.0)).any() for t in given):
        return closed
    result = []
    for t, fallback, scale in zip(given, closed, natural, strict=True):
        relative = t / scale
        finite = np.isfinite(relative)
        largest = float(relative[finite].max(initial=0.0))
        if largest > 0.0:
            result.append(np.where(finite, np.maximum(relative, 1e-10 * largest) * scale, fallback))
        else:
            result.append(fallback)
    return tuple(result)


def _search_tilts(search: _MultiplierSearch, start: Multipliers) -> None:
    def tilted(log_e: float) -> float:
        return search.attempt(_tilted(start, math.exp(log_e)))

    values: list[float] = []
    for e in _TILTS:
        values.append(tilted(math.log(e)))
        if len(values) > 2 and math.inf > values[-1] > values[-2] > values[-3]:
            break  # past the minimum
    best = int(np.argmin(values))
    if math.isfinite(values[best]):
        low, high = _TILTS[max(best - 1, 0)], _TILTS[min(best + 1, len(_TILTS) - 1)]
        _golden(tilted, math.log(low), math.log(high), 8)


def _search_scales(search: _MultiplierSearch, start: Multipliers) -> None:
    """rho*(sT) is convex in s where it is finite: a coarse grid brackets its minimum."""

    def scaled(log_s: float) -> float:
        return search.attempt(tuple(math.exp(log_s) * t for t in start))

    values = [scaled(g) for g in _SCALES]
    best = int(np.argmin(values))
    if math.isfinite(values[best]):
        _golden(scaled, _SCALES[max(best - 1, 0)], _SCALES[min(best + 1, len(_SCALES) - 1)], 10)


def _search_mixes(search: _MultiplierSearch, start: Multipliers, closed: Multipliers) -> None:
    for share in _MIXES:
        search.attempt(tuple((1.0 - share) * t + share * c for t, c in zip(start, closed, strict=True)))


def _golden(function: Callable[[float], float], low: float, high: float, steps: int) -> None:
    """Golden-section search; the function keeps its own best."""
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    f_left, f_right = function(left), function(right)
    for _ in range(steps):
        if f_left <= f_right:
            high, right, f_right = right, left, f_left
            left = high - ratio * (high - low)
            f_left = function(left)
        else:
            low, left, f_left = left, right, f_right
            right = low + ratio * (high - low)
            f_right = function(right)
