"""BLAS threads by the size of the work: on small blocks more threads are slower, often by far."""

import contextlib

from .._arrays import ArrayModule, blas_threads

__all__ = ["threads_for"]

_SMALL_FLOPS = 1e9


def threads_for(am: ArrayModule, flops: float) -> contextlib.AbstractContextManager[None]:
    """One thread for host work below a billion operations per call, else as it is."""
    return blas_threads(1) if am.name == "numpy" and flops < _SMALL_FLOPS else contextlib.nullcontext()
