"""A forward pass as recorded steps, which become a `Network` where they are a chain, else a `Graph`.

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
from ..graph import Graph, GraphBuilder
from ..network import Activation, Identity, Network, SparseMap, identity_map
from ._chain import Chain, refusal

__all__ = ["ActivationStep", "Steps", "size_of"]

_MOST_TERMS = 4  # of a sum that is kept as one node


@dataclasses.dataclass(frozen=True, eq=False)
class SourceStep:
    """The input."""

    size: int

    @property
    def parents(self) -> tuple[int, ...]:
        return ()


@dataclasses.dataclass(frozen=True, eq=False)
class AffineStep:
    """weight x + bias; an array, a scipy matrix in CSR form or None for no bias."""

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
class SoftmaxStep:
    """A softmax that is left off; nothing may follow it."""

    where: str
    parents: tuple[int, ...]
    size: int


Step = SourceStep | AffineStep | ScalingStep | ActivationStep | SumStep | GatherStep | SoftmaxStep


class Steps:
    """Records steps by number and builds what they compute; sizes must fit `budget` together."""

    def __init__(self, size: int, *, logits: bool, budget: int) -> None:
        self.steps: list[Step] = [SourceStep(size)]
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
        self.spend(where, weight.nnz if sp.issparse(weight) else weight.size)
        if weight.shape[1] != before.size:
            raise InputError(
                f"layer {where} takes {weight.shape[1]} features, but the layers before it give "
                f"{before.size}; expected layers that chain."
            )
        if isinstance(before, GatherStep) and len(before.parents) == 1 and not sp.issparse(weight):
            source = self.steps[before.parents[0]].size
            distinct = np.unique(before.index).size == before.size and not (before.which < 0).any()
            if distinct and source <= 2 * before.size:
                self.spend(where, weight.shape[0] * source)
                moved = np.zeros((weight.shape[0], source), dtype=weight.dtype)
                moved[:, before.index] = weight
                return self.affine(where, before.parents[0], moved, bias)
        return self._append(AffineStep(where, (parent,), weight, bias))

    def scaling(self, where: str, parent: int, scale: Any, offset: Any) -> int:
        """scale * x + offset."""
        size = self.steps[parent].size
        self.spend(where, 2 * size)
        pair = [np.broadcast_to(floats(f"layer {where}", v).reshape(-1), (size,)) for v in (scale, offset)]
        return self._append(ScalingStep(where, (parent,), pair[0], pair[1]))

    def activation(self, where: str, parent: int, activation: Activation) -> int:
        """activation(x)."""
        size = self.steps[parent].size
        self.spend(where, size)
        if isinstance(activation, Identity):
            return parent
        activation.slopes_for(size, f"layer {where}")  # refuses parameters of another size
        return self._append(ActivationStep(where, (parent,), activation, size))

    def sum(self, where: str, parents: Sequence[int], signs: Sequence[int]) -> int:
        """The signed sum of values of one size."""
        size = self.steps[parents[0]].size
        self.spend(where, size * len(parents))
        return self._append(SumStep(where, tuple(parents), tuple(signs), size))

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

    def model(self, output: int) -> Network | Graph:
        """A Network where the steps to `output` are a chain, else a Graph."""
        if isinstance(self.steps[output], SoftmaxStep):
            output = self.steps[output].parents[0]
        path = self._chain(output)
        return self._graph(output) if path is None else self._network(path)

    def _chain(self, output: int) -> list[Step] | None:
        path: list[Step] = []
        while output:
            step = self.steps[output]
            if len(step.parents) != 1 or isinstance(step, SumStep):
                return None
            path.append(step)
            output = step.parents[0]
        return path[::-1]

    def _network(self, path: list[Step]) -> Network:
        size = self.steps[0].size
        if not path:
            return Network.from_arrays([sp.csr_array(sp.eye_array(size))])
        chain = Chain(features=size)
        for step in path:
            if isinstance(step, AffineStep):
                weight = SparseMap(step.weight) if sp.issparse(step.weight) else step.weight
                chain.affine(step.where, weight, step.bias)
            elif isinstance(step, ScalingStep):
                chain.scaling(step.where, step.scale, step.offset)
            elif isinstance(step, ActivationStep):
                chain.activation(step.where, step.activation)
            elif isinstance(step, GatherStep):
                chain.affine(step.where, SparseMap(_picks(step, 0, size)), _fill(step))
            size = step.size
        return chain.network()

    def _graph(self, output: int) -> Graph:
        builder = GraphBuilder()
        values: dict[int, Any] = {0: builder.input(self.steps[0].size)}
        for k in self._needed(output):
            step = self.steps[k]
            given = [values[p] for p in step.parents]
            if isinstance(step, AffineStep):
                weight = SparseMap(step.weight) if sp.issparse(step.weight) else step.weight
                value = weight @ given[0]
                value = value if step.bias is None else value + floats(f"layer {step.where}", step.bias)
            elif isinstance(step, ScalingStep):
                ones = bool((step.scale == 1.0).all())
                value = (
                    given[0] if ones else SparseMap(sp.csr_array(sp.diags_array(step.scale))) @ given[0]
                ) + step.offset
            elif isinstance(step, ActivationStep):
                value = builder.apply(step.activation, given[0])
            elif isinstance(step, SumStep):
                value = sum(
                    (v if sign > 0 else -v for v, sign in zip(given[1:], step.signs[1:], strict=True)),
                    start=given[0] if step.signs[0] > 0 else -given[0],
                )
            else:
                assert isinstance(step, GatherStep)
                value = self._gathered(step, given)
            few = len(value.terms) <= _MOST_TERMS
            values[k] = value if few else identity_map(value.size) @ value
        return builder.output(values[output])

    def _gathered(self, step: GatherStep, given: list[Any]) -> Any:
        if len(given) == 1 and not (step.which < 0).any():
            return given[0][step.index]
        parts = [SparseMap(_picks(step, k, v.size)) @ v for k, v in enumerate(given)]
        value = sum(parts[1:], start=parts[0])
        fill = _fill(step)
        return value if fill is None else value + fill

    def _needed(self, output: int) -> list[int]:
        wanted = {output}
        for k in range(output, 0, -1):
            if k in wanted:
                wanted.update(self.steps[k].parents)
        return sorted(wanted - {0})


def _picks(step: GatherStep, parent: int, size: int) -> sp.csr_array:
    """The 0-1 matrix of the entries that come from one parent."""
    rows = np.flatnonzero(step.which == parent)
    matrix = sp.coo_array((np.ones(rows.size), (rows, step.index[rows])), shape=(step.size, size))
    return sp.csr_array(matrix)


def _fill(step: GatherStep) -> np.ndarray | None:
    constant = step.which < 0
    return np.where(constant, step.fill, 0.0) if constant.any() else None


def size_of(shape: Sequence[int]) -> int:
    """The number of entries, in Python's integers, which do not wrap."""
    return math.prod(int(n) for n in shape)
