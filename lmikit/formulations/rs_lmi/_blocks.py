"""Sketched layerwise LMIs as blocks of an `SDP`: min sum_k tau_k s.t. S_k'(tau_k I - W_k'W_k)S_k >= 0."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from ..._errors import InputError
from ...lmi import LMI, SDP
from ...network import Network
from ...sketching import AbstractSketch, Gaussian
from ._layers import Pencil, layer_pencil, network_operators, sketch_size

__all__ = ["sketched_block", "sketched_network_sdp", "sketched_sdp"]


def sketched_block(pencil: Pencil, variable: int, variables: int, name: str = "") -> LMI:
    """tau S'S - S'W'W S >= 0 with tau = y[variable], size m: F0 = -gram, P = Q = R' with metric = R'R.

    Raises InputError where S has dependent columns.
    """
    try:
        factor = np.linalg.cholesky(pencil.metric)
    except np.linalg.LinAlgError as error:
        raise InputError(
            "the sketch has dependent columns; draw a smaller one or orthonormalise it (Haar)."
        ) from error
    m = factor.shape[0]
    rows = sp.csc_array(factor)
    ones = sp.csc_array((np.ones(m), (np.arange(m), np.full(m, variable))), shape=(m, variables))
    gram = 0.5 * (pencil.gram + pencil.gram.T)
    return LMI(sp.csc_array(-gram), rows, rows, ones, name=name)


def sketched_sdp(pencils: Sequence[Pencil]) -> SDP:
    """Minimise sum_k tau_k over one block per pencil; y = (tau_0, ..., tau_L)."""
    count = len(pencils)
    blocks = tuple(sketched_block(p, k, count, f"sketched layer {k}") for k, p in enumerate(pencils))
    return SDP(np.ones(count), blocks)


def sketched_network_sdp(
    network: Network, m: int | None = None, sketch: AbstractSketch | None = None, *, seed: int = 0
) -> SDP:
    """The sketched layerwise SDP of a network for any solver; its optimum is that of `sketched_taus`.

    A relaxation of min sum_k tau_k s.t. tau_k I - W_k'W_k >= 0: its solution estimates from below.
    """
    sketch = sketch or Gaussian()
    pencils = []
    for k, operator in enumerate(network_operators(network)):
        projection = sketch.draw(operator, sketch_size(m, operator), seed=seed + k)
        pencils.append(layer_pencil(operator, projection))
    return sketched_sdp(pencils)
