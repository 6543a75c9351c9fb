"""Where the methods that solve SDPs start: the best closed-form witness at hand."""

import numpy as np

from .._witness import Witness
from ..formulations import uniform_witness
from ..network import Network
from ..reductions import as_stored
from ._closed_form import ClosedForm
from ._eclipse_fast import EclipseFast
from ._neuron_scaling import NeuronScaling
from ._proposal import smaller_witness

__all__ = ["closed_form_start"]

_SHARE = 0.3  # of the time limit for the start
_CHEAP = 1e8  # sum of cubed widths up to which the closed form takes hundredths of a second


def closed_form_start(network: Network, multipliers: str, time_limit: float | None = None) -> Witness:
    """A feasible witness for `network` itself (no layer scaling).

    "neuron": `NeuronScaling`'s after a share of the time limit, where there is one: the solver may not end in
    time, and what an ascent reaches only improves with the limit. Else `ClosedForm`'s, which costs a tenth;
    small networks get it in any case. "layer": `EclipseFast`'s where that has one multiplier a layer, which
    it does when a layer's neurons have the same slopes, else `uniform_witness`.
    """
    quick = ClosedForm() if time_limit is None else NeuronScaling()
    method = quick if multipliers == "neuron" else EclipseFast()
    limit = None if time_limit is None else _SHARE * time_limit
    witness = method.propose(network, time_limit=limit)
    if limit is not None and multipliers == "neuron" and sum(n**3 for n in network.dims) < _CHEAP:
        witness = smaller_witness(witness, ClosedForm().propose(network))
    if multipliers == "layer" and any(np.ptp(t) > 1e-12 * t.max() for t in witness.multipliers):
        return uniform_witness(network)
    return as_stored(witness)
