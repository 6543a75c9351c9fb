"""Recorded steps as a `Network` where they are a chain, else as a `Graph`."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from .._convert import floats
from ..graph import Graph, GraphBuilder
from ..network import Network, SparseMap, identity_map
from ._chain import ChainSteps, scaled_rows
from ._steps import (
    ActivationStep,
    AffineStep,
    GatherStep,
    LargestStep,
    ScalingStep,
    SoftmaxStep,
    Step,
    Steps,
    SumStep,
)

__all__ = ["model_of_steps"]

_MOST_TERMS = 4  # of a sum that is kept as one node


def model_of_steps(recorded: Steps, output: int) -> Network | Graph:
    """What the steps up to `output` compute; a softmax there was left off."""
    steps = recorded.steps
    if isinstance(steps[output], SoftmaxStep):
        output = steps[output].parents[0]
    path = _path(steps, output)
    return _graph(steps, output) if path is None else _network(steps[0].size, path)


def _path(steps: list[Step], output: int) -> list[Step] | None:
    path: list[Step] = []
    while output:
        step = steps[output]
        if len(step.parents) != 1 or isinstance(step, (SumStep, LargestStep)):
            return None
        path.append(step)
        output = step.parents[0]
    return path[::-1]


def _network(size: int, path: list[Step]) -> Network:
    if not path:
        return Network.from_arrays([sp.csr_array(sp.eye_array(size))])
    chain = ChainSteps(features=size)
    for step in path:
        if isinstance(step, AffineStep):
            chain.affine(step.where, _weight(step), step.bias)
        elif isinstance(step, ScalingStep):
            chain.scaling(step.where, step.scale, step.offset)
        elif isinstance(step, ActivationStep):
            chain.activation(step.where, step.activation)
        elif isinstance(step, GatherStep):
            chain.affine(step.where, SparseMap(_picks(step, 0, size)), _fill(step))
        size = step.size
    return chain.network()


def _weight(step: AffineStep) -> Any:
    return SparseMap(step.weight) if sp.issparse(step.weight) else step.weight


def _graph(steps: list[Step], output: int) -> Graph:
    builder = GraphBuilder()
    values: dict[int, Any] = {0: builder.input(steps[0].size)}
    for k in _needed(steps, output):
        value = _value(builder, steps[k], [values[p] for p in steps[k].parents])
        few = len(value.terms) <= _MOST_TERMS
        values[k] = value if few else identity_map(value.size) @ value
    return builder.output(values[output])


def _value(builder: GraphBuilder, step: Step, given: list[Any]) -> Any:
    if isinstance(step, AffineStep):
        value = _weight(step) @ given[0]
        return value if step.bias is None else value + floats(f"layer {step.where}", step.bias)
    if isinstance(step, ScalingStep):
        return _scaled(step, given[0])
    if isinstance(step, ActivationStep):
        return builder.apply(step.activation, given[0])
    if isinstance(step, LargestStep):
        return builder.max_pool(given[0], step.windows)
    if isinstance(step, SumStep):
        return sum(
            (v if sign > 0 else -v for v, sign in zip(given[1:], step.signs[1:], strict=True)),
            start=given[0] if step.signs[0] > 0 else -given[0],
        )
    assert isinstance(step, GatherStep)
    return _gathered(step, given)


def _scaled(step: ScalingStep, value: Any) -> Any:
    """scale * value + offset; folded into the map before it where there is one, as in a chain."""
    if (step.scale == 1.0).all():
        return value + step.offset
    bias = step.offset if value.bias is None else step.scale * value.bias + step.offset
    linear, node = value.terms[0]
    if len(value.terms) == 1:
        folded = ((scaled_rows(step.where, linear, step.scale), node),)
        return type(value)(value.builder, value.size, folded, bias)
    diagonal = SparseMap(sp.csr_array(sp.diags_array(step.scale)))
    return (diagonal @ type(value)(value.builder, value.size, value.terms)) + bias


def _gathered(step: GatherStep, given: list[Any]) -> Any:
    if len(given) == 1 and not (step.which < 0).any():
        return given[0][step.index]
    parts = [SparseMap(_picks(step, k, v.size)) @ v for k, v in enumerate(given)]
    value = sum(parts[1:], start=parts[0])
    fill = _fill(step)
    return value if fill is None else value + fill


def _needed(steps: list[Step], output: int) -> list[int]:
    wanted = {output}
    for k in range(output, 0, -1):
        if k in wanted:
            wanted.update(steps[k].parents)
    return sorted(wanted - {0})


def _picks(step: GatherStep, parent: int, size: int) -> sp.csr_array:
    """The 0-1 matrix of the entries that come from one parent."""
    rows = np.flatnonzero(step.which == parent)
    matrix = sp.coo_array((np.ones(rows.size), (rows, step.index[rows])), shape=(step.size, size))
    return sp.csr_array(matrix)


def _fill(step: GatherStep) -> np.ndarray | None:
    constant = step.which < 0
    return np.where(constant, step.fill, 0.0) if constant.any() else None
