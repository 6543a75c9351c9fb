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

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import scipy.linalg
import scipy.sparse.linalg

from ._lifted import Chain, Lifted, lift
from ._verified_cholesky import prepare

__all__ = ["HEADROOM", "always_feasible", "least_rho", "propose_multipliers"]

Multipliers = tuple[np.ndarray, ...]

HEADROOM = 6.0  # room for checkers whose rounding margins are larger, or another BLAS
_DENSE = 1000  # rows up to which all eigenvalues cost little
_GOOD = 3e-8  # multipliers this close (relatively) to their claimed rho need no search
_TILTS = (1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 2.0, 10.0)
_ROOM = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5)
_SCALES = (-9.0, -4.5, -2.0, -0.9, -0.3, 0.3, 0.9, 2.0, 4.5, 9.0)  # logarithms
_MIXES = (1e-9, 1e-7, 1e-5, 1e-3, 1e-2, 0.1, 0.3, 0.6)


def least_rho(lifted: Lifted) -> float:
    """rho*(T) up to rounding, hidden blocks shifted as the proof will shift them; inf where H is not PD."""
    with np.errstate(all="ignore"):
        b = prepare(lifted.at(_ample_rho(lifted)), HEADROOM)
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
    return rho if rho > 0.0 else math.ulp(0.0)


def _ample_rho(lifted: Lifted) -> float:
    """A rho that keeps every off-diagonal entry below the geometric mean of its diagonal entries."""
    first = lifted.diagonal[0]
    diagonal = first if first.ndim == 1 else np.diagonal(first)
    ample = 4.0 * float((lifted.lower[0] ** 2 / diagonal[:, None]).max())
    if lifted.input_term is not None:
        ample += 2.0 * float(np.abs(lifted.input_term[0]).max())
    return ample


def _largest(z: np.ndarray, term: tuple[np.ndarray, np.ndarray] | None) -> float:
    """lambda_max(Z'Z - term)."""
    if term is not None:
        gram = z.T @ z - term[0] + np.diag(term[1].sum(axis=1))
    else:
        gram = z @ z.T if z.shape[0] <= z.shape[1] else z.T @ z
    if not np.isfinite(gram).all():
        return math.inf
    return _top_eigenvalue(gram)


def _top_eigenvalue(gram: np.ndarray) -> float:
    """lambda_max of a symmetric matrix; large ones by Lanczos, on 4096 rows 20 times faster."""
    n = gram.shape[0]
    if n > _DENSE:
        start = np.random.default_rng(0).standard_normal(n)
        with contextlib.suppress(scipy.sparse.linalg.ArpackError):  # the dense method is left
            found = scipy.sparse.linalg.eigsh(
                gram, k=1, which="LA", tol=1e-9, v0=start, return_eigenvectors=False
            )
            return float(found[0])
    try:
        return float(scipy.linalg.eigvalsh(gram, subset_by_index=[n - 1, n - 1], check_finite=False)[0])
    except np.linalg.LinAlgError:
        return math.inf


def always_feasible(chain: Chain) -> Multipliers:
    """The closed form by norms: feasible with rho = prod m_k^2 ||W_k||^2 up to 1e-9.

    g_L = ||W_L||^2, T_k = g_k diag(lambda_i), g_{k-1} = g_k M_k ||W_{k-1}||^2, with
    M_k = (1 + e_k) max_i m_i^2, m_i = max(|alpha_i|, |beta_i|) and
    lambda_i = M_k / (M_k - alpha_i beta_i). Then per neuron
    M v^2 - w^2 + 2 lambda (w - alpha v)(w - beta v) >= 0: its determinant in lambda is
    -lambda^2 (beta - alpha)^2 + 2 lambda (M - alpha beta) - M, with real roots because M >= m_i^2, and
    lambda_i is their harmonic mean. e_k > 0 keeps lambda finite where alpha = beta.
    """
    squares = [_norm_squared(w) * (1.0 + 1e-10) for w in chain.weights]
    g = squares[-1]
    result: list[np.ndarray] = []
    for k in range(len(chain.slopes) - 1, -1, -1):
        alpha, beta = chain.slopes[k]
        largest = float(np.maximum(np.abs(alpha), np.abs(beta)).max()) ** 2
        linear = bool((alpha * beta > (1.0 - 1e-4) * largest).any())
        bound = largest * (1.0 + (1e-5 if linear else 1e-10))
        result.append(g * (1.0 + 1e-10) * (bound / (bound - alpha * beta)))
        g *= bound * squares[k] * (1.0 + 1e-10)
    return tuple(reversed(result))


def _norm_squared(w: np.ndarray) -> float:
    return _largest(w, None)


@dataclasses.dataclass
class _Search:
    """The best multipliers so far."""

    chain: Chain
    rho: float = math.inf
    multipliers: Multipliers = ()

    def attempt(self, multipliers: Multipliers) -> float:
        if not all(np.isfinite(t).all() and (t > 0.0).all() for t in multipliers):
            return math.inf
        rho = least_rho(lift(self.chain, multipliers))
        if rho < self.rho:
            self.rho, self.multipliers = rho, multipliers
        return rho


def propose_multipliers(
    chain: Chain, given: Sequence[np.ndarray], rho: float
) -> Iterator[tuple[Multipliers, float]]:
    """Multipliers to try, best first, each with its rho*; the last is the always feasible point.

    `given` may hold anything: NaN and infinity are replaced by the closed form's entries,
    entries below 1e-10 of their layer's largest are raised to that.
    """
    search = _Search(chain)
    if all(np.isfinite(t).all() and (t > 0.0).all() for t in given):
        search.attempt(tuple(given))
        if math.isfinite(search.rho) and search.rho <= rho * (1.0 + _GOOD):
            yield search.multipliers, search.rho
    closed = always_feasible(chain)
    _search_all(search, _clipped(given, closed), closed, rho)
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


def _search_all(search: _Search, start: Multipliers, closed: Multipliers, rho: float) -> None:
    closed_rho = search.attempt(closed)
    if start is not closed:
        search.attempt(start)
        _search_tilts(search, start)
        if not search.rho <= rho * (1.0 + 1e-6):
            _search_scales(search, start)
            _search_mixes(search, start, closed)
    if search.rho >= closed_rho * (1.0 - 1e-3):
        _search_scales(search, closed)


def _clipped(given: Sequence[np.ndarray], closed: Multipliers) -> Multipliers:
    """`closed` itself where nothing in `given` is usable."""
    if not any((np.isfinite(t) & (t > 0.0)).any() for t in given):
        return closed
    result = []
    for t, fallback in zip(given, closed, strict=True):
        finite = np.isfinite(t)
        largest = float(t[finite].max(initial=0.0))
        if largest > 0.0:
            result.append(np.where(finite, np.maximum(t, 1e-10 * largest), fallback))
        else:
            result.append(fallback)
    return tuple(result)


def _search_tilts(search: _Search, start: Multipliers) -> None:
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


def _search_scales(search: _Search, start: Multipliers) -> None:
    """rho*(sT) is convex in s where it is finite: a coarse grid brackets its minimum."""

    def scaled(log_s: float) -> float:
        return search.attempt(tuple(math.exp(log_s) * t for t in start))

    values = [scaled(g) for g in _SCALES]
    best = int(np.argmin(values))
    if math.isfinite(values[best]):
        _golden(scaled, _SCALES[max(best - 1, 0)], _SCALES[min(best + 1, len(_SCALES) - 1)], 10)


def _search_mixes(search: _Search, start: Multipliers, closed: Multipliers) -> None:
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
