"""Positive semidefinite completion of matrices that are known on the cliques of a chordal pattern."""

from collections.abc import Sequence

import numpy as np
import scipy.linalg

from .._errors import InputError
from ._cliques import CliqueTree

__all__ = ["assemble_cliques", "complete"]


def assemble_cliques(blocks: Sequence[np.ndarray], tree: CliqueTree) -> np.ndarray:
    """The matrix (n, n) with these clique blocks, averaged where they overlap, zero elsewhere."""
    total, count = np.zeros((tree.n, tree.n)), np.zeros((tree.n, tree.n))
    for clique, block in zip(tree.cliques, blocks, strict=True):
        if block.shape != (clique.size, clique.size):
            raise InputError(f"a clique of {clique.size} indices got a block of shape {block.shape}.")
        where = np.ix_(clique, clique)
        total[where] += (block + block.T) / 2
        count[where] += 1
    return total / np.maximum(count, 1)


def complete(X: np.ndarray, tree: CliqueTree) -> np.ndarray:
    """The completion of X with the largest determinant: PSD if every clique block X[C, C] is.

    Entries outside the cliques are overwritten. With s the separator of a clique, r the rest of it
    and d what is complete already,  X[r, d] = X[r, s] X[s, s]^+ X[s, d];  on positive definite blocks
    the inverse of the result is zero outside the pattern (Grone, Johnson, Sa and Wolkowicz, 1984).
    X (n, n) symmetric. Not checked: that the clique blocks are PSD.
    """
    if X.shape != (tree.n, tree.n):
        raise InputError(f"X has shape {X.shape}; expected ({tree.n}, {tree.n}).")
    inside = tree.pattern().toarray() > 0
    result = np.where(inside, X, 0.0)
    done = np.zeros(tree.n, dtype=bool)
    for clique, separator in zip(tree.cliques, tree.separators, strict=True):
        rest = np.setdiff1d(clique, separator, assume_unique=True)
        done[separator] = False
        before = np.flatnonzero(done)
        if separator.size and before.size and rest.size:
            inner = scipy.linalg.pinvh(result[np.ix_(separator, separator)])
            cross = result[np.ix_(rest, separator)] @ inner @ result[np.ix_(separator, before)]
            result[np.ix_(rest, before)] = cross
            result[np.ix_(before, rest)] = cross.T
        done[clique] = True
    return result
