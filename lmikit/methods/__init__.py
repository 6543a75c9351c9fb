"""What a user asks for: methods that propose witnesses."""

from ._base import AbstractMethod
from ._burer_monteiro import BurerMonteiro
from ._closed_form import ClosedForm
from ._eclipse import Eclipse
from ._eclipse_fast import EclipseFast
from ._layer_scaling import LayerScaling
from ._lipsdp import LipSDP
from ._neuron_scaling import NeuronScaling
from ._rs_lmi import RSLMI
from ._spectral import SpectralProduct

__all__ = [
    "RSLMI",
    "AbstractMethod",
    "BurerMonteiro",
    "ClosedForm",
    "Eclipse",
    "EclipseFast",
    "LayerScaling",
    "LipSDP",
    "NeuronScaling",
    "SpectralProduct",
]
