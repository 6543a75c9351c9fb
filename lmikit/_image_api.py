"""Which way a convolutional network goes, and the least proven bound of those within reach."""

import dataclasses
import logging
import time
from collections.abc import Callable

import numpy as np

from ._errors import InputError, LmikitError, NotCertified, SolveFailed
from ._progress import Progress, ProgressCallback
from ._torus_api import torus_lipschitz
from .certificates.graph import GraphCertificate, verify_graph
from .certificates.torus import TorusCertificate
from .formulations.graph import OutputGain, dense_rows
from .graph import Affine, Graph, GraphWitness, chain_graph
from .graph._form import eliminate
from .maps import Convolution2d
from .methods._output_witness import neuron_witness
from .network import Network, TransposedMap
from .torus import torus_form, torus_work

__all__ = ["ImagePlan", "image_bound", "image_plan"]

Found = GraphCertificate | TorusCertificate

_log = logging.getLogger("lmikit")
_NEURONS = 1500  # up to which one multiplier per neuron is solved for, unrolled
_ENTRIES = 2**24  # of one map, unrolled
_LARGEST_WORK = 4e12  # multiplications of one pass over all frequencies
_LARGEST_LEVEL = 6000  # rows of one frequency at two neighbouring maps
_LARGEST_DENSE = 5000  # rows of the dense matrix of one multiplier per neuron
_LARGEST_NEURONS, _LARGEST_OUTPUT = 8000, 256  # and inputs
_GAP = 2e-4  # to the best multipliers per neuron, relative in L^2
_HEADROOM = 1e-7, 1e-5  # relative, in L^2, for the proof
_LEAST_LIMIT = 5.0  # seconds: small networks get their norms whatever the limit
_SHARE = 0.5  # of a time limit that the product of norms may take before the torus is left out


@dataclasses.dataclass(frozen=True)
class ImagePlan:
    """What is looked for beside the product of norms, and why.

    `torus`: bounds on a torus; `neurons`: one multiplier per neuron, unrolled.
    """

    torus: bool
    reason: str
    neurons: bool = False

    def __str__(self) -> str:
        way = "bounds on a torus and the product of norms" if self.torus else "the product of norms"
        return f"{'one multiplier per neuron, ' if self.neurons else ''}{way}: {self.reason}"


def image_plan(network: Network | Graph) -> ImagePlan | None:
    """How a convolutional network is bounded; None where it is unrolled, as every other network."""
    graph = _graph(network)
    if graph is None or not _convolutions(graph):
        return None
    largest = max(m.shape[0] * m.shape[1] for n in graph.nodes if isinstance(n, Affine) for m in n.maps)
    if graph.hidden_neurons <= _NEURONS and largest <= _ENTRIES:
        return None
    size, neurons = f"{graph.hidden_neurons} neurons", False
    if graph.hidden_neurons <= _LARGEST_NEURONS and largest <= _ENTRIES:
        fits = graph.input_dim <= _LARGEST_NEURONS and graph.output_dim <= _LARGEST_OUTPUT
        rows = dense_rows(graph) if fits else None
        neurons = rows is not None and rows <= _LARGEST_DENSE
        size += f", {rows} of them and inputs in a dense matrix" if neurons else ""
    try:
        work, level = torus_work(graph)
    except InputError as error:
        return ImagePlan(False, f"{size}; {str(error).split(';')[0]}", neurons)
    if work > _LARGEST_WORK or level > _LARGEST_LEVEL:
        return ImagePlan(
            False,
            f"{size}; matrices of {level} rows per frequency, {work:.1e} multiplications, are too many",
            neurons,
        )
    try:
        torus_form(graph)
    except InputError as error:
        return ImagePlan(False, f"{size}; {str(error).split(';')[0]}", neurons)
    return ImagePlan(True, f"{size}; at most {level} rows per frequency", neurons)


def image_bound(
    network: Network | Graph,
    plan: ImagePlan,
    *,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> GraphCertificate | TorusCertificate:
    """The least of the product of norms and, where the plan says so, the torus; raises NotCertified."""
    graph, begin = _graph(network), time.perf_counter()
    assert graph is not None
    found: list[Found] = []
    failure: LmikitError | None = None
    try:
        found.append(product_bound(graph, time_limit, progress))
    except NotCertified as error:
        failure = error

    def left() -> float | None:
        return None if time_limit is None else max(0.0, time_limit - (time.perf_counter() - begin))

    def tried(way: Callable[[], Found]) -> None:
        nonlocal failure
        try:
            found.append(way())
        except (InputError, NotCertified, SolveFailed) as error:
            _log.warning("a way of bounding the network gave nothing (%s)", error)
            failure = error

    if not (found and time_limit is not None and time.perf_counter() - begin > _SHARE * time_limit):
        if plan.torus:  # Fast's multipliers alone where they are but a start
            limit = 0.0 if plan.neurons else left()
            tried(lambda: torus_lipschitz(graph, time_limit=limit, progress=progress))
        if plan.neurons:
            tried(lambda: _per_neuron(graph, found, left(), progress))
    if not found:
        assert failure is not None
        raise failure
    return min(found, key=lambda c: c.bound)


def _per_neuron(
    graph: Graph, found: list[Found], left: float | None, progress: ProgressCallback | None
) -> GraphCertificate:
    """From the multipliers per channel of a torus, if there are any, to one per neuron."""
    begin = time.perf_counter()
    form = eliminate(graph)
    tied = next((c.witness for c in found if isinstance(c, TorusCertificate)), None)
    start = None
    if tied is not None:
        channels = zip(graph.applied, (*tied.multipliers, *tied.head), strict=True)
        full = [(np.repeat(t, graph.nodes[k].size // t.size), form.kept[k]) for k, t in channels]
        start = np.concatenate([2.0 / tied.d_in * t[kept] for t, kept in full])
    left = None if left is None else max(0.0, left - (time.perf_counter() - begin))
    witness = neuron_witness(OutputGain(form), start, tolerance=_GAP, time_limit=left, progress=progress)
    (part,) = witness.parts
    for headroom in _HEADROOM:
        raised = dataclasses.replace(part, d_out=part.d_out * (1.0 + headroom))
        witness = dataclasses.replace(witness, parts=(raised,))
        try:
            return verify_graph(graph, witness, repair=False)
        except NotCertified as error:
            _log.info("not proven with a headroom of %g (%s)", headroom, error)
    return verify_graph(graph, witness)


def product_bound(
    network: Network | Graph, time_limit: float | None, progress: ProgressCallback | None
) -> GraphCertificate:
    """Norms along paths, those of large convolutions on a torus; raises NotCertified.

    Norms that are left at the limit are bounded by sums of entries.
    """
    graph = chain_graph(network) if isinstance(network, Network) else network
    witness = GraphWitness("norms", produced_by="norms along paths")
    begin = time.perf_counter()
    limit = None if time_limit is None else max(time_limit, _LEAST_LIMIT)
    certificate = verify_graph(graph, witness, time_limit=limit, progress=progress)
    if progress is not None:
        seconds = time.perf_counter() - begin
        progress(Progress("norms along paths", 0, objective=certificate.bound, seconds=seconds))
    return certificate


def _graph(network: Network | Graph) -> Graph | None:
    if isinstance(network, Graph):
        return network
    try:
        return chain_graph(network)
    except InputError:  # slopes that hold on a region only
        return None


def _convolutions(graph: Graph) -> bool:
    maps = (m for node in graph.nodes if isinstance(node, Affine) for m in node.maps)
    return any(isinstance(m.original if isinstance(m, TransposedMap) else m, Convolution2d) for m in maps)
