"""Where LowRank's time goes: parts of the method, and matrix kernels against the machine's product rate."""

import collections
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
    """Seconds and floating-point operations of the matrix kernels; single precision counts as half."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.operations: collections.Counter[str] = collections.Counter()

    def clear(self) -> None:
        self.seconds = 0.0
        self.operations.clear()

    @contextlib.contextmanager
    def kernel(self, name: str, operations: float, a: Any) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started
        single = a.dtype == np.float32
        self.operations[f"{name}, {'single' if single else 'double'}"] += operations / (2 if single else 1)


TALLY = Tally()


class WatchedModule(ArrayModule):
    """NumPy with its matrix products, factorisations and triangular solves timed and counted."""

    def product(self, a: Any, b: Any) -> Any:
        with TALLY.kernel("products", 2.0 * a.shape[0] * a.shape[1] * b.shape[1], a):
            return super().product(a, b)

    def less_gram(self, s: Any, v: Any) -> Any:
        with TALLY.kernel("symmetric products", float(v.shape[0] * v.shape[1] ** 2), v):
            return super().less_gram(s, v)

    def cholesky(self, a: Any) -> Any:
        with TALLY.kernel("Cholesky factors of levels", len(a) ** 3 / 3.0, a):
            return super().cholesky(a)

    def cholesky_in_place(self, a: Any) -> bool:
        with TALLY.kernel("Cholesky factor of the Schur complement", len(a) ** 3 / 3.0, a):
            return super().cholesky_in_place(a)

    def inverse_from_cholesky(self, factor: Any) -> Any:
        with TALLY.kernel("inverses", 2.0 * len(factor) ** 3 / 3.0, factor):
            return super().inverse_from_cholesky(factor)

    def solve_triangular(self, factor: Any, b: Any, *, transposed: bool = False) -> Any:
        operations = float(b.shape[0] ** 2 * (b.shape[1] if b.ndim > 1 else 1))
        with TALLY.kernel("triangular solves", operations, factor):
            return super().solve_triangular(factor, b, transposed=transposed)


def product_rate(threads: int, order: int = 1500) -> float:
    """Operations per second of a product of matrices."""
    a = np.random.default_rng(0).standard_normal((order, order))
    am = ArrayModule()
    with blas_threads(1, kernels=threads):
        am.product(a, a)
        started = time.perf_counter()
        for _ in range(3):
            am.product(a, a)
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
    TALLY.clear()
    with (
        mock.patch("lmikit.solvers.low_rank._solver.array_module", return_value=WatchedModule()),
        mock.patch("lmikit.solvers.low_rank._solver._helpful_threads", return_value=os.cpu_count() or 1),
    ):  # the test of the threads would be counted
        started = time.perf_counter()
        iterations = LowRank().solve(sdp).iterations
        watched = time.perf_counter() - started
    total, cube = sum(TALLY.operations.values()), float(sdp.variables) ** 3 * iterations
    return {
        "name": name,
        "seconds": seconds,
        "shares": shares,
        "watched_seconds": watched,
        "kernel_share": TALLY.seconds / watched,
        "kernel_rate": total / TALLY.seconds,
        "rate": total / watched,
        "iterations": iterations,
        "operations": {kernel: count / cube for kernel, count in sorted(TALLY.operations.items())},
        "product_rate_one": product_rate(1),
        "product_rate_all": product_rate(os.cpu_count() or 1),
        "load": os.getloadavg()[0],
    }
