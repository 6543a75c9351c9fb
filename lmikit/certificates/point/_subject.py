"""What a claim at a point can be about: a chain, or a graph that is rewritten as one."""

from typing import Any

from ..._errors import InputError
from ...graph import Graph, carried_chain, graph_chain, is_chain, pairs_as_neurons
from ...network import Network

__all__ = ["point_network"]


def point_network(subject: Any) -> Network:
    """The chain of a subject: a `Network` as it is, a `Graph` rewritten exactly, anew for every proof.

    (max, min) pairs and max-pooling become neurons, what skips pass is carried along by neurons with
    phi(v) = v (`lmikit.graph.pairs_as_neurons`, `carried_chain`): the same real function.

    A bound of the rounding of the chain's forward pass is one of the graph's too. Sums: what the graph adds
    up in several nodes the chain adds up at once, with the same terms; a term passes at most as many
    roundings as the chain charges, one per nonzero term of the row, and what the graph copies or negates is
    exact. Maxima: a max is exact and 1-Lipschitz, and the chain's sum b + relu(a - b) is charged with the
    errors of both.
    Raises InputError for other types, other groups, and skips beside curved activations.
    """
    if isinstance(subject, Network):
        return subject
    if isinstance(subject, Graph):
        plain = pairs_as_neurons(subject)
        return graph_chain(plain) if is_chain(plain) else carried_chain(plain)
    raise InputError(f"network is a {type(subject).__name__}; expected an lmikit.Network or a Graph.")
