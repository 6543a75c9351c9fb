"""The array module in use, the dense kernels that differ between modules, BLAS thread limits.

Numerical code takes an `ArrayModule` and calls `am.xp` for everything that NumPy and CuPy
spell alike, and the methods below for the few kernels that they spell differently. Other
packages add modules through the entry point group `lmikit.array_modules`.
"""

import contextlib
import functools
import importlib.metadata
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg

from ._errors import BackendMissing

__all__ = ["ArrayModule", "array_module", "available_array_modules", "blas_threads"]


class _ByType(dict[Any, Any]):
    """A BLAS or LAPACK routine by the dtype of its matrices; the double one converts all others."""

    def __init__(self, single: Any, double: Any) -> None:
        super().__init__({np.dtype(np.float32): single, np.dtype(np.float64): double})

    def __missing__(self, dtype: Any) -> Any:
        return self[np.dtype(np.float64)]


_blas, _lapack = scipy.linalg.blas, scipy.linalg.lapack
_GEMM = _ByType(_blas.sgemm, _blas.dgemm)
_SYRK = _ByType(_blas.ssyrk, _blas.dsyrk)
_TRSV = _ByType(_blas.strsv, _blas.dtrsv)
_TRSM = _ByType(_blas.strsm, _blas.dtrsm)
_POTRF = _ByType(_lapack.spotrf, _lapack.dpotrf)
_POTRS = _ByType(_lapack.spotrs, _lapack.dpotrs)


class ArrayModule:
    """NumPy on the CPU; subclasses serve other devices with the same meaning."""

    name = "numpy"

    @property
    def xp(self) -> Any:
        return np

    def asarray(self, values: Any, dtype: Any = np.float64) -> Any:
        """Array of this module; host data is copied to the device."""
        return np.asarray(values, dtype=dtype)

    def to_numpy(self, values: Any) -> np.ndarray:
        """Host copy."""
        return np.asarray(values)

    def product(self, a: Any, b: Any) -> Any:
        """A B for matrices."""
        if a.dtype != b.dtype or a.dtype not in _GEMM or 0 in a.shape or 0 in b.shape:
            return a @ b
        # SciPy's BLAS, like the factorisations below: where NumPy brings its own, the idle threads of
        # either spin while the other works. The routine reads columns, so it forms B'A'.
        right, right_flipped = _by_columns(b)
        left, left_flipped = _by_columns(a)
        return _GEMM[a.dtype](1.0, right, left, trans_a=not right_flipped, trans_b=not left_flipped).T

    def less_gram(self, s: Any, v: Any) -> Any:
        """S - V'V; only its lower triangle is meaningful."""
        if 0 in v.shape:
            return s.copy()
        by_columns, flipped = _by_columns(v)
        return _SYRK[v.dtype](-1.0, by_columns, beta=1.0, c=s.T, trans=not flipped, lower=0).T

    def cholesky(self, a: Any) -> Any | None:
        """Lower factor of a symmetric matrix (lower triangle read), or None if it is not PD."""
        if a.flags.c_contiguous:
            factor, info = _POTRF[a.dtype](a.T, lower=0, clean=1)
            factor = factor.T
        else:
            factor, info = _POTRF[a.dtype](a, lower=1, clean=1)
        # what is not finite in a row reaches its diagonal entry
        return factor if info == 0 and np.isfinite(factor.diagonal()).all() else None

    def inverse_from_cholesky(self, factor: Any) -> Any:
        """(L L')^-1, full symmetric, from the lower factor L."""
        by_columns, flipped = _by_columns(factor)
        inverse, info = scipy.linalg.lapack.dpotri(by_columns, lower=not flipped)
        if info != 0:
            raise np.linalg.LinAlgError("dpotri failed: the factor is singular.")
        lower = np.tril(inverse.T if flipped else inverse)
        return lower + np.tril(lower, -1).T

    def cholesky_solve(self, factor: Any, b: Any) -> Any:
        """(L L')^-1 b."""
        if isinstance(b, np.ndarray) and b.ndim == 1 and b.size:
            by_columns, flipped = _by_columns(factor)
            return _POTRS[factor.dtype](by_columns, b, lower=not flipped)[0]
        return self.solve_triangular(factor, self.solve_triangular(factor, b), transposed=True)

    def solve_triangular(self, factor: Any, b: Any, *, transposed: bool = False) -> Any:
        """L^-1 b, or L^-T b."""
        if 0 in b.shape:
            return b.copy()
        # the routines themselves: SciPy's checks cost more than the work on blocks of 80, and
        # the one for matrices takes five times as long for a vector
        by_columns, flipped = _by_columns(factor)
        if b.ndim == 1:
            turned = bool(flipped) != transposed
            return _TRSV[factor.dtype](by_columns, b, lower=not flipped, trans=turned)
        trsm = _TRSM[factor.dtype]
        if b.flags.c_contiguous:  # (L^-1 B)' = B' L^-T: no copy into columns
            turned = bool(flipped) == transposed
            return trsm(1.0, by_columns, b.T, side=1, lower=not flipped, trans_a=turned).T
        turned = bool(flipped) != transposed
        return trsm(1.0, by_columns, b, lower=not flipped, trans_a=turned)

    def sparse(self, matrix: Any) -> Any:
        """A SciPy sparse matrix as a sparse matrix of this module (CSR)."""
        return matrix

    def add_gram(self, matrix: Any, weights: Any, out: Any) -> None:
        """out += A'diag(weights)A for a sparse A of this module, in place."""
        gram = (matrix.T @ (matrix * weights[:, None])).tocoo()
        np.add.at(out, (gram.row, gram.col), gram.data.astype(out.dtype, copy=False))

    def add_at(self, a: Any, index: tuple[Any, ...], values: Any) -> None:
        """a[index] += values, with repeated indices summed; in place."""
        np.add.at(a, index, values)

    def cholesky_in_place(self, a: Any) -> bool:
        """Overwrite the lower triangle of a row-major symmetric `a` by its factor; False if not PD.

        The rest of `a` is left undefined.
        """
        _, info = _POTRF[a.dtype](a.T, lower=0, clean=0, overwrite_a=1)
        return bool(info == 0)

    def solve_in_place_factor(self, a: Any, b: Any) -> Any:
        """(L L')^-1 b from what `cholesky_in_place` left in `a`."""
        return self.cholesky_solve(a, b)

    def eigvalsh(self, a: Any) -> Any:
        """Eigenvalues of a symmetric matrix, ascending."""
        return scipy.linalg.eigvalsh(a, check_finite=False)

    def free_bytes(self) -> int | None:
        """Memory that is free on the device, or None where it is not known."""
        return None


