"""Reductions: smaller networks with the same Lipschitz bounds, and the way back for their witnesses."""

from ._base import AbstractReduction, Prepared, prepare
from ._compression import Compression
from ._layer_powers import LayerPowers, as_stored, scale_witness
from ._linear_layers import LinearLayers
from ._neurons import NeuronPowers
from ._zeros import Zeros

__all__ = [
    "BALANCED",
    "REDUCTIONS",
    "AbstractReduction",
    "Compression",
    "LayerPowers",
    "LinearLayers",
    "NeuronPowers",
    "Prepared",
    "Zeros",
    "as_stored",
    "prepare",
    "reduce",
    "scale_witness",
]

from .._witness import Witness
from ..network import Network

Kinds = tuple[type[AbstractReduction[Network, Witness]], ...]

#: In this order: later ones rely on the range and on the shapes that earlier ones leave.
REDUCTIONS: Kinds = (LayerPowers, Zeros, LinearLayers, Compression)
#: For multipliers by neuron: one for a whole layer leaves no freedom to scale its neurons.
BALANCED: Kinds = (*REDUCTIONS, NeuronPowers)


def reduce(network: Network) -> Prepared[Network, Witness]:
    """The smaller network with the same Lipschitz bounds, by all of `REDUCTIONS`."""
    return prepare(network, REDUCTIONS)
