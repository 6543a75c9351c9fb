"""L_ij of `TrainableMultipliers` in torch or JAX, differentiated by the framework."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._errors import BackendMissing, InputError
from ._pair_multipliers import slopes_of

__all__ = ["pairwise_gains"]


def pairwise_gains(weights: Sequence[Any], activation: str = "relu") -> Any:
    """L (m, m) of [W0, b0, ..., WL, bL] and multipliers, torch tensors or JAX arrays, on their device.

    The arrays are those of `TrainableMultipliers.start`, in its order, and so is the value; gradients are the
    framework's. With equal rows w_i = w_j, L_ij = 0 has no gradient. Raises InputError for arrays
    of another kind or number, OptionError for another activation, BackendMissing without the framework.
    """
    xp = _module_of(weights[0])
    alpha, beta = slopes_of(activation)
    layers = sum(w.ndim == 2 for w in weights)
    maps, own = list(weights[0 : 2 * layers : 2]), list(weights[2 * layers :])
    if layers < 2 or len(own) != layers - 1:
        raise InputError(
            f"got {layers} matrices and {len(own)} multipliers; expected what `TrainableMultipliers.start` "
            "returns, of a network with at least one hidden layer."
        )
    first, second = np.triu_indices(maps[-1].shape[0], 1)
    through = [w[None] for w in maps[1:-1]] + [(maps[-1][first] - maps[-1][second])[:, None, :]]
    K = xp.ones_like(through[-1][:, :, :1])
    for W, array in zip(reversed(through), reversed(own), strict=True):
        free = array.reshape(len(first), -1)
        s = xp.exp(free[:, :-1])
        Q = (W / s[:, None, :]) @ xp.swapaxes(W, -1, -2)
        c = 0.5 * _largest(xp, K, Q) * (1.0 + xp.exp(free[:, -1]))
        H = xp.linalg.solve(_eye(xp, K) - K @ Q / (2.0 * c)[:, None, None], K)
        T = (c[:, None] * s)[:, :, None]
        K = 0.5 * (beta - alpha) ** 2 * T * _eye(xp, T + xp.swapaxes(T, -1, -2))
        if alpha + beta:
            K = K + 0.25 * (alpha + beta) ** 2 * (xp.swapaxes(W, -1, -2) @ H @ W)
    gains = xp.sqrt(_largest(xp, K, (maps[0] @ maps[0].T)[None]))
    place = np.zeros((maps[-1].shape[0],) * 2, dtype=np.int64)
    place[first, second] = place[second, first] = np.arange(1, len(first) + 1)
    return xp.concatenate([xp.zeros_like(gains[:1]), gains])[place]


def _eye(xp: Any, like: Any) -> Any:
    """The identity on the device of (P, n, n) arrays."""
    return xp.tril(xp.triu(xp.ones_like(like[:1])))


def _largest(xp: Any, K: Any, Q: Any) -> Any:
    """lambda_max(K Q) per pair."""
    if K.shape[1] == 1:
        return (K * Q)[:, 0, 0]
    C = xp.linalg.cholesky(K)
    return xp.linalg.eigvalsh(xp.swapaxes(C, -1, -2) @ Q @ C)[:, -1]


def _module_of(array: Any) -> Any:
    name = type(array).__module__.partition(".")[0]
    module = {"torch": "torch", "jaxlib": "jax.numpy", "jax": "jax.numpy"}.get(name)
    if module is None:
        raise InputError(f"the weights are {type(array).__name__}; expected torch tensors or JAX arrays.")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BackendMissing(f"this needs the module '{name}'; pip install {name}.") from error
