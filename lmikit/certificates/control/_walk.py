"""A network, chain or graph, as one list of steps, and its maps of z = (x, w, d)."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..._errors import InputError
from ...graph import Graph
from ...graph._nodes import Apply, Input
from ...network import Activation, Network
from ._arithmetic import AbstractArithmetic, Matrix

__all__ = ["Neurons", "Sum", "network_maps", "neurons_of", "reading_neurons", "steps_of"]


@dataclasses.dataclass(frozen=True, eq=False)
class Sum:
    """sum_k maps[k] value(parents[k]) + bias; value 0 is the input, value k + 1 that of step k."""

    maps: tuple[np.ndarray, ...]
    parents: tuple[int, ...]
    bias: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Neurons:
    """activation(value(parent)), one neuron at a time, with slopes in [alpha, beta]."""

    activation: Activation
    alpha: np.ndarray
    beta: np.ndarray
    parent: int


Steps = Sequence[Sum | Neurons]


def steps_of(network: Network | Graph) -> Steps:
    """The steps in topological order, the output last; raises InputError for nonlinearities on groups."""
    steps: list[Sum | Neurons] = []
    if isinstance(network, Network):
        for k, layer in enumerate(network.layers):
            steps.append(Sum((layer.linear.to_dense(),), (len(steps),), layer.bias))
            if k < network.hidden_layers:
                steps.append(Neurons(layer.activation, layer.alpha, layer.beta, len(steps)))
        return steps
    for node in network.nodes:
        if isinstance(node, Input):
            continue
        if not isinstance(node, Apply):
            assert node.bias is not None
            steps.append(Sum(tuple(m.to_dense() for m in node.maps), node.parents, node.bias))
        elif isinstance(node.function, Activation):
            steps.append(Neurons(node.function, node.alpha, node.beta, node.parent))
        else:
            raise InputError(
                f"the network applies {node.function.name} to groups of channels; expected activations of "
                "one neuron each."
            )
    return steps


def neurons_of(network: Network | Graph) -> list[Neurons]:
    """The nonlinear steps, in the order of w."""
    return [step for step in steps_of(network) if isinstance(step, Neurons)]


def _by_source(ops: AbstractArithmetic[Matrix], steps: Steps) -> list[dict[int, Matrix | None]]:
    """Every value's rows by what they multiply: 0 the input, k + 1 the neurons of step k; None is I."""
    rows: list[dict[int, Matrix | None]] = [{0: None}]
    for k, step in enumerate(steps, start=1):
        if isinstance(step, Neurons):
            rows.append({k: None})
            continue
        total: dict[int, Matrix | None] = {}
        for W, p in zip(step.maps, step.parents, strict=True):
            for source, part in rows[p].items():
                term = ops.of(W) if part is None else ops.of(W) @ part
                before = total.get(source)
                total[source] = term if before is None else before + term
        rows.append(total)
    return rows


def network_maps(
    ops: AbstractArithmetic[Matrix], network: Network | Graph, seen: Matrix, direct: Matrix
) -> tuple[Matrix, Matrix]:
    """(V, U): preactivations and outputs, without biases, as maps of z = (x, w, d); the input is
    seen x + direct d."""
    steps = steps_of(network)
    rows = _by_source(ops, steps)
    sizes = {k: s.alpha.size for k, s in enumerate(steps, start=1) if isinstance(s, Neurons)}

    def placed(parts: dict[int, Matrix | None], height: int) -> Matrix:
        if 0 in parts:
            first = parts[0]
            x, d = (seen, direct) if first is None else (first @ seen, first @ direct)
        else:
            x, d = ops.zeros(height, seen.shape[1]), ops.zeros(height, direct.shape[1])
        row: list[Matrix] = [x]
        for source, size in sizes.items():
            part = parts.get(source) if source in parts else ops.zeros(height, size)
            row.append(ops.of(np.eye(size)) if part is None else part)
        row.append(d)
        return ops.block([row])

    V = [placed(rows[s.parent], s.alpha.size) for s in steps if isinstance(s, Neurons)]
    width = seen.shape[1] + sum(sizes.values()) + direct.shape[1]
    top = ops.block([[v] for v in V]) if V else ops.zeros(0, width)
    return top, placed(rows[-1], network.output_dim)


def reading_neurons(network: Network | Graph) -> np.ndarray:
    """Which neurons' preactivations take the input by a path of linear steps, (N,) of bools; zeros count."""
    steps = steps_of(network)
    linear = [True]
    found = [np.zeros(0, dtype=bool)]
    for step in steps:
        if isinstance(step, Neurons):
            found.append(np.full(step.alpha.size, linear[step.parent]))
            linear.append(False)
        else:
            linear.append(any(linear[p] for p in step.parents))
    return np.concatenate(found)
