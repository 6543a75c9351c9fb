"""What a claim at a point can be about: a chain, or a graph that is rewritten as one."""

from typing import Any

from ..._errors import InputError
from ...graph import Affine, Graph, carried_chain, graph_chain, is_chain, pairs_as_neurons
from ...maps import Convolution2d
from ...network import Network, TransposedMap

__all__ = ["point_network"]

_ENTRIES = 2**27  # of all convolutions unrolled: some 2 GB


def point_network(subject: Any) -> Network:
    """The chain of a subject: a `Network` as it is, a `Graph` rewritten exactly, anew for every proof.

    (max, min) pairs and max-pooling become neurons, what skips pass is carried along by neurons with
    phi(v) = v (`lmikit.graph.pairs_as_neurons`, `carried_chain`): the same real function.

    A bound of the rounding of the chain's forward pass is one of the graph's too. Sums: what the graph adds
    up in several nodes the chain adds up at once, with the same terms; a term passes at most as many
    roundings as the chain charges, one per nonzero term of the row, and what the graph copies or negates is
    exact. Maxima: a max is exact and 1-Lipschitz, and the chain's sum b + relu(a - b) is charged with the
    errors of both.
    Raises InputError for other types, other groups, skips beside curved activations, and graphs with skips
    whose convolutions have more than 2**27 entries unrolled.
    """
    if isinstance(subject, Network):
        return subject
    if isinstance(subject, Graph):
        plain = pairs_as_neurons(subject)
        if is_chain(plain):
            return graph_chain(plain)
        _refuse_too_large(plain)
        return carried_chain(plain)
    raise InputError(f"network is a {type(subject).__name__}; expected an lmikit.Network or a Graph.")


def _refuse_too_large(graph: Graph) -> None:
    entries = 0
    for node in graph.nodes:
        for linear in node.maps if isinstance(node, Affine) else ():
            inner = linear.original if isinstance(linear, TransposedMap) else linear
            if isinstance(inner, Convolution2d):
                entries += inner.shape[0] * (inner.kernel.size // inner.kernel.shape[0])
    if entries > _ENTRIES:
        raise InputError(
            f"the convolutions of this graph have {entries:.3g} entries unrolled; claims at a point of "
            f"graphs with skips or pooling go to {_ENTRIES:.3g}. Global bounds per pair of classes "
            "(lmikit.pairwise_bounds) unroll nothing."
        )
