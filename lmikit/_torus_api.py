"""`torus_lipschitz`: bounds of convolutional networks whose unrolled matrices are never built."""

import dataclasses
import logging
import time
from typing import Any

import numpy as np

from ._arrays import array_module as module_named
from ._errors import InputError, LmikitError, SolveFailed
from ._progress import Progress, ProgressCallback
from .certificates.torus import TorusCertificate, verify_torus
from .certificates.torus._proofs import fault
from .formulations.torus import exchanged, fast_torus, headed
from .graph import Graph, chain_graph
from .methods._graph_factored import dual_gain
from .methods._proposal import Run
from .network import Network
from .torus import TorusForm, TorusWitness, torus_form

__all__ = ["torus_lipschitz"]

_log = logging.getLogger("lmikit")
_LARGEST_ORDER = 1500  # rows per frequency up to which the LMI is solved
_LARGEST_NEURONS, _PASSES = 300_000, 30  # of the lower end where the solver has none
_LARGEST_NUMBERS, _LARGEST_WORK = 1e8, 2e10  # of a step with fully connected layers at the end


def torus_lipschitz(
    network: Network | Graph,
    *,
    cells: tuple[int, int] | None = None,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
    warm_start: TorusCertificate | TorusWitness | None = None,
    array_module: str = "numpy",
) -> TorusCertificate:
    """Prove ||f(x) - f(x')||_2 <= L ||x - x'||_2 of a convolutional network with one multiplier per channel.

    Images are embedded in a torus of `cells` cells (None: the least admissible; every larger one is valid and
    may show a slightly different bound), where zero padding becomes circular and the inequality splits into
    one small matrix per frequency (docs/convolutions.md). The multipliers per channel (per neuron in fully
    connected layers) that are best on the torus are solved for, in at most `time_limit` seconds before the
    proof; every iterate is feasible, and the best is proven. Where that fails, or a frequency has a matrix of
    too many rows, Fast's are taken, a scalar per layer. The bound is at most the product of the layers' norms
    on the torus and at least what one multiplier per neuron shows of the network unrolled.
    `witness.optimum_at_least` is the solver's own lower end, not proven, or where it has none and time is
    left that of one multiplier per neuron. `warm_start` is an earlier result
    for a network of the same layers (weights before a step of training, less time, another torus): the search
    begins at its multipliers where they are of use. It changes how long the search takes, and proves nothing.
    `array_module` names where the search computes ("cupy" on a GPU); the proof is the CPU's.

    Read: convolutions with zero padding, strides, dilation, groups, their adjoints, average pooling, sums
    before an activation, slopes per channel, and a chain of fully connected layers at the end. Raises
    InputError for anything else, for an inadmissible torus and for a `warm_start` whose multipliers are not
    of this network's sizes, finite and >= 0; BackendMissing, SolveFailed and NotCertified.
    """
    if isinstance(network, Network):
        network = chain_graph(network)
    if not isinstance(network, Graph):
        raise InputError(f"network is a {type(network).__name__}; expected an lmikit.Network or Graph.")
    if cells is not None and not _is_pair(cells):
        raise InputError(f"cells is {cells!r}; expected two integers >= 1, rows and columns, or None.")
    module_named(array_module)  # a missing one is an error, and no reason to prove less
    begin = time.perf_counter()
    form = torus_form(network, None if cells is None else (int(cells[0]), int(cells[1])))
    warm = None if warm_start is None else _start(form, warm_start)
    fast = _fast(form)
    seconds = time.perf_counter() - begin
    if progress is not None:
        progress(Progress("Fast on the torus", 0, objective=fast.d_out**0.5, seconds=seconds))
    left = None if time_limit is None else time_limit - seconds
    if (left is not None and left <= 0.0 and warm is None) or not _solvable(form) or not _moves(form.graph):
        return verify_torus(network, fast)
    try:
        solve = exchanged if form.head is None else headed
        best = solve(form, time_limit=left, progress=progress, arrays=array_module, warm_start=warm)
        if best.optimum_at_least is None:
            left = None if time_limit is None else time_limit - (time.perf_counter() - begin)
            best = dataclasses.replace(best, optimum_at_least=_per_neuron(form, left))
        return verify_torus(network, best)
    except LmikitError as error:
        _log.warning("the torus LMI gave no bound (%s); Fast is proven instead", error)
    return verify_torus(network, fast)


def _moves(graph: Graph) -> bool:
    """Whether the output depends on the input where slopes are generic: with a zero map on every path the
    LMI has no scale, and nothing to search for."""
    rng = np.random.default_rng(0)
    moved = graph.pushed(
        rng.standard_normal((graph.input_dim, 1)), lambda node, k, v: v * rng.standard_normal(v.shape)
    )
    return bool(moved[-1].any())


def _per_neuron(form: TorusForm, time_limit: float | None) -> float | None:
    """What one multiplier per neuron shows at least, which one per channel does not fall below."""
    if form.graph.hidden_neurons > _LARGEST_NEURONS or (time_limit is not None and time_limit <= 0.0):
        return None
    return dual_gain(form.graph, Run("lower end", time_limit, None), _PASSES)


def _is_pair(cells: Any) -> bool:
    return (
        isinstance(cells, tuple | list)
        and len(cells) == 2
        and all(isinstance(m, int | np.integer) and not isinstance(m, bool) and m >= 1 for m in cells)
    )


def _start(form: TorusForm, given: TorusCertificate | TorusWitness) -> TorusWitness:
    """The witness where it fits the form, for this torus and whatever output weight."""
    witness = given.witness if isinstance(given, TorusCertificate) else given
    if not isinstance(witness, TorusWitness):
        raise InputError(
            f"warm_start is a {type(given).__name__}; expected a TorusCertificate or a TorusWitness."
        )
    witness = dataclasses.replace(witness, cells=form.cells, d_out=1.0)
    wrong = fault(form, witness)
    if wrong:
        raise InputError(
            f"warm_start does not fit the network: {wrong}; expected the result of torus_lipschitz for a "
            "network of the same layers."
        )
    return witness


def _fast(form: TorusForm) -> TorusWitness:
    try:
        return fast_torus(form)
    except (np.linalg.LinAlgError, OverflowError, ValueError) as error:  # matrices that are not finite
        raise SolveFailed(
            f"the closed form on the torus left the range of float64 ({error}); expected layers whose gains "
            "lie between 1e-100 and 1e100. Rescale them."
        ) from error


def _solvable(form: TorusForm) -> bool:
    """Whether there is anything to solve for, and memory and minutes suffice for it."""
    order = sum(form.size(k) for k in (0, *form.nodes))
    if form.head is None or not form.nodes:
        return bool(form.nodes) and order <= _LARGEST_ORDER
    count, width = len(form.grid[0]), form.head.width
    channels, neurons = sum(form.channels), sum(len(form.slopes(k)[0]) for k in form.head_nodes)
    numbers = max(count * order * (order + width), channels * width**2, (channels + neurons) ** 2)
    return numbers <= _LARGEST_NUMBERS and count * order**3 <= _LARGEST_WORK
