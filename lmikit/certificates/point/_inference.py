"""What a claim about float inferences costs: the largest rounding of a forward pass, per row."""

import numpy as np

from ...claims import PointClaim
from ...intervals import rounding_bound
from ...network import Network

__all__ = ["inference_loss"]

_ROOM = 1.0 + 2.0**-10  # for a checker that adds the same terms in another order


def inference_loss(network: Network, claim: PointClaim) -> np.ndarray:
    """At least |rows . (computed f(x) - f(x))| on the region, (R,); 0 for "real", infinity for overflow.

    Raises InputError for activations whose computed values have no agreed error, NotCertified.
    """
    if claim.semantics == "real":
        return np.zeros(len(claim.rows))
    return rounding_bound(network, claim.region, claim.rows, claim.semantics) * _ROOM
