"""A lower end of what multipliers can show: the gain of a relaxed process, by weak duality.

Columns of increments S with sum over columns (w_i - c v_i)^2 <= r^2 v_i^2 for every channel i, v = V S: the
LMI rho |x|^2 - |y|^2 >= sum_i Lambda_i (r^2 v_i^2 - (w_i - c v_i)^2), summed over the columns, says that

    sum |Y S|^2 <= rho sum |S_0|^2   for every rho that any Lambda >= 0 can show.
"""

import numpy as np

from ._alternating import Columns
from ._output_gain import OutputGain

__all__ = ["relaxed_gain"]


def relaxed_gain(gain: OutputGain, states: Columns) -> float:
    """sum |Y S|^2 / sum |S_0|^2 for `states` made admissible; up to rounding at most every rho.

    The channels are passed in order: what a neuron deviates from c v is kept where it is small enough, else
    shortened. The least rho of multipliers that are best comes out where they are and `states` are dual.
    """
    found, before = {0: states[0]}, gain.seen(states)
    for k, node in gain.nodes.items():
        v = sum(rows.matrix @ found[s] for s, rows in node.rows.items())
        c = node.centre[:, None]
        deviation = states[k] - c * before[k]
        size = np.linalg.norm(deviation, axis=1)
        room = np.sqrt(node.square) * np.linalg.norm(v, axis=1)
        kept = np.where(size > room, room / np.where(size > 0.0, size, 1.0), 1.0)
        found[k] = np.asarray(c * v + kept[:, None] * deviation)
    y = sum(columns.T @ found[s] for s, columns in gain.output.items())
    size_in, size_out = float((found[0] ** 2).sum()), float((np.asarray(y) ** 2).sum())
    return size_out / size_in if size_in > 0.0 else 0.0
