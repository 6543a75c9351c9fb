"""Where LowRank's time goes: parts of the method, and matrix kernels against the machine's product rate."""

import contextlib
import cProfile
import os
import pstats
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np

from lmikit._arrays import ArrayModule, blas_threads
from lmikit.lmi import SDP
from lmikit.solvers import LowRank

PARTS = {  # cumulative time of these functions; they do not contain each other
    "form the Schur complement": "schur_complement",
    "its Cholesky factor": "cholesky_in_place",
    "directions (solves and products)": "direction",
    "second-order corrections": "correction",
    "step lengths": "measured",
    "bisection of the last step, next iterate": "_move",
    "inverse of Z": "inverses",
    "start": "starting_point",
}


class Tally:
    """Seconds and floating-point operations of the matrix kernels."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.operations = 0.0

    @contextlib.contextmanager
    def kernel(self, operations: float) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started
        self.operations += operations


TALLY = Tally()


class Watched(np.ndarray):
    """An array whose products of matrices are timed."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        plain = [np.asarray(a) if isinstance(a, Watched) else a for a in inputs]
        if out is not None:
            options["out"] = tuple(np.asarray(a) if isinstance(a, Watched) else a for a in out)
        if ufunc is np.matmul and plain[0].ndim == plain[1].ndim == 2:
            (n, k), m = plain[0].shape, plain[1].shape[1]
            with TALLY.kernel(2.0 * n * k * m):
                result = getattr(ufunc, method)(*plain, **options)
        else:
            result = getattr(ufunc, method)(*plain, **options)
        if out is not None:
            return out[0]
        return result.view(Watched) if isinstance(result, np.ndarray) else result


def _watched(a: Any) -> Any:
    return a.view(Watched) if isinstance(a, np.ndarray) else a


class _Numpy:
    """NumPy, but new arrays are watched."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        if name in ("zeros", "empty", "eye", "ones", "concatenate", "where"):
            return lambda *args, **options: _watched(found(*args, **options))
        return found


class WatchedModule(ArrayModule):
    """NumPy with its matrix products, factorisations and triangular solves timed."""

    @property
    def xp(self) -> Any:
        return _Numpy()

    def asarray(self, values: Any, dtype: Any = np.float64) -> Any:
        return _watched(super().asarray(values, dtype))

    def cholesky(self, a: Any) -> Any:
        with TALLY.kernel(len(a) ** 3 / 3.0):
            return _watched(super().cholesky(a))

    def cholesky_in_place(self, a: Any) -> bool:
        with TALLY.kernel(len(a) ** 3 / 3.0):
            return super().cholesky_in_place(a)

    def inverse_from_cholesky(self, factor: Any) -> Any:
        with TALLY.kernel(2.0 * len(factor) ** 3 / 3.0):
            return _watched(super().inverse_from_cholesky(factor))

    def solve_triangular(self, factor: Any, b: Any, *, transposed: bool = False) -> Any:
        with TALLY.kernel(float(b.shape[0] ** 2 * (b.shape[1] if b.ndim > 1 else 1))):
            return _watched(super().solve_triangular(factor, b, transposed=transposed))


def product_rate(threads: int, order: int = 1500) -> float:
    """Operations per second of a product of matrices."""
    a = np.random.default_rng(0).standard_normal((order, order))
    with blas_threads(1, products=threads):
        a @ a
        started = time.perf_counter()
        for _ in range(3):
            a @ a
        return 6.0 * order**3 / (time.perf_counter() - started)


def profile(sdp: SDP, name: str) -> dict:
    """Shares of one solve by part; share and rate of the matrix kernels, from another solve."""
    recorder = cProfile.Profile()
    started = time.perf_counter()
    recorder.enable()
    LowRank().solve(sdp)
    recorder.disable()
    seconds = time.perf_counter() - started
    totals = {key[2]: entry[3] for key, entry in pstats.Stats(recorder).stats.items()}  # type: ignore[attr-defined]
    shares = {part: totals.get(function, 0.0) / seconds for part, function in PARTS.items()}
    TALLY.seconds = TALLY.operations = 0.0
    with mock.patch("lmikit.solvers.low_rank._solver.array_module", return_value=WatchedModule()):
        started = time.perf_counter()
        LowRank().solve(sdp)
        watched = time.perf_counter() - started
    return {
        "name": name,
        "seconds": seconds,
        "shares": shares,
        "watched_seconds": watched,
        "kernel_share": TALLY.seconds / watched,
        "kernel_rate": TALLY.operations / TALLY.seconds,
        "rate": TALLY.operations / watched,
        "product_rate_one": product_rate(1),
        "product_rate_all": product_rate(os.cpu_count() or 1),
        "load": os.getloadavg()[0],
    }
