"""Norm bounds that fail with a stated probability; the Lanczos polynomial is the tightest and the default."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from .._arrays import ArrayModule
from .._errors import InputError, OptionError
from ._lanczos import (
    LanczosRun,
    kuczynski_wozniakowski_values,
    largest_ritz_values,
    polynomial_values,
    start_component,
)
from ._operators import AbstractOperator
from ._random import random_stream
from ._sketches import check_seed
from ._types import ProbabilisticBound

__all__ = ["PROBABILISTIC_METHODS", "check_delta", "norm_bound"]

_SPENT = 0.8  # of the failure probability; the rest is room for rounding of the start vectors and products


def check_delta(delta: Any) -> None:
    """Raises OptionError unless 0 < delta < 1."""
    if isinstance(delta, bool) or not isinstance(delta, (float, int, np.floating)) or not 0.0 < delta < 1.0:
        raise OptionError(f"delta is {delta!r}; expected a failure probability strictly between 0 and 1.")


def norm_bound(
    operator: AbstractOperator,
    delta: float,
    *,
    method: str = "lanczos",
    seed: int = 0,
    rtol: float = 1e-3,
    max_matvecs: int | None = None,
    starts: int | None = None,
) -> ProbabilisticBound:
    """P(sigma_max(W) > value) <= delta over the start vectors, in exact arithmetic.

    `method`: "lanczos" (the Lanczos polynomial), "kuczynski_wozniakowski", "dixon",
    "halko_martinsson_tropp". The first two stop when value <= (1 + rtol) estimate or when max_matvecs
    products are spent (default: 4000, at most what exhausts the Krylov space); the last two spend
    max_matvecs (default 100) whatever rtol. `starts` runs go side by side, each with failure
    probability delta**(1/starts), and the largest of their values is returned: all must fail at once
    (default: 1 on the host, 8 on a GPU).
    Rounding is covered by the factor 1 + 4 sqrt(out + in) eps of the layer's dtype and by spending
    0.8 delta only; that is tested and not proven. Raises OptionError for delta outside (0, 1) and
    unknown methods.
    """
    check_delta(delta)
    check_seed(seed)
    if method not in PROBABILISTIC_METHODS:
        raise OptionError(f"method is {method!r}; expected one of {', '.join(PROBABILISTIC_METHODS)}.")
    if not rtol > 0:
        raise OptionError(f"rtol is {rtol!r}; expected a positive number.")
    for name, value in (("max_matvecs", max_matvecs), ("starts", starts)):
        if value is not None and (not isinstance(value, (int, np.integer)) or value < 1):
            raise OptionError(f"{name} is {value!r}; expected an integer of at least 1.")
    bound = PROBABILISTIC_METHODS[method](
        operator.smaller_side, _SPENT * float(delta), seed, rtol, max_matvecs, starts
    )
    return dataclasses.replace(bound, delta=float(delta))


def _finish(
    operator: AbstractOperator,
    value: float,
    estimate: float,
    delta: float,
    seed: int,
    method: str,
    matvecs: int,
) -> ProbabilisticBound:
    if not (np.isfinite(estimate) and not np.isnan(value)):
        raise InputError("a product of the layer overflowed or holds NaN; expected finite numbers.")
    allowance = 1.0 + 4.0 * np.sqrt(sum(operator.shape)) * float(np.finfo(operator.dtype).eps)
    return ProbabilisticBound(
        value=float(np.nextafter(value * allowance, np.inf)) if value > 0 else 0.0,
        delta=delta,
        seed=int(seed),
        method=method,
        matvecs=int(matvecs),
        estimate=float(estimate),
    )


def _from_lanczos(values_of_runs: Callable[..., np.ndarray], name: str) -> Callable[..., ProbabilisticBound]:
    def bound(
        operator: AbstractOperator,
        delta: float,
        seed: int,
        rtol: float,
        max_matvecs: int | None,
        starts: int | None,
    ) -> ProbabilisticBound:
        starts = min(starts or _default_starts(operator), operator.shape[1])
        n = operator.shape[1]
        max_steps = max(1, min(n, (max_matvecs or 4000) // (2 * starts)))
        run = LanczosRun.begin(operator, starts, seed, max_steps)
        if run.scale == 0.0:
            return _finish(operator, 0.0, 0.0, delta, seed, name, starts)
        each = delta ** (1.0 / starts)
        while True:
            run.advance(min(max(4, run.steps // 4), max_steps - run.steps))
            alpha, beta = run.coefficients()
            if not (np.isfinite(alpha).all() and np.isfinite(beta).all()):
                raise InputError("a product of the layer holds NaN or infinity; expected finite numbers.")
            beta = _ended(alpha, beta, operator.dtype)
            ritz = largest_ritz_values(alpha, beta)
            top, value = float(ritz.max()), float(values_of_runs(alpha, beta, ritz, n, each).max())
            done = run.steps >= max_steps or np.sqrt(value) <= (1.0 + rtol) * np.sqrt(max(top, 0.0))
            if done:
                upper = np.sqrt(max(value, 0.0)) * run.scale
                return _finish(
                    operator, upper, np.sqrt(max(top, 0.0)) * run.scale, delta, seed, name, run.matvecs
                )

    return bound


def _default_starts(operator: AbstractOperator) -> int:
    """A GPU multiplies eight columns in the time of one, and eight starts need a third of the steps."""
    return 1 if operator.am.name == "numpy" else 8


def _ended(alpha: np.ndarray, beta: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """beta with zeros where the residual is rounding: the Krylov space is invariant there.

    Almost surely it then holds the top eigenvector, so the Ritz value is the norm.
    """
    scale = np.maximum(np.abs(alpha).max(axis=1), beta.max(axis=1))
    return np.where(beta <= 8 * float(np.finfo(dtype).eps) * scale[:, None], 0.0, beta)


def _polynomial(alpha: np.ndarray, beta: np.ndarray, ritz: np.ndarray, n: int, delta: float) -> np.ndarray:
    return polynomial_values(alpha, beta, ritz, start_component(n, delta))


def _kuczynski_wozniakowski(
    alpha: np.ndarray, beta: np.ndarray, ritz: np.ndarray, n: int, delta: float
) -> np.ndarray:
    return kuczynski_wozniakowski_values(ritz, n, alpha.shape[1], delta)


def _dixon(
    operator: AbstractOperator,
    delta: float,
    seed: int,
    rtol: float,
    max_matvecs: int | None,
    starts: int | None,
) -> ProbabilisticBound:
    """theta^(1/2) (x'(W'W)^k x)^(1/2k), theta = (0.8 sqrt(n)/delta)^(2/k), x uniform on the sphere.

    (Dixon, SIAM J. Numer. Anal. 20, 1983, theorem 1.) With p products, p = 2k or odd, the
    norm of p alternating products serves: sigma_max <= (0.8 sqrt(n)/delta)^(1/p) |...|^(1/p).
    """
    am, n, products = operator.am, operator.shape[1], int(max_matvecs or 100)
    x = random_stream(2, seed).standard_normal((n, 1))
    vector = am.asarray(x / np.linalg.norm(x), dtype=operator.dtype)
    lengths = am.xp.zeros(products)
    for k in range(products):
        vector = operator.matmat(vector) if k % 2 == 0 else operator.rmatmat(vector)
        lengths[k] = _lengths(am, vector)[0]
        vector = vector / am.xp.maximum(lengths[k], np.finfo(vector.dtype).tiny).astype(vector.dtype)
    host = am.to_numpy(lengths)
    if (host == 0.0).any():
        return _finish(operator, 0.0, 0.0, delta, seed, "dixon", products)
    host = np.log(host)
    root = float(np.exp(host.mean()))
    return _finish(
        operator, root * (0.8 * np.sqrt(n) / delta) ** (1.0 / products), root, delta, seed, "dixon", products
    )


def _halko_martinsson_tropp(
    operator: AbstractOperator,
    delta: float,
    seed: int,
    rtol: float,
    max_matvecs: int | None,
    starts: int | None,
) -> ProbabilisticBound:
    """delta^(-1/r) sqrt(2/pi) max_i |W omega_i|, r standard Gaussian vectors.

    (Halko, Martinsson, Tropp 2011, lemma 4.1, with alpha = delta^(-1/r).)
    """
    am, n, r = operator.am, operator.shape[1], int(max_matvecs or 100)
    omega = random_stream(2, seed).standard_normal((r, n)).T
    image = operator.matmat(am.asarray(np.ascontiguousarray(omega), dtype=operator.dtype))
    lengths = am.to_numpy(_lengths(am, image))
    value = delta ** (-1.0 / r) * np.sqrt(2.0 / np.pi) * float(lengths.max())
    estimate = float((lengths / np.linalg.norm(omega, axis=0)).max())
    return _finish(operator, value, estimate, delta, seed, "halko_martinsson_tropp", r)


def _lengths(am: ArrayModule, columns: Any) -> Any:
    """Euclidean norms of the columns in float64, without overflow or underflow of squares."""
    columns = columns.astype(np.float64, copy=False)
    peak = am.xp.maximum(am.xp.abs(columns).max(axis=0), np.finfo(np.float64).tiny)
    return peak * am.xp.sqrt(((columns / peak) ** 2).sum(axis=0))


PROBABILISTIC_METHODS: dict[str, Callable[..., ProbabilisticBound]] = {
    "lanczos": _from_lanczos(_polynomial, "lanczos"),
    "kuczynski_wozniakowski": _from_lanczos(_kuczynski_wozniakowski, "kuczynski_wozniakowski"),
    "dixon": _dixon,
    "halko_martinsson_tropp": _halko_martinsson_tropp,
}
