"""Witnesses with one multiplier per neuron, by the factored dual or by Newton on the output's matrix."""

import dataclasses
import math

import numpy as np
import scipy.sparse as sp

from .._arrays import blas_threads
from .._errors import SolveFailed
from .._progress import ProgressCallback
from .._witness import Witness
from ..formulations.graph import OutputGain
from ..formulations.graph._gain import spread
from ..graph import Affine, Apply, Graph, GraphWitness, Input, Part
from ..graph._form import eliminate
from ..network import Network, Slopes
from ._graph_factored import factored_optimum
from ._output_newton import OutputOptimum, output_newton
from ._proposal import Run

__all__ = ["chain_optimum", "feasible_start", "gap_of", "neuron_witness", "suits_output"]

_POWERS, _ROOM = 30, 1.1  # of norms of maps
_SMALL_BLOCK = 1024  # rows up to which one BLAS thread is quicker
_STAGE = "one multiplier per neuron"
_LABEL = "truncated Newton"
_OUTPUTS = 8, 20  # with fewer the matrix of the output says too little, with more it costs too much
_WIDEST = {1: 128, 2: 128, 3: 192}  # neurons of the widest of so many hidden layers: LowRank is slower
_STEPS, _CHAIN_STEPS = 400, 60  # of Newton's method; chains that end take half of them, others go to LowRank
_FACTORED_PASSES = 320
_FINE_GAP = 0.01  # times the tolerance: the dual in factored form ends there at little cost
_HEADROOM = 1e-8  # relative, in rho, and once more per 1000 neurons, for the proof


