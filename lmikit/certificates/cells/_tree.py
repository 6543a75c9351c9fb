"""The witness: a tree of splits in depth-first order, with multipliers for the cells that are empty."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ..._errors import NotCertified
from ._cells import Cell, CellTheory, Pairs
from ._emptiness import Emptiness
from ._interior import InteriorPoint

__all__ = ["BOUND", "EMPTY", "CellTree", "CellWitness", "leaves"]

BOUND, EMPTY = -1, -2


@dataclasses.dataclass(frozen=True, eq=False)
class CellTree:
    """`codes` (nodes,) in depth-first order: a neuron i >= 0 of the first layer that is not decided is
    split, the side v > 0 first; BOUND is a leaf whose Jacobians are bounded, EMPTY one that is proven empty
    by the next entry of `empties`.
    """

    codes: tuple[int, ...]
    empties: tuple[Emptiness, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class CellWitness:
    """What is proposed: slopes on the region, certified tails (texts, k = 0, ..., L - 1), a tree, a point."""

    slopes: Pairs
    tails: tuple[str | None, ...]
    tree: CellTree
    point: InteriorPoint | None


def leaves(theory: CellTheory, tree: CellTree) -> Iterator[tuple[Cell, Emptiness | None]]:
    """Every leaf with its proof of emptiness, or None for a leaf to be bounded.

    Raises NotCertified where the codes are no tree of splits of this network: coverage is what the
    traversal itself proves.
    """
    stack, used = [theory.root()], 0
    for code in tree.codes:
        if not stack:
            raise NotCertified("the tree goes on behind its last leaf.")
        cell = stack.pop()
        if code == BOUND:
            yield cell, None
        elif code == EMPTY:
            if used == len(tree.empties):
                raise NotCertified("the tree has more empty cells than proofs of emptiness.")
            used += 1
            yield cell, tree.empties[used - 1]
        else:
            if cell.linear or not 0 <= code < cell.chosen.size or not np.isnan(cell.chosen[code]):
                raise NotCertified(f"neuron {code} of hidden layer {cell.layer} is not there to be split.")
            positive, negative = theory.split(cell, code)
            stack += [negative, positive]
    if stack or used != len(tree.empties):
        raise NotCertified("the tree ends before its last leaf, or proofs are left over.")
