"""Checks over many layers or networks at once. Every function takes an array module, NumPy's included.

All results are floating-point estimates on the device: they say which proposals are worth the
CPU time of a certificate, and prove nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lmikit._arrays import ArrayModule
from lmikit._errors import InputError
from lmikit.formulations.rs_lmi import AbstractPenalty, SquaredHinge
from lmikit.sketching import gram_values

__all__ = ["batched_eigvalsh", "batched_norm_margins", "batched_norms", "batched_penalties"]

_SHARE = 0.25  # of the free memory, for the copies that a batched eigenvalue routine makes
_UNKNOWN_FREE = 1 << 30


def _chunk(am: ArrayModule, count: int, bytes_each: int) -> int:
    """How many matrices fit at once."""
    free = am.free_bytes()
    room = int(_SHARE * (_UNKNOWN_FREE if free is None else free))
    return max(1, min(count, room // max(1, bytes_each)))


def batched_eigvalsh(am: ArrayModule, stack: Any) -> Any:
    """Eigenvalues, ascending, of each symmetric matrix of a stack (k, n, n); shape (k, n).

    Works through the stack in chunks that fit in memory. Raises InputError for other shapes.
    """
    if stack.ndim != 3 or stack.shape[1] != stack.shape[2]:
        raise InputError(f"stack has shape {stack.shape}; expected (k, n, n).")
    k, n, _ = stack.shape
    step = _chunk(am, k, 4 * n * n * stack.dtype.itemsize)
    parts = [am.xp.linalg.eigvalsh(stack[i : i + step]) for i in range(0, k, step)]
    return am.xp.concatenate(parts) if parts else am.xp.zeros((0, n), dtype=stack.dtype)


def _by_shape(arrays: Sequence[Any]) -> dict[tuple[int, ...], list[int]]:
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, array in enumerate(arrays):
        groups.setdefault((*array.shape, array.dtype.char), []).append(index)
    return groups


def batched_norm_margins(am: ArrayModule, weights: Sequence[Any], taus: Sequence[float]) -> np.ndarray:
    """lambda_min(tau_i I - W_i'W_i) per layer, computed in stacks of equal shape; one host copy at the end.

    Negative where tau_i is too small. Raises InputError where the lists differ in length.
    """
    if len(weights) != len(taus):
        raise InputError(f"got {len(weights)} layers and {len(taus)} taus; expected one tau per layer.")
    tops = am.xp.zeros(len(weights), dtype=np.float64)
    for indices in _by_shape(weights).values():
        stack = am.xp.stack([weights[i] for i in indices])
        wide = stack if stack.shape[1] >= stack.shape[2] else stack.transpose(0, 2, 1)
        gram = am.xp.matmul(wide.transpose(0, 2, 1), wide)
        tops[am.xp.asarray(indices)] = batched_eigvalsh(am, gram)[:, -1]
    # The smaller Gram matrix has the same largest eigenvalue, so lambda_min(tau I - W'W) is tau minus it.
    return np.asarray(taus, dtype=np.float64) - am.to_numpy(tops)


def batched_norms(am: ArrayModule, weights: Sequence[Any], *, squarings: int = 10) -> np.ndarray:
    """Gram-iteration values of many layers (see `lmikit.sketching.gram_values`), grouped by shape."""
    values = am.xp.zeros(len(weights), dtype=np.float64)
    for indices in _by_shape(weights).values():
        shape = weights[indices[0]].shape
        step = _chunk(am, len(indices), 4 * int(np.prod(shape)) * weights[indices[0]].dtype.itemsize)
        for start in range(0, len(indices), step):
            part = indices[start : start + step]
            stack = am.xp.stack([weights[i] for i in part])
            values[am.xp.asarray(part)] = gram_values(stack, squarings=squarings, am=am)
    return am.to_numpy(values)


def batched_penalties(
    am: ArrayModule, weights: Any, taus: Any, sketches: Any, penalty: AbstractPenalty | None = None
) -> tuple[Any, Any, Any]:
    """(P, dP/dtau, dP/dW) for stacks: weights (k, out, n), taus (k,), sketches (k, n, m); on the device.

    The batch form of `lmikit.rs_lmi.sketched_penalty`.
    """
    xp, penalty = am.xp, penalty or SquaredHinge()
    if weights.ndim != 3 or sketches.ndim != 3 or weights.shape[::2] != sketches.shape[:2]:
        raise InputError(
            f"weights {weights.shape} and sketches {sketches.shape} do not fit; "
            "expected (k, out, n) and (k, n, m)."
        )
    image = xp.matmul(weights, sketches)
    metric = xp.matmul(sketches.transpose(0, 2, 1), sketches)
    h = xp.matmul(image.transpose(0, 2, 1), image) - taus[:, None, None] * metric
    values, vectors = xp.linalg.eigh(0.5 * (h + h.transpose(0, 2, 1)))
    slope = penalty.derivative(xp, values)
    left = 2.0 * slope[:, None, :] * xp.matmul(image, vectors)
    gradient = xp.matmul(left, xp.matmul(sketches, vectors).transpose(0, 2, 1))
    tau_gradient = -(slope * (vectors * xp.matmul(metric, vectors)).sum(axis=1)).sum(axis=1)
    return penalty.value(xp, values).sum(axis=1), tau_gradient, gradient
