"""What a claim at a point can be about: a chain, or a graph that is one up to (max, min) pairs."""

from typing import Any

from ..._errors import InputError
from ...graph import Graph, graph_chain, pairs_as_neurons
from ...network import Network

__all__ = ["point_network"]


def point_network(subject: Any) -> Network:
    """The chain of a subject: a `Network` as it is, a `Graph` rewritten exactly, anew for every proof.

    Pairs become neurons (`lmikit.graph.pairs_as_neurons`), which is the same real function. A bound of
    the rounding of the chain's forward pass is one of the graph's too: max and min are exact and
    1-Lipschitz, and the chain's sums v_2 + r and v_1 - r are charged with the errors of both.
    Raises InputError for other types and for graphs with skips or other groups.
    """
    if isinstance(subject, Network):
        return subject
    if isinstance(subject, Graph):
        return graph_chain(pairs_as_neurons(subject))
    raise InputError(f"network is a {type(subject).__name__}; expected an lmikit.Network or a Graph.")
