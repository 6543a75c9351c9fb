"""Linear operators known by their products, on any array module; W'W is never formed."""

import abc
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._arrays import ArrayModule, array_module
from .._errors import InputError
from ._random import random_stream

__all__ = [
    "AbstractOperator",
    "DenseOperator",
    "DiagonalOperator",
    "MatrixFreeOperator",
    "ProductOperator",
    "SparseOperator",
    "TransposedOperator",
    "as_operator",
    "check_adjoint",
]


class AbstractOperator(abc.ABC):
    """x -> W x with W of shape (out, in), for blocks of columns.

    Law: <u, matmat(x)> == <rmatmat(u), x> up to rounding (`check_adjoint`).
    """

    def __init__(self, shape: tuple[int, int], am: ArrayModule, dtype: Any) -> None:
        if len(shape) != 2 or min(shape) < 1:
            raise InputError(f"operator has shape {shape}; expected (out, in) with both at least 1.")
        self.shape = (int(shape[0]), int(shape[1]))
        self.am = am
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise InputError(f"operator has dtype {self.dtype}; expected float32 or float64.")

    @abc.abstractmethod
    def matmat(self, x: Any) -> Any:
        """W x for x of shape (in, k), in the operator's dtype."""

    @abc.abstractmethod
    def rmatmat(self, u: Any) -> Any:
        """W'u for u of shape (out, k), in the operator's dtype."""

    @property
    def call_flops(self) -> float:
        """Operations of its largest BLAS call for one column: below a size, more threads are slower."""
        return 2.0 * self.shape[0] * self.shape[1]

    @property
    def transposed(self) -> "AbstractOperator":
        """W' as an operator."""
        return TransposedOperator(self)

    @property
    def smaller_side(self) -> "AbstractOperator":
        """W or W', whichever has fewer columns; both have the same norm."""
        return self if self.shape[1] <= self.shape[0] else self.transposed

    def gram(self, x: Any) -> Any:
        """W'(W x) for x of shape (in, k)."""
        return self.rmatmat(self.matmat(x))


class TransposedOperator(AbstractOperator):
    """W' of a given W."""

    def __init__(self, operator: AbstractOperator) -> None:
        super().__init__((operator.shape[1], operator.shape[0]), operator.am, operator.dtype)
        self._operator = operator

    def matmat(self, x: Any) -> Any:
        return self._operator.rmatmat(x)

    def rmatmat(self, u: Any) -> Any:
        return self._operator.matmat(u)

    @property
    def call_flops(self) -> float:
        return self._operator.call_flops

    @property
    def transposed(self) -> AbstractOperator:
        return self._operator


class DenseOperator(AbstractOperator):
    """A dense matrix, kept in its own dtype and not copied."""

    def __init__(self, matrix: Any, am: ArrayModule) -> None:
        super().__init__(matrix.shape, am, matrix.dtype)
        self.matrix = matrix

    def matmat(self, x: Any) -> Any:
        return self.matrix @ x

    def rmatmat(self, u: Any) -> Any:
        # (u'W)' reads W along its rows, as matmat does.
        return self.matrix.T @ u


class SparseOperator(AbstractOperator):
    """A scipy or cupyx sparse matrix with its transpose, both in compressed rows."""

    def __init__(self, matrix: Any, am: ArrayModule) -> None:
        super().__init__(matrix.shape, am, matrix.dtype)
        self.matrix = matrix.tocsr()
        self._transpose = matrix.T.tocsr()

    @property
    def call_flops(self) -> float:
        return 0.0

    def matmat(self, x: Any) -> Any:
        return self.matrix @ x

    def rmatmat(self, u: Any) -> Any:
        return self._transpose @ u


