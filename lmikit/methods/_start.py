"""Where the methods that solve SDPs start: the best closed-form witness at hand."""

import dataclasses

import numpy as np

from .._witness import Witness
from ..formulations import scale_witness, uniform_witness
from ..network import Network
from ._eclipse_fast import EclipseFast
from ._layer_scaling import LayerScaling

__all__ = ["closed_form_start"]


def closed_form_start(network: Network, multipliers: str, time_limit: float | None = None) -> Witness:
    """A feasible witness for `network` itself (no layer scaling).

    "neuron": `LayerScaling`'s. "layer": `EclipseFast`'s where that has one multiplier per layer, which
    it does when a layer's neurons have the same slopes, else `uniform_witness`.
    """
    method = LayerScaling() if multipliers == "neuron" else EclipseFast()
    witness = method.propose(network, time_limit=time_limit)
    if multipliers == "layer" and any(np.ptp(t) > 1e-12 * t.max() for t in witness.multipliers):
        return uniform_witness(network)
    pow2 = witness.layer_pow2
    plain = dataclasses.replace(witness, layer_pow2=())
    return scale_witness(plain, tuple(-p for p in pow2)) if any(pow2) else plain
