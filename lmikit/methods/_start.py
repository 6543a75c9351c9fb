"""Where the methods that solve SDPs start: the best closed-form witness at hand."""

import dataclasses

from .._witness import Witness
from ..formulations import scale_witness
from ..network import Network
from ._layer_scaling import LayerScaling

__all__ = ["closed_form_start"]


def closed_form_start(network: Network, time_limit: float | None = None) -> Witness:
    """`LayerScaling`'s witness, for `network` itself (no layer scaling)."""
    witness = LayerScaling().propose(network, time_limit=time_limit)
    pow2 = witness.layer_pow2
    plain = dataclasses.replace(witness, layer_pow2=())
    return scale_witness(plain, tuple(-p for p in pow2)) if any(pow2) else plain