def neuron_witness(
    gain: OutputGain,
    start: np.ndarray | None,
    *,
    tolerance: float,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> GraphWitness:
    """A witness with one multiplier per neuron and the least rho for them, on the output.

    By the dual in factored form; where that does not come within `tolerance`, by Newton's method from its
    multipliers, from `start` (Lambda of the kept channels) or from `feasible_start`, the first that is
    feasible. At `time_limit` (seconds) the best so far is returned; raises SolveFailed where no start is
    feasible in floating point.
    """
    run = Run(_STAGE, time_limit, progress)
    with blas_threads(1 if gain.rows <= _SMALL_BLOCK else None), np.errstate(all="ignore"):
        found = factored_optimum(gain, run, _FINE_GAP * tolerance, _FACTORED_PASSES)
    name = "BurerMonteiro"
    if found is None or found.gap > tolerance:
        better = _optimum(gain, _better_start(gain, found, start), tolerance, run)
        if better is not None and (found is None or better.rho < found.rho):
            least = max(better.rho_at_least, 0.0 if found is None else found.rho_at_least)
            found, name = dataclasses.replace(better, rho_at_least=least), _LABEL
    if found is None:
        raise SolveFailed("the LMI has no start that is feasible in floating point; rescale the layers.")
    part = Part(np.ones(1), np.array([found.rho]), spread(gain.form, found.multipliers))
    return GraphWitness(
        "dissipation",
        parts=(part,),
        produced_by=f"{_STAGE}, {name}",
        optimum_at_least=_root(found),
    )


def _better_start(
    gain: OutputGain, found: OutputOptimum | None, start: np.ndarray | None
) -> np.ndarray | None:
    """Of what was found and what was given, the one with the smaller rho."""
    if found is None or start is None:
        return start if found is None else found.multipliers
    point = gain.at(start)
    return start if point is not None and point.rho < found.rho else found.multipliers


def suits_output(network: Network) -> bool:
    """Whether a chain is of the sizes at which Newton's method on the output's matrix is the quicker one."""
    hidden = network.dims[1:-1]
    if len(hidden) not in _WIDEST or max(hidden) < _WIDEST[len(hidden)]:
        return False
    linear = any((alpha == beta).any() for alpha, beta in network.slopes)
    return _OUTPUTS[0] <= network.output_dim <= _OUTPUTS[1] and not linear


def gap_of(witness: Witness) -> float:
    """Relative, in rho, to `optimum_at_least`."""
    claimed = math.ldexp(math.sqrt(witness.rho), sum(witness.layer_pow2))
    return 1.0 - ((witness.optimum_at_least or 0.0) / claimed) ** 2


def chain_optimum(
    network: Network,
    start: Witness,
    *,
    tolerance: float,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> Witness | None:
    """The witness of a chain, strictly feasible, from another one; None where no start is.

    Neither has powers of two; no neuron is linear. `optimum_at_least` says how far it came.
    """
    gain = OutputGain(eliminate(_graph_of(network)))
    given = np.concatenate([2.0 / start.rho * t for t in start.multipliers])
    same = gain.variables == given.size
    run = Run(_STAGE, time_limit, progress)
    found = _optimum(gain, given if same else None, tolerance, run, _CHAIN_STEPS)
    if found is None:
        return None
    rho = found.rho * (1.0 + _HEADROOM * (1.0 + gain.variables / 1000.0))
    multipliers = tuple(rho * t for t in spread(gain.form, found.multipliers))
    return Witness("lipsdp", rho, multipliers, produced_by=_LABEL, optimum_at_least=_root(found))


def _optimum(
    gain: OutputGain, start: np.ndarray | None, tolerance: float, run: Run, steps: int = _STEPS
) -> OutputOptimum | None:
    threads = 1 if gain.rows <= _SMALL_BLOCK else None
    with blas_threads(threads), np.errstate(all="ignore"):
        found = None if start is None else output_newton(gain, start, run, tolerance, steps)
        return output_newton(gain, feasible_start(gain), run, tolerance, steps) if found is None else found


def _root(found: OutputOptimum) -> float | None:
    return float(np.sqrt(found.rho_at_least)) if found.rho_at_least > 0.0 else None


def _graph_of(network: Network) -> Graph:
    """The chain with the slopes that its layers have, perhaps narrower than their activations'."""
    nodes: list[Input | Affine | Apply] = [Input(network.input_dim)]
    for k, layer in enumerate(network.layers):
        nodes.append(Affine((layer.linear,), (len(nodes) - 1,), layer.bias))
        if k < network.hidden_layers:
            slopes = Slopes(layer.alpha, layer.beta)
            nodes.append(Apply(slopes, len(nodes) - 1, layer.linear.shape[0]))
    return Graph(tuple(nodes))


def feasible_start(gain: OutputGain) -> np.ndarray:
    """Multipliers of any graph, a number per node, well inside the LMI: those of the product of norms.

    With X_s >= x_s what elimination leaves of the sources that node k reads, G = V X^-1 V' is at most
    sum ||V_ks||^2 / x_s, and Lambda_k = 1 / (2 r^2 G) keeps half of K, so X_k >= Lambda_k / (1 + c^2 / r^2)
    (`_recursion`, Lemma 1).
    What a source has is divided among the nodes that read it. Norms are estimates from below.
    """
    nodes, output = gain.nodes, gain.output
    readers = {s: sum(s in node.rows for node in nodes.values()) + (s in output) for s in gain.sizes}
    left, result = {0: 1.0}, []
    for k, node in nodes.items():
        gram = sum(readers[s] * _norm_square(rows.matrix) / left[s] for s, rows in node.rows.items())
        weight = 1.0 / (2.0 * node.square * gram)
        left[k] = float((weight / (1.0 + node.centre**2 / node.square)).min())
        result.append(weight)
    return np.concatenate(result)


def _norm_square(matrix: np.ndarray | sp.csr_array) -> float:
    """||A||^2 by power iteration, slightly raised."""
    v = np.random.default_rng(0).standard_normal(matrix.shape[1])
    size = 1.0
    for _ in range(_POWERS):
        v = matrix.T @ (matrix @ (v / np.linalg.norm(v)))
        size = float(np.linalg.norm(v))
        if size == 0.0:
            return 1e-300
    return _ROOM * size
