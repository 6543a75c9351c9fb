"""Multipliers for the linear neurons that a reduction merged away.

Let hidden layer h be linear, w_h = A v_h, A = diag(alpha), in a group of maps that ends in layer b, and
d_h = w_h - A v_h. In the coordinates (d_h, the other states) the LMI of the original chain is that
of the merged chain, plus 2 d_h'T_h d_h, with v_b replaced by v_b + B_h d_h,
B_h = W_b A_{b-1} ... A_{h+1} W_{h+1}. If the merged LMI has slack eps times its diagonal part (what the
geometric repair adds when it multiplies L by about 1 + eps (L + 1)), then by a Schur complement on d_h

    eps 2 T_h  >=  B_h'(S^2/2 + 4 |Pi|) T_b B_h,     or   eps 2 T_h >= B_h'B_h   if b is the output,

suffices up to a factor that counts the merged layers. T_h is the smallest multiple of the diagonal of
the right-hand side that does it. A smaller eps loosens L less but makes the LMI worse conditioned,
so that its proof in float64 loosens L more: n^2 u / eps against eps, for layers of n neurons. With
eps = 1e-7 n the sum was 1e-7 to 3e-6 for one or two merged layers of 5 to 80 neurons, 1e-5 for 400.
"""

import numpy as np
import scipy.linalg

from .._arrays import blas_threads
from ._network import Network

__all__ = ["merged_multipliers"]

_EPS = 1e-7


def merged_multipliers(
    chain: Network, group: tuple[int, ...], t_end: np.ndarray | None
) -> dict[int, np.ndarray]:
    """Multipliers per merged hidden layer (index of the map before it) of one group.

    `chain` is the original chain of the neurons that are left, scaled as the witness says;
    `t_end` is the multiplier of the hidden layer that the group ends in, None for the output.
    """
    last = chain.layers[group[-1]]
    weight = np.ones(last.linear.shape[0])
    if t_end is not None:
        weight = (0.5 * (last.alpha + last.beta) ** 2 + 4.0 * np.abs(last.alpha * last.beta)) * t_end
    eps = _EPS * max(chain.dims[1:-1], default=1)
    result = {}
    onward = last.linear.to_dense()
    for k in reversed(group[:-1]):
        result[k] = 0.5 / eps * len(group) * _dominating_diagonal(onward.T @ (weight[:, None] * onward))
        layer = chain.layers[k]
        onward = (onward * layer.alpha) @ layer.linear.to_dense()
    return result


def _dominating_diagonal(gram: np.ndarray) -> np.ndarray:
    """A positive multiple of the diagonal of a PSD matrix that dominates it, up to rounding."""
    diagonal = np.diagonal(gram)
    largest = float(diagonal.max())
    if not largest > 0.0:
        return np.ones_like(diagonal)
    diagonal = np.maximum(diagonal, np.finfo(float).tiny + 1e-30 * largest)  # neurons may differ in scale
    root = np.sqrt(diagonal)
    n = gram.shape[0]
    with blas_threads(1):
        factor = scipy.linalg.eigvalsh(gram / np.outer(root, root), subset_by_index=[n - 1, n - 1])[0]
    return np.asarray(diagonal * float(factor))