class MatrixFreeOperator(AbstractOperator):
    """An operator from two functions on blocks of columns, W: (in, k) -> (out, k) and its adjoint.

    The functions are checked for shape and finite values at each use, and for adjointness once
    by `check_adjoint` when the operator is built. Raises InputError.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        matmat: Callable[[Any], Any],
        rmatmat: Callable[[Any], Any],
        *,
        am: ArrayModule | None = None,
        dtype: Any = np.float64,
    ) -> None:
        super().__init__(shape, am or array_module(), dtype)
        self._matmat, self._rmatmat = matmat, rmatmat
        check_adjoint(self)

    def matmat(self, x: Any) -> Any:
        return self._checked("matvec", self._matmat(x), (self.shape[0], x.shape[1]))

    def rmatmat(self, u: Any) -> Any:
        return self._checked("rmatvec", self._rmatmat(u), (self.shape[1], u.shape[1]))

    def _checked(self, name: str, result: Any, shape: tuple[int, int]) -> Any:
        if result.shape != shape:
            raise InputError(
                f"{name} returned shape {result.shape}; expected {shape}, one column per vector."
            )
        return result.astype(self.dtype, copy=False)


class DiagonalOperator(AbstractOperator):
    """diag(d) for d of shape (n,)."""

    def __init__(self, diagonal: Any, am: ArrayModule, dtype: Any) -> None:
        super().__init__((len(diagonal), len(diagonal)), am, dtype)
        self._diagonal = am.asarray(diagonal, dtype=dtype)[:, None]

    @property
    def call_flops(self) -> float:
        return 0.0

    def matmat(self, x: Any) -> Any:
        return self._diagonal * x

    def rmatmat(self, u: Any) -> Any:
        return self._diagonal * u


class ProductOperator(AbstractOperator):
    """W_p ... W_2 W_1, the factors given in the order of application (W_1 first)."""

    def __init__(self, factors: Sequence[AbstractOperator]) -> None:
        if not factors:
            raise InputError("a product of no operators was asked for; expected at least one factor.")
        for left, right in itertools.pairwise(factors):
            if right.shape[1] != left.shape[0]:
                raise InputError(
                    f"a factor of shape {right.shape} follows one of shape {left.shape}; they do not chain."
                )
        first, last = factors[0], factors[-1]
        super().__init__(
            (last.shape[0], first.shape[1]), first.am, np.result_type(*(f.dtype for f in factors))
        )
        self._factors = tuple(factors)

    @property
    def call_flops(self) -> float:
        return max(factor.call_flops for factor in self._factors)

    def matmat(self, x: Any) -> Any:
        for factor in self._factors:
            x = factor.matmat(x.astype(factor.dtype, copy=False))
        return x.astype(self.dtype, copy=False)

    def rmatmat(self, u: Any) -> Any:
        for factor in reversed(self._factors):
            u = factor.rmatmat(u.astype(factor.dtype, copy=False))
        return u.astype(self.dtype, copy=False)


def check_adjoint(operator: AbstractOperator, *, seed: int = 0, trials: int = 2) -> None:
    """Dot-product test: |<u, W x> - <W'u, x>| <= 50 sqrt(out + in) eps (|u||Wx| + |W'u||x|).

    Raises InputError where it fails, naming the gap. A wrong adjoint passes with probability zero
    when its error is far above rounding; errors near rounding are not seen.
    """
    am, (rows, columns) = operator.am, operator.shape
    rng = random_stream(0, seed)
    eps = float(np.finfo(operator.dtype).eps)
    for _ in range(trials):
        x = am.asarray(rng.standard_normal((columns, 1)), dtype=operator.dtype)
        u = am.asarray(rng.standard_normal((rows, 1)), dtype=operator.dtype)
        forward, backward = operator.matmat(x), operator.rmatmat(u)
        pairs = [am.to_numpy(a).astype(np.float64).ravel() for a in (u, forward, backward, x)]
        if not all(np.isfinite(p).all() for p in pairs):
            raise InputError("a product of the operator holds NaN or infinity; expected finite numbers.")
        host_u, host_forward, host_backward, host_x = pairs
        scale = np.linalg.norm(host_u) * np.linalg.norm(host_forward)
        scale += np.linalg.norm(host_backward) * np.linalg.norm(host_x)
        gap = abs(float(host_u @ host_forward) - float(host_backward @ host_x))
        if gap > 50 * np.sqrt(rows + columns) * eps * scale:
            raise InputError(
                f"rmatvec is not the adjoint of matvec: <u, Wx> and <W'u, x> differ by {gap:.3g} at scale "
                f"{scale:.3g}; expected rounding only. Check the transpose (strides, padding, order of axes)."
            )


def as_operator(value: Any, am: ArrayModule | None = None) -> AbstractOperator:
    """An operator from a dense array, a scipy/cupyx sparse matrix, or an object with products.

    float32 and float64 are kept as they are, other real dtypes become float64. An object with
    `shape`, `matvec` and `rmatvec` on blocks of columns (a linear map of a network, a
    scipy LinearOperator) becomes matrix-free and is checked by `check_adjoint`. Raises InputError for NaN,
    infinity, wrong dimensions and failed adjoints.
    """
    if isinstance(value, AbstractOperator):
        return value
    from scipy.sparse.linalg import LinearOperator  # here, because it is slow to import

    module = _module_of(value) if am is None else am
    if isinstance(value, LinearOperator):
        return MatrixFreeOperator(value.shape, value.matmat, value.rmatmat, am=module)
    if sp.issparse(value) and module.name != "numpy":
        raise InputError(
            f"layer is a scipy sparse matrix, but the array module is {module.name}; pass a cupyx one."
        )
    if sp.issparse(value) or type(value).__module__.startswith("cupyx."):
        matrix = value if value.dtype in (np.float32, np.float64) else value.astype(np.float64)
        _check_finite(module, matrix.data)
        return SparseOperator(matrix, module)
    if hasattr(value, "matvec") and hasattr(value, "rmatvec"):
        return MatrixFreeOperator(value.shape, value.matvec, value.rmatvec, am=module)
    dtype = getattr(value, "dtype", None)
    if dtype is not None and np.dtype(dtype).kind not in "fiub":
        raise InputError(f"layer has dtype {dtype}; expected real numbers.")
    array = module.asarray(value, dtype=np.float32 if dtype == np.float32 else np.float64)
    if array.ndim != 2 or min(array.shape) < 1:
        raise InputError(f"layer has shape {array.shape}; expected a matrix (out, in) with both at least 1.")
    _check_finite(module, array)
    return DenseOperator(array, module)


def _check_finite(am: ArrayModule, values: Any) -> None:
    if not bool(am.xp.isfinite(values).all()):
        raise InputError("layer holds NaN or infinity; expected finite numbers.")


def _module_of(value: Any) -> ArrayModule:
    return (
        array_module("cupy")
        if type(value).__module__.partition(".")[0] in ("cupy", "cupyx")
        else array_module()
    )
