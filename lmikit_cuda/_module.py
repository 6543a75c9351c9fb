"""`CupyModule`: the array module on an NVIDIA GPU. CuPy is imported when asked for, never before.

What it computes is a proposal: cuBLAS and cuSOLVER may order sums and invert diagonal blocks in
ways that no rounding theorem here covers, so everything is certified on the CPU in float64.
"""

import functools
from typing import Any

import numpy as np

from lmikit._arrays import ArrayModule
from lmikit._errors import BackendMissing, OptionError

__all__ = ["CupyModule", "cupy_module"]


@functools.cache
def _cupy() -> Any:
    try:
        import cupy
    except ImportError as error:
        raise BackendMissing(
            f"the array module 'cupy' needs CuPy, which cannot be imported ({error}); "
            "pip install 'lmikit[cuda]'."
        ) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise BackendMissing(
            f"the array module 'cupy' needs a GPU with its driver ({error}); use the array module 'numpy'."
        ) from error
    if count < 1:
        raise BackendMissing("the array module 'cupy' found no GPU; use the array module 'numpy'.")
    return cupy


@functools.cache
def _keeps_float32(xp: Any) -> bool:
    """Whether a float32 product keeps 1 + 2^-20, which TF32 rounds to 1; asked once."""
    value = np.float32(1.0 + 2.0**-20)
    product = (xp.eye(256, dtype=np.float32) * value) @ xp.ones((256, 256), dtype=np.float32)
    return bool((product == value).all())


def cupy_module(memory_limit: int | None = None) -> "CupyModule":
    """The array module of the current GPU; `memory_limit` in bytes caps CuPy's default memory pool.

    Raises BackendMissing without CuPy or a GPU, and OptionError for a limit below 1 or where float32
    products run as TF32, with 10 bits.
    """
    xp = _cupy()
    if not _keeps_float32(xp):
        raise OptionError(
            "float32 products on this GPU keep 10 bits only: TF32 is on. Turn it off (CUPY_TF32=0, "
            "NVIDIA_TF32_OVERRIDE=0); precision is chosen by dtype here."
        )
    if memory_limit is not None:
        if isinstance(memory_limit, bool) or not isinstance(memory_limit, int) or memory_limit < 1:
            raise OptionError(f"memory_limit is {memory_limit!r}; expected a number of bytes of at least 1.")
        xp.get_default_memory_pool().set_limit(size=memory_limit)
    return CupyModule()


class CupyModule(ArrayModule):
    """CuPy with the meaning of `ArrayModule`.

    Calls return before the GPU has finished. Only what must be known on the host waits:
    `cholesky` and `cholesky_in_place` (is it positive definite?), `to_numpy` and `free_bytes`.
    """

    name = "cupy"

    @property
    def xp(self) -> Any:
        return _cupy()

    def asarray(self, values: Any, dtype: Any = np.float64) -> Any:
        return self.xp.asarray(values, dtype=dtype)

    def to_numpy(self, values: Any) -> np.ndarray:
        return np.asarray(self.xp.asnumpy(values))

    def product(self, a: Any, b: Any) -> Any:
        return a @ b

    def less_gram(self, s: Any, v: Any) -> Any:
        return s - v.T @ v

    def cholesky(self, a: Any) -> Any | None:
        factor = self.xp.array(a, order="C")
        info = self._potrf(factor)
        factor = self.xp.tril(factor)
        good = self.xp.logical_and(info[0] == 0, self.xp.isfinite(factor).all())
        return factor if bool(good) else None

    def _potrf(self, a: Any) -> Any:
        """Lower factor into the lower triangle of a row-major array; returns the device's status."""
        from cupy_backends.cuda.libs import cublas, cusolver

        single = a.dtype == np.float32
        size = cusolver.spotrf_bufferSize if single else cusolver.dpotrf_bufferSize
        potrf = cusolver.spotrf if single else cusolver.dpotrf
        n, handle = a.shape[0], self.xp.cuda.device.get_cusolver_handle()
        info = self.xp.zeros(1, dtype=np.int32)
        # The library reads columns, so the upper triangle that it sees is our lower one.
        upper = cublas.CUBLAS_FILL_MODE_UPPER
        length = size(handle, upper, n, a.data.ptr, n)
        workspace = self.xp.empty(max(1, length), dtype=a.dtype)
        potrf(handle, upper, n, a.data.ptr, n, workspace.data.ptr, length, info.data.ptr)
        return info

    def inverse_from_cholesky(self, factor: Any) -> Any:
        half = self.solve_triangular(factor, self.xp.eye(factor.shape[0], dtype=factor.dtype))
        return half.T @ half

    def solve_triangular(self, factor: Any, b: Any, *, transposed: bool = False) -> Any:
        from cupyx.scipy.linalg import solve_triangular

        # factor.T is column-major already: no copy of the factor is made.
        return solve_triangular(factor.T, b, trans="N" if transposed else "T", lower=False)

    def sparse(self, matrix: Any) -> Any:
        import scipy.sparse
        from cupyx.scipy.sparse import csr_matrix

        return csr_matrix(scipy.sparse.csr_matrix(matrix))

    def add_gram(self, matrix: Any, weights: Any, out: Any) -> None:
        rows = matrix.tocoo()
        scaled = matrix.copy()
        scaled.data = rows.data * weights[rows.row]
        gram = (matrix.T.tocsr() @ scaled).tocoo()
        self.add_at(out, (gram.row, gram.col), gram.data.astype(out.dtype, copy=False))

    def add_at(self, a: Any, index: tuple[Any, ...], values: Any) -> None:
        self.xp.add.at(a, index, values)

    def cholesky_in_place(self, a: Any) -> bool:
        if not a.flags.c_contiguous:
            raise OptionError(
                "cholesky_in_place got an array that is not row-major; expected a contiguous one."
            )
        return int(self._potrf(a)[0]) == 0

    def eigvalsh(self, a: Any) -> Any:
        return self.xp.linalg.eigvalsh(a)

    def free_bytes(self) -> int | None:
        """Free device memory, that of CuPy's pool included, within the pool's limit."""
        pool = self.xp.get_default_memory_pool()
        free = int(self.xp.cuda.Device().mem_info[0]) + int(pool.free_bytes())
        limit = int(pool.get_limit())
        return min(free, max(0, limit - int(pool.used_bytes()))) if limit > 0 else free
