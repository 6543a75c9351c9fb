"""L_ij in torch or JAX, differentiated by the framework: the product of norms, `TrainableMultipliers`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._errors import InputError
from ._namespace import eye_like, namespace
from ._pair_multipliers import slopes_of

__all__ = ["pairwise_gains", "product_gains"]


def product_gains(matrices: Sequence[Any]) -> Any:
    """L_ij = |w_i - w_j| prod_k |W_k|, w_i the rows of the last of these matrices, |W_k| norms of the others.

    As `ProductGain`, and with one matrix as `NonexpansiveGain`: the layers before it are taken to be
    1-Lipschitz. torch tensors or JAX arrays (m, n) on their device, or NumPy's. Raises InputError for others.
    """
    shapes = [tuple(w.shape) for w in matrices if hasattr(w, "shape")]
    if hasattr(matrices, "shape") or not len(matrices) or any(len(shape) != 2 for shape in shapes):
        what = f"one array of shape {tuple(matrices.shape)}" if hasattr(matrices, "shape") else shapes
        raise InputError(f"matrices is {what}; expected a list of matrices [W0, ..., WL], (out, in) each.")
    last = matrices[-1]
    xp = namespace(last)
    squares = ((last[:, None] - last[None]) ** 2).sum(axis=2)
    apart = squares > 0.0
    gains = xp.where(apart, xp.sqrt(xp.where(apart, squares, 1.0)), 0.0)
    for W in matrices[:-1]:
        wide = W.shape[0] <= W.shape[1]
        gains = gains * xp.sqrt(xp.linalg.eigvalsh(W @ W.T if wide else W.T @ W)[-1])
    return gains


def pairwise_gains(weights: Sequence[Any], activation: str = "relu") -> Any:
    """L (m, m) of [W0, b0, ..., WL, bL] and multipliers, torch tensors or JAX arrays, on their device.

    The arrays are those of `TrainableMultipliers.start`, in its order, and so is the value; gradients are the
    framework's. With equal rows w_i = w_j, L_ij = 0 has no gradient. Raises InputError for arrays
    of another kind or number, OptionError for another activation, BackendMissing without the framework.
    """
    xp = namespace(weights[0])
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
        H = xp.linalg.solve(eye_like(xp, K[:1]) - K @ Q / (2.0 * c)[:, None, None], K)
        T = (c[:, None] * s)[:, :, None]
        K = 0.5 * (beta - alpha) ** 2 * T * eye_like(xp, (T + xp.swapaxes(T, -1, -2))[:1])
        if alpha + beta:
            K = K + 0.25 * (alpha + beta) ** 2 * (xp.swapaxes(W, -1, -2) @ H @ W)
    gains = xp.sqrt(_largest(xp, K, (maps[0] @ maps[0].T)[None]))
    place = np.zeros((maps[-1].shape[0],) * 2, dtype=np.int64)
    place[first, second] = place[second, first] = np.arange(1, len(first) + 1)
    return xp.concatenate([xp.zeros_like(gains[:1]), gains])[place]


def _largest(xp: Any, K: Any, Q: Any) -> Any:
    """lambda_max(K Q) per pair."""
    if K.shape[1] == 1:
        return (K * Q)[:, 0, 0]
    C = xp.linalg.cholesky(K)
    return xp.linalg.eigvalsh(xp.swapaxes(C, -1, -2) @ Q @ C)[:, -1]
