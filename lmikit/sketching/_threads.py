"""Threads by the size of the work: on small blocks more threads are slower, often by far."""

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterable

import threadpoolctl

from .._arrays import ArrayModule, blas_threads

__all__ = ["one_thread_between", "run_all", "threads_for", "workers_for"]

_SMALL_FLOPS = 1e9


def threads_for(am: ArrayModule, flops: float) -> contextlib.AbstractContextManager[None]:
    """One thread for host work below a billion operations per call, else as it is."""
    return blas_threads(1) if am.name == "numpy" and flops < _SMALL_FLOPS else contextlib.nullcontext()


def one_thread_between(am: ArrayModule, flops: float) -> contextlib.AbstractContextManager[None]:
    """One BLAS thread for the light work between large products, where it is not limited already.

    BLAS threads that have worked spin on for a while and take a core from the next product.
    """
    return blas_threads(1) if am.name == "numpy" and flops >= _SMALL_FLOPS else contextlib.nullcontext()


def workers_for(am: ArrayModule, flops: float) -> int:
    """How many threads of its own a product of that size is worth: as many as BLAS may use now."""
    if am.name != "numpy" or flops < _SMALL_FLOPS:
        return 1
    return max(
        (lib["num_threads"] for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"),
        default=1,
    )


def run_all(task: Callable[[int, int], None], parts: Iterable[tuple[int, int]], workers: int) -> None:
    """task(first, last) for every part, on `workers` threads with one BLAS thread each.

    Threads that wait for each other inside every BLAS call lose most of a shared machine:
    where other programs kept both of two cores busy, that took three times as long as one thread.
    """
    if workers == 1:
        for part in parts:
            task(*part)
        return
    with blas_threads(1), concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(task, *part) for part in parts]:
            future.result()
