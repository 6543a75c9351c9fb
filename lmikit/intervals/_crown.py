"""CROWN with every rounding accounted for: linear lower bounds carried back to the input.

Zhang, Weng, Chen, Hsieh, Daniel, NeurIPS 2018, Theorem 3.2. A row r of the preactivation of layer k is
kept as  r >= A x_j + d - e  on the domain, x_j the values after hidden layer j. Through phi_j: positive
entries of A meet the line below, negative ones the line above; through W_{j-1}: A <- A' W, d <- d + A' b.
A is whatever the floats are; what a rounding changed in A is paid for in e, with |v_j| and |x_{j-1}|
bounded by the intervals of the layers already done, so that one matrix-vector product per step pays
for all of them (`_rounding`). A batch of boxes has a leading axis: A (B, m, n), d and e (B, m), lines (B, n);
each product of the batch is a sum of as many products as without it, so the same constants hold. Without
a batch A may be sparse, as it is for the neurons of the first convolutions.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..network import DenseMap, Layer, Network
from ._concretise import lower_bounds
from ._domain import Domain
from ._enclosure import below
from ._relaxation import Relaxation
from ._rounding import SAFE, TINY, U, gamma, sums, times

__all__ = ["AbsoluteAffine", "affine_of", "crown_lower"]


@dataclasses.dataclass(frozen=True, eq=False)
class AbsoluteAffine:
    """v = W x + b with W dense or CSR, and |W|."""

    matrix: Any
    size: Any
    bias: np.ndarray

    @property
    def fan_in(self) -> int:
        """n, the columns of W."""
        return int(self.matrix.shape[1])


def affine_of(layer: Layer) -> AbsoluteAffine:
    """The affine part of a layer, as a matrix whose products are plain sums of products."""
    linear = layer.linear
    matrix = linear.to_dense() if isinstance(linear, DenseMap) else linear.to_sparse()
    return AbsoluteAffine(matrix, abs(matrix), layer.bias)


def affine_maps(network: Network) -> tuple[AbsoluteAffine, ...]:
    """One per layer."""
    return tuple(affine_of(layer) for layer in network.layers)


def crown_lower(
    maps: Sequence[AbsoluteAffine],
    relaxations: Sequence[Relaxation],
    domain: Domain,
    rows: Any,
    depth: int,
) -> np.ndarray:
    """Numbers at or below rows (m, n) times the affine map `depth` of x on the domain, (m,) or (B, m).

    `relaxations` are those of the hidden layers 1..depth at least.
    """
    with np.errstate(all="ignore"):
        a, d, e = _through_map(maps[depth], rows, np.zeros(rows.shape[0]), np.zeros(rows.shape[0]), None)
        e = e + _rounding_of_map(maps[depth], rows, _input_size(relaxations, domain, depth))
        for j in range(depth, 0, -1):
            a, d, e = _through_activation(relaxations[j - 1], a, d, e)
            line = a
            a, d, e = _through_map(maps[j - 1], line, d, e, relaxations[j - 1].argument)
            e = e + _rounding_of_map(maps[j - 1], line, _input_size(relaxations, domain, j - 1))
        a = a.toarray() if sp.issparse(a) else a
        return below(below(lower_bounds(domain, a) + d) - e * SAFE)


def _input_size(relaxations: Sequence[Relaxation], domain: Domain, depth: int) -> np.ndarray:
    """Upper bounds of |x_depth|."""
    return relaxations[depth - 1].magnitude if depth else domain.magnitude


def _through_map(
    affine: AbsoluteAffine, a: Any, d: np.ndarray, e: np.ndarray, argument: np.ndarray | None
) -> tuple[Any, np.ndarray, np.ndarray]:
    """(A W, d + A b, e + their cost); `argument` bounds |v| where A itself was rounded once."""
    size = abs(a)
    n = a.shape[-1]
    shifted = d + a @ affine.bias
    cost = gamma(n + 2) * (size @ np.abs(affine.bias) + np.abs(d))
    cost = cost + TINY * (1.0 + np.abs(affine.bias).sum())
    if argument is not None:
        cost = cost + U * SAFE * times(size, argument) + TINY * (1.0 + sums(argument))
    return _product(a, affine.matrix), shifted, e + cost * SAFE


def _product(a: Any, matrix: Any) -> Any:
    """A W; a batch as one product of a taller matrix."""
    if sp.issparse(a):
        result = a @ matrix
        filled = sp.issparse(result) and result.nnz > 0.3 * result.shape[0] * result.shape[1]
        return result.toarray() if filled else result
    if a.ndim == 2:
        return np.asarray(a @ matrix)
    return np.asarray(a.reshape(-1, a.shape[-1]) @ matrix).reshape(*a.shape[:-1], -1)


def _rounding_of_map(affine: AbsoluteAffine, a: Any, values: np.ndarray) -> np.ndarray:
    """What the rounding of A W may change in A W x, |x| <= values."""
    reach = values @ affine.size.T
    tiny = TINY * (1.0 + sums(values) + sums(reach))
    return (gamma(a.shape[-1] + 1) * times(abs(a), reach) + tiny) * SAFE


def _through_activation(
    r: Relaxation, a: Any, d: np.ndarray, e: np.ndarray
) -> tuple[Any, np.ndarray, np.ndarray]:
    """(A', d', e') with A phi(v) + d >= A' v + d' up to e'; the rounding of A' is paid by the next map."""
    if sp.issparse(a):
        positive, negative = a.maximum(0.0), a.minimum(0.0)
        line = sp.csr_array(positive.multiply(r.low_slope) + negative.multiply(r.up_slope))
    else:
        positive, negative = np.maximum(a, 0.0), np.minimum(a, 0.0)
        line = positive * r.low_slope[..., None, :] + negative * r.up_slope[..., None, :]
    constant = d + (times(positive, r.low) + times(negative, r.up))
    largest = np.maximum(np.abs(r.low), np.abs(r.up))
    tiny = TINY * (1.0 + sums(largest))
    cost = gamma(2 * a.shape[-1] + 4) * (times(abs(a), largest) + np.abs(d)) + tiny
    return line, constant, e + cost * SAFE
