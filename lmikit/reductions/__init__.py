"""Reductions: smaller networks with the same Lipschitz bounds, and the way back for their witnesses."""

from ._base import AbstractReduction, Prepared, prepare
from ._compression import Compression
from ._group_neurons import GroupNeurons
from ._layer_powers import LayerPowers, as_stored, scale_witness
from ._linear_layers import LinearLayers
from ._neurons import NeuronPowers
from ._node_powers import NodePowers, gains_along_paths
from ._zeros import Zeros

__all__ = [
    "BALANCED",
    "FOR_GAINS",
    "FOR_NORMS",
    "REDUCTIONS",
    "AbstractReduction",
    "Compression",
    "GroupNeurons",
    "LayerPowers",
    "LinearLayers",
    "NeuronPowers",
    "NodePowers",
    "Prepared",
    "Zeros",
    "as_stored",
    "gains_along_paths",
    "prepare",
    "reduce",
    "scale_witness",
]

from .._witness import Witness
from ..graph import Graph, GraphWitness
from ..network import Network

ChainKinds = tuple[type[AbstractReduction[Network, Witness]], ...]
GraphKinds = tuple[type[AbstractReduction[Graph, GraphWitness]], ...]

#: In this order: later ones rely on the range and on the shapes that earlier ones leave.
REDUCTIONS: ChainKinds = (LayerPowers, Zeros, LinearLayers, Compression)
#: For multipliers by neuron: one for a whole layer leaves no freedom to scale its neurons.
BALANCED: ChainKinds = (*REDUCTIONS, NeuronPowers)
#: Of graphs, for norms (p, q); the l2 gain may have fewer neurons too.
FOR_NORMS: GraphKinds = (NodePowers,)
FOR_GAINS: GraphKinds = (GroupNeurons, *FOR_NORMS)


def reduce(network: Network) -> Prepared[Network, Witness]:
    """The smaller network with the same Lipschitz bounds, by all of `REDUCTIONS`."""
    return prepare(network, REDUCTIONS)
