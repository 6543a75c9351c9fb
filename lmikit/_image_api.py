"""Which way a convolutional network goes, and the least proven bound of those within reach."""

import dataclasses
import logging
import time

from ._errors import InputError, LmikitError, NotCertified, SolveFailed
from ._progress import Progress, ProgressCallback
from ._torus_api import torus_lipschitz
from .certificates.graph import GraphCertificate, verify_graph
from .certificates.torus import TorusCertificate
from .graph import Affine, Graph, GraphWitness, chain_graph
from .maps import Convolution2d
from .network import Network, TransposedMap
from .torus import torus_form, torus_work

__all__ = ["ImagePlan", "image_bound", "image_plan"]

_log = logging.getLogger("lmikit")
_NEURONS = 1500  # up to which one multiplier per neuron is solved for, unrolled
_ENTRIES = 2**24  # of one map, unrolled
_LARGEST_WORK = 4e12  # multiplications of one pass over all frequencies
_LARGEST_LEVEL = 6000  # rows of one frequency at two neighbouring maps
_SHARE = 0.5  # of a time limit that the product of norms may take before the torus is left out


@dataclasses.dataclass(frozen=True)
class ImagePlan:
    """`torus`: whether bounds on a torus are looked for beside the product of norms; `reason` says why."""

    torus: bool
    reason: str

    def __str__(self) -> str:
        way = "bounds on a torus and the product of norms" if self.torus else "the product of norms"
        return f"{way}: {self.reason}"


def image_plan(network: Network | Graph) -> ImagePlan | None:
    """How a convolutional network is bounded; None where it is unrolled, as every other network."""
    graph = _graph(network)
    if graph is None or not _convolutions(graph):
        return None
    largest = max(m.shape[0] * m.shape[1] for n in graph.nodes if isinstance(n, Affine) for m in n.maps)
    if graph.hidden_neurons <= _NEURONS and largest <= _ENTRIES:
        return None
    size = f"{graph.hidden_neurons} neurons"
    try:
        work, level = torus_work(graph)
    except InputError as error:
        return ImagePlan(False, f"{size}; {str(error).split(';')[0]}")
    if work > _LARGEST_WORK or level > _LARGEST_LEVEL:
        return ImagePlan(
            False, f"{size}; matrices of {level} rows per frequency, {work:.1e} multiplications, are too many"
        )
    try:
        torus_form(graph)
    except InputError as error:
        return ImagePlan(False, f"{size}; {str(error).split(';')[0]}")
    return ImagePlan(True, f"{size}; at most {level} rows per frequency")


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
    found: list[GraphCertificate | TorusCertificate] = []
    failure: LmikitError | None = None
    try:
        found.append(product_bound(graph, progress))
    except NotCertified as error:
        failure = error
    spent = time.perf_counter() - begin
    left = None if time_limit is None else max(0.0, time_limit - spent)
    if plan.torus and not (found and time_limit is not None and spent > _SHARE * time_limit):
        try:
            found.append(torus_lipschitz(graph, time_limit=left, progress=progress))
        except (InputError, NotCertified, SolveFailed) as error:
            _log.warning("no bound on a torus (%s)", error)
            failure = error
    if not found:
        assert failure is not None
        raise failure
    return min(found, key=lambda c: c.bound)


def product_bound(network: Network | Graph, progress: ProgressCallback | None = None) -> GraphCertificate:
    """Norms along paths, those of large convolutions on a torus; raises NotCertified."""
    graph = chain_graph(network) if isinstance(network, Network) else network
    witness = GraphWitness("norms", produced_by="norms along paths")
    begin = time.perf_counter()
    certificate = verify_graph(graph, witness, progress=progress)
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
