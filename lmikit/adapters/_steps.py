"""A forward pass as recorded steps, to be built as a `Network` where they are a chain, else as a `Graph`.

Every value is a vector; what moves entries about (transposing, slicing, concatenating, padding with
constants) is one kind of step, `GatherStep`, and gathers of gathers are joined exactly, so that layouts
which cancel leave nothing behind. The number of entries that a file may ask for is limited before
anything of that size is made.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._convert import floats
from .._errors import InputError
from ..maps import Convolution2d
from ..network import AbstractLinearMap, Activation, Identity, TransposedMap
from ._chain import refusal

__all__ = [
    "ActivationStep",
    "AffineStep",
    "GatherStep",
    "LargestStep",
    "Padding",
    "ScalingStep",
    "SoftmaxStep",
    "SourceStep",
    "Step",
    "Steps",
    "SumStep",
    "size_of",
]


@dataclasses.dataclass(frozen=True, eq=False)
class SourceStep:
    """The input."""

    size: int

    @property
    def parents(self) -> tuple[int, ...]:
        return ()


@dataclasses.dataclass(frozen=True, eq=False)
class AffineStep:
    """weight x + bias; weight: an array, a scipy matrix in CSR form or a linear map; None for no bias."""

    where: str
    parents: tuple[int, ...]
    weight: Any
    bias: Any

    @property
    def size(self) -> int:
        return int(self.weight.shape[0])


@dataclasses.dataclass(frozen=True, eq=False)
class ScalingStep:
    """scale * x + offset per entry."""

    where: str
    parents: tuple[int, ...]
    scale: np.ndarray
    offset: np.ndarray

    @property
    def size(self) -> int:
        return int(self.scale.size)


@dataclasses.dataclass(frozen=True, eq=False)
class ActivationStep:
    """activation(x) per entry."""

    where: str
    parents: tuple[int, ...]
    activation: Activation
    size: int


@dataclasses.dataclass(frozen=True, eq=False)
class SumStep:
    """The sum of signs[k] times the value of parents[k]."""

    where: str
    parents: tuple[int, ...]
    signs: tuple[int, ...]
    size: int


@dataclasses.dataclass(frozen=True, eq=False)
class GatherStep:
    """Entry i is entry index[i] of parents[which[i]], or the constant fill[i] where which[i] is -1."""

    where: str
    parents: tuple[int, ...]
    which: np.ndarray
    index: np.ndarray
    fill: np.ndarray

    @property
    def size(self) -> int:
        return int(self.which.size)


@dataclasses.dataclass(frozen=True, eq=False)
class LargestStep:
    """Entry i is the largest of the entries windows[i] of the parent."""

    where: str
    parents: tuple[int, ...]
    windows: tuple[np.ndarray, ...]

    @property
    def size(self) -> int:
        return len(self.windows)


@dataclasses.dataclass(frozen=True, eq=False)
class SoftmaxStep:
    """A softmax that is left off; nothing may follow it."""

    where: str
    parents: tuple[int, ...]
    size: int


Step = (
    SourceStep | AffineStep | ScalingStep | ActivationStep | SumStep | GatherStep | LargestStep | SoftmaxStep
)


@dataclasses.dataclass(frozen=True)
class Padding:
    """What a step pads with zeros: a value of this shape, by (before, after) of each axis."""

    parent: int
    shape: tuple[int, ...]
    amounts: tuple[tuple[int, int], ...]


class Steps:
    """Records steps by number; sizes must fit `budget` together."""

    def __init__(self, size: int, *, logits: bool, budget: int) -> None:
        self.steps: list[Step] = [SourceStep(size)]
        self.paddings: dict[int, Padding] = {}
        self._logits, self._left = logits, budget

    def spend(self, where: str, entries: int) -> None:
        """Refuse what is out of proportion to the file, before it is made."""
        self._left -= int(entries)
        if self._left < 0:
            raise refusal(where, "an operation whose result is out of proportion to the file")

    def _append(self, step: Step) -> int:
        for parent in step.parents:
            before = self.steps[parent]
            if isinstance(before, SoftmaxStep):
                raise InputError(
                    f"layer {getattr(step, 'where', '')} follows the softmax {before.where}; expected it at "
                    "the end."
                )
        self.steps.append(step)
        return len(self.steps) - 1

    def affine(self, where: str, parent: int, weight: Any, bias: Any = None) -> int:
        """weight x + bias; a gather of distinct entries before a dense weight moves its columns, exactly."""
        before = self.steps[parent]
        self.spend(where, _entries(weight))
        if weight.shape[1] != before.size:
            raise InputError(
                f"layer {where} takes {weight.shape[1]} features, but the layers before it give "
                f"{before.size}; expected layers that chain."
            )
        if isinstance(before, GatherStep) and len(before.parents) == 1 and not sp.issparse(weight):
            source = self.steps[before.parents[0]].size
            distinct = np.unique(before.index).size == before.size and not (before.which < 0).any()
            if distinct and source <= 2 * before.size:
                return self.affine(
                    where, before.parents[0], self._moved(where, weight, before.index, source), bias
                )
        return self._append(AffineStep(where, (parent,), weight, bias))

    def _moved(self, where: str, weight: Any, index: np.ndarray, source: int) -> Any:
        """The weight that takes `source` entries of which its columns are `index`; exact."""
        if isinstance(weight, AbstractLinearMap):
            matrix = weight.to_sparse().tocoo()
            self.spend(where, matrix.nnz)
            places = matrix.coords[0], index[matrix.coords[1]]
            return sp.csr_array(sp.coo_array((matrix.data, places), shape=(matrix.shape[0], source)))
        self.spend(where, weight.shape[0] * source)
        moved = np.zeros((weight.shape[0], source), dtype=weight.dtype)
        moved[:, index] = weight
        return moved

    def permutation(self, parent: int) -> GatherStep | None:
        """The step if it is a permutation of the entries of one value."""
        step = self.steps[parent]
        if not isinstance(step, GatherStep) or len(step.parents) != 1 or (step.which < 0).any():
            return None
        if step.size != self.steps[step.parents[0]].size or np.unique(step.index).size != step.size:
            return None
        return step

    def _permuted(self, where: str, step: int, moved: GatherStep) -> int:
        return self.gather(where, [step], moved.which, moved.index, moved.fill)

    def scaling(self, where: str, parent: int, scale: Any, offset: Any) -> int:
        """scale * x + offset; after a permutation of entries, before it."""
        size = self.steps[parent].size
        self.spend(where, 2 * size)
        pair = [np.broadcast_to(floats(f"layer {where}", v).reshape(-1), (size,)) for v in (scale, offset)]
        moved = self.permutation(parent)
        if moved is not None:
            back = np.argsort(moved.index)
            step = self.scaling(where, moved.parents[0], pair[0][back], pair[1][back])
            return self._permuted(where, step, moved)
        return self._append(ScalingStep(where, (parent,), pair[0], pair[1]))

    def activation(self, where: str, parent: int, activation: Activation) -> int:
        """activation(x)."""
        size = self.steps[parent].size
        self.spend(where, size)
        if isinstance(activation, Identity):
            return parent
        activation.slopes_for(size, f"layer {where}")  # refuses parameters of another size
        moved = self.permutation(parent)
        if moved is not None and all(np.ndim(v) == 0 for v in activation.parameters().values()):
            return self._permuted(where, self.activation(where, moved.parents[0], activation), moved)
        return self._append(ActivationStep(where, (parent,), activation, size))

    def sum(self, where: str, parents: Sequence[int], signs: Sequence[int]) -> int:
        """The signed sum of values of one size."""
        size = self.steps[parents[0]].size
        self.spend(where, size * len(parents))
        return self._append(SumStep(where, tuple(parents), tuple(signs), size))

    def largest(self, where: str, parent: int, windows: Sequence[np.ndarray]) -> int:
        """The largest entry of each window, a list of indices."""
        self.spend(where, 4 * sum(w.size for w in windows))
        if all(w.size == 1 for w in windows):
            index = np.concatenate(list(windows))
            return self.gather(where, [parent], np.zeros(index.size, np.int64), index, np.zeros(index.size))
        return self._append(LargestStep(where, (parent,), tuple(windows)))

    def softmax(self, where: str, parent: int, what: str) -> int:
        """Left off if it comes last and logits were asked for, refused otherwise."""
        if not self._logits:
            raise refusal(
                where, what, "leave it off, or pass logits=True for the network up to a softmax at the end"
            )
        return self._append(SoftmaxStep(where, (parent,), self.steps[parent].size))

    def gather(
        self, where: str, parents: Sequence[int], which: np.ndarray, index: np.ndarray, fill: np.ndarray
    ) -> int:
        """Entries of values and constants, with the gathers among the values joined."""
        self.spend(where, 4 * which.size)
        if not which.size:
            raise refusal(where, "an operation that leaves no entries")
        new_which, new_index, new_fill = which.copy(), index.copy(), fill.copy()
        known: dict[int, int] = {}
        for k, parent in enumerate(parents):
            here = which == k
            if not here.any():
                continue
            step = self.steps[parent]
            if not isinstance(step, GatherStep):
                new_which[here] = known.setdefault(parent, len(known))
                continue
            numbers = np.array([known.setdefault(p, len(known)) for p in step.parents] + [-1])
            taken = index[here]
            new_which[here] = numbers[step.which[taken]]
            new_index[here], new_fill[here] = step.index[taken], step.fill[taken]
        if not known:
            raise refusal(where, "a part of the model that does not depend on its input")
        if len(known) == 1 and not (new_which < 0).any():
            parent = next(iter(known))
            if np.array_equal(new_index, np.arange(self.steps[parent].size)):
                return parent
        return self._append(GatherStep(where, tuple(known), new_which, new_index, new_fill))


def _entries(weight: Any) -> int:
    """The numbers that a weight holds and gives."""
    if isinstance(weight, TransposedMap):
        return _entries(weight.original)
    if isinstance(weight, Convolution2d):
        return int(weight.kernel.size + sum(weight.shape))
    if isinstance(weight, AbstractLinearMap):
        return int(weight.to_sparse().nnz)
    return int(weight.nnz if sp.issparse(weight) else weight.size)


def size_of(shape: Sequence[int]) -> int:
    """The number of entries, in Python's integers, which do not wrap."""
    return math.prod(int(n) for n in shape)
