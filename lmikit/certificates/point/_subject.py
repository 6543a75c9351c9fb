"""What a claim at a point can be about: a chain, or a graph that is rewritten as one."""

from typing import Any

from ..._errors import InputError
from ...graph import Affine, Graph, carried_chain, graph_chain, is_chain, pairs_as_neurons
from ...maps import Convolution2d
from ...network import Network, TransposedMap

__all__ = ["point_network", "require_semantics"]

_ENTRIES = 2**27  # of all convolutions unrolled: some 2 GB


def point_network(subject: Any) -> Network:
    """The chain of a subject: a `Network` as it is, a `Graph` rewritten exactly, anew for every proof.

    (max, min) pairs and max-pooling become neurons, what skips pass is carried along by neurons with
    phi(v) = v (`lmikit.graph.pairs_as_neurons`, `carried_chain`): the same real function.

    Of float inferences that is another one: see `require_semantics`.
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


def require_semantics(subject: Any, semantics: str) -> None:
    """Raise InputError where a claim about float inferences cannot be proven by the chain of a subject.

    `carried_chain` adds up at once what the graph adds up in several nodes, and what cancels exactly is gone:
    (h + 2**30) - 2**30 is h there, while a float32 pass of the graph loses every digit of it, and sums that
    are scaled down later may overflow first. (A chain of a graph's own nodes has their roundings.)
    """
    if semantics != "real" and isinstance(subject, Graph) and not is_chain(pairs_as_neurons(subject)):
        raise InputError(
            f"semantics is {semantics!r} for a graph with skips or max-pooling; expected 'real': the "
            "roundings of its passes are not those of the chain that is proven. Chains take float semantics."
        )
