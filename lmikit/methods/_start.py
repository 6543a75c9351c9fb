"""Where the methods that solve SDPs start: the best closed-form witness at hand."""

import dataclasses

import numpy as np

from .._witness import Witness
from ..formulations import scale_witness, uniform_witness
from ..network import Network
from ._closed_form import ClosedForm
from ._eclipse_fast import EclipseFast
from ._layer_scaling import LayerScaling

__all__ = ["closed_form_start"]


def closed_form_start(network: Network, multipliers: str, time_limit: float | None = None) -> Witness:
    """A feasible witness for `network` itself (no layer scaling).

    "neuron": `LayerScaling`'s under a time limit, where the start may be all that there is in the end,
    else `ClosedForm`'s, which costs a tenth. "layer": `EclipseFast`'s where that has one multiplier a layer,
    which it does when a layer's neurons have the same slopes, else `uniform_witness`.
    """
    quick = ClosedForm() if time_limit is None else LayerScaling()
    method = quick if multipliers == "neuron" else EclipseFast()
    witness = method.propose(network, time_limit=time_limit)
    if multipliers == "layer" and any(np.ptp(t) > 1e-12 * t.max() for t in witness.multipliers):
        return uniform_witness(network)
    pow2 = witness.layer_pow2
    plain = dataclasses.replace(witness, layer_pow2=())
    return scale_witness(plain, tuple(-p for p in pow2)) if any(pow2) else plain
