"""Fewer inputs and outputs: W_0 becomes R' where W_0' = QR, the last map its R, where these are smaller.

||W_0 x|| and ||W_L w|| keep their ranges: the constant is the same.
"""

import dataclasses
from typing import ClassVar, Self

import numpy as np
import scipy.linalg

from .._arrays import blas_threads
from .._witness import Witness
from ..network import AbstractLinearMap, DenseMap, Network
from ._chain import AbstractChainReduction, bounds_only

__all__ = ["Compression"]

_LARGEST = 50_000_000  # entries; beyond that a dense QR costs more than it saves
_LARGEST_RANKED = 250_000  # entries; where only a lack of rank could shrink the map
_WORTH_THREADS = 4_000_000  # entries; on 784 x 50 two busy threads were 400 times slower than one


@dataclasses.dataclass(frozen=True, eq=False)
class Compression(AbstractChainReduction):
    """`network` has as many inputs and outputs as the ranks of its first and last map."""

    network: Network
    exact: ClassVar[bool] = False
    keeps_norms: ClassVar[bool] = True

    @classmethod
    def apply(cls, network: Network, thorough: bool) -> Self | None:
        """At once only what the shapes show."""
        maps = [layer.linear for layer in network.layers]
        ranked = _LARGEST_RANKED if thorough else 0
        first = _fewer_rows(maps[0], ranked, transposed=True)
        maps[0] = maps[0] if first is None else DenseMap(np.ascontiguousarray(first.T))
        last = _fewer_rows(maps[-1], ranked)
        maps[-1] = maps[-1] if last is None else DenseMap(last)
        return None if first is None and last is None else cls(bounds_only(maps, network.slopes))

    def _undone(self, witness: Witness) -> Witness:
        return witness


def _fewer_rows(linear: AbstractLinearMap, ranked: int, transposed: bool = False) -> np.ndarray | None:
    """R of W = QR (or W' = QR) without its zero rows, where that has fewer rows than W (or W')."""
    rows, columns = linear.shape[::-1] if transposed else linear.shape
    if rows * columns > (_LARGEST if rows > columns else ranked):
        return None  # before anything dense is made of a sparse map
    with blas_threads(1 if rows * columns < _WORTH_THREADS else None):
        w = np.ascontiguousarray(linear.to_dense().T) if transposed else linear.to_dense()
        factor, order = scipy.linalg.qr(w, mode="r", pivoting=True, check_finite=False)
    diagonal = np.abs(np.diagonal(factor))
    rank = int((diagonal > np.finfo(float).eps * max(rows, columns) * diagonal[0]).sum())
    if max(rank, 1) >= rows:
        return None
    result = np.zeros((max(rank, 1), columns))
    result[:, order] = factor[: max(rank, 1)]
    return result