def _by_columns(a: np.ndarray) -> tuple[np.ndarray, bool]:
    """A itself, or A' where that is what lies column by column in memory, and whether it is A'."""
    flipped = a.flags.c_contiguous
    return (a.T, True) if flipped else (a, False)


_NUMPY = ArrayModule()


def available_array_modules() -> tuple[str, ...]:
    """Names of the array modules that are installed (not necessarily with a working device)."""
    found = importlib.metadata.entry_points(group="lmikit.array_modules")
    return ("numpy", *sorted({point.name for point in found}))


def array_module(name: str = "numpy") -> ArrayModule:
    """The array module of that name; raises BackendMissing where it or its device is missing."""
    if name == "numpy":
        return _NUMPY
    for point in importlib.metadata.entry_points(group="lmikit.array_modules"):
        if point.name == name:
            module: ArrayModule = point.load()()
            return module
    raise BackendMissing(
        f"array module {name!r} is not installed; expected one of "
        f"{', '.join(available_array_modules())}. Install lmikit[cuda] for 'cupy'."
    )


@functools.cache
def _controller() -> Any:
    import threadpoolctl

    return threadpoolctl.ThreadpoolController()


@functools.cache
def _kernel_library() -> str | None:
    """The file of the BLAS that `ArrayModule` calls, SciPy's, where NumPy brings another one."""
    files = [lib.filepath for lib in _controller().select(user_api="blas").lib_controllers]
    own = [file for file in files if any("scipy" in part for part in pathlib.PurePath(file).parts[-3:-1])]
    return own[0] if len(files) > 1 and len(own) == 1 else None


@contextlib.contextmanager
def blas_threads(limit: int | None, *, kernels: int | None = None) -> Iterator[None]:
    """Limit the BLAS threads inside the context (None: leave them); not thread-local.

    On blocks of 80 two threads were 30 times slower than one. `kernels` is the limit for the BLAS of
    `ArrayModule` where NumPy and SciPy each bring one: the idle threads of one spin while the other
    works, so that code which uses both in turn ran twice as slowly with both on two threads as with
    one each.
    """
    if limit is None:
        yield
        return
    with _controller().limit(limits=limit, user_api="blas"):
        if kernels is None or kernels == limit:
            yield
            return
        file = _kernel_library()
        selected = _controller().select(filepath=file) if file else _controller().select(user_api="blas")
        with selected.limit(limits=kernels):
            yield
