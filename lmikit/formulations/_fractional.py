"""Stand-in until `lmikit.network` has the linear fractional form."""

import dataclasses

import numpy as np
import scipy.sparse as sp

from ..network import Network


@dataclasses.dataclass(frozen=True, eq=False)
class LinearFractional:
    N_vx: sp.csr_array
    N_vw: sp.csr_array
    N_yx: sp.csr_array
    N_yw: sp.csr_array


def linear_fractional(network: Network) -> LinearFractional:
    starts = np.concatenate([[0], np.cumsum(network.dims[:-1])])
    total, n0 = int(starts[-1]), network.input_dim
    rows, cols, data = [], [], []
    for k, layer in enumerate(network.layers):
        W = layer.linear.to_sparse().tocoo()
        rows.append(W.row + starts[k + 1] - n0)
        cols.append(W.col + starts[k])
        data.append(W.data)
    M = sp.csr_array(
        (np.concatenate(data), (np.concatenate(rows), np.concatenate(cols))),
        shape=(total - n0 + network.output_dim, total),
    )
    h = total - n0
    return LinearFractional(M[:h, :n0], M[:h, n0:], M[h:, :n0], M[h:, n0:])
