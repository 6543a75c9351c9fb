"""RS-LMI: sketched layerwise LMIs, their penalties, and what follows for the Lipschitz constant.

Theorem. If every activation is 1-Lipschitz then L <= prod_k |W_k|, and |W|^2 = min tau s.t.
tau I - W'W >= 0. The sketched constraint S'(tau I - W'W)S >= 0 (arXiv 2506.23977) is a relaxation:
its optimum, a Rayleigh-Ritz value, estimates |W|^2 from below and bounds nothing.
"""

from ._blocks import sketched_block, sketched_network_sdp, sketched_sdp
from ._global import sketched_lipsdp, sketched_lipsdp_estimate
from ._layers import Pencil, layer_operator, layer_pencil, network_operators, sketched_taus
from ._penalties import (
    PENALTIES,
    AbstractPenalty,
    Hinge,
    LogDet,
    Objective,
    PenaltyTerm,
    SoftplusPenalty,
    SquaredHinge,
    objective,
    sketched_penalty,
    spectrum,
)
from ._slopes import gain_product, loop_transformed_bound, loop_transformed_norms, slope_gains

__all__ = [
    "PENALTIES",
    "AbstractPenalty",
    "Hinge",
    "LogDet",
    "Objective",
    "PenaltyTerm",
    "Pencil",
    "SoftplusPenalty",
    "SquaredHinge",
    "gain_product",
    "layer_operator",
    "layer_pencil",
    "loop_transformed_bound",
    "loop_transformed_norms",
    "network_operators",
    "objective",
    "sketched_block",
    "sketched_lipsdp",
    "sketched_lipsdp_estimate",
    "sketched_network_sdp",
    "sketched_penalty",
    "sketched_sdp",
    "sketched_taus",
    "slope_gains",
    "spectrum",
]
