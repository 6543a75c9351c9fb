"""Pictures of LMI patterns."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from .._errors import BackendMissing, InputError
from ._pattern import aggregate_pattern
from ._sdp import LMI, SDP

__all__ = ["spy"]


def spy(what: LMI | SDP, ax: Any = None) -> Any:
    """Draw where F(y) may be nonzero: constant entries grey, entries that depend on y blue.

    One LMI, or all LMIs of an SDP along one diagonal; lines separate the blocks and the parts of a
    partition. ax: matplotlib axes, new ones unless given; returned. Raises BackendMissing without matplotlib.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise BackendMissing(f"spy needs matplotlib ({error}); pip install 'lmikit[plot]'.") from error
    lmis = [lmi for lmi in ((what,) if isinstance(what, LMI) else what.lmis) if lmi.size]
    if not lmis:
        raise InputError("there is no LMI of positive order to draw.")
    size = sum(lmi.size for lmi in lmis)
    if ax is None:
        _, ax = plt.subplots(figsize=(5, 5))
    marker = max(0.3, 300.0 / size)
    offset = 0
    for lmi in lmis:
        whole = aggregate_pattern(lmi)
        moving = aggregate_pattern(LMI(sp.csc_array(lmi.F0.shape), lmi.P, lmi.Q, lmi.E))
        for pattern, colour in ((whole, "0.7"), (moving, "C0")):
            coo = pattern.tocoo()
            ax.plot(
                coo.col + offset, coo.row + offset, "s", color=colour, markersize=marker, linestyle="none"
            )
        for edge in (0, *np.cumsum(lmi.partition or (lmi.size,)).tolist()):
            strong = edge in (0, lmi.size)
            where, ends = offset + edge - 0.5, (offset - 0.5, offset + lmi.size - 0.5)
            style = {"color": "0.2" if strong else "0.6", "linewidth": 0.8 if strong else 0.4}
            ax.plot([where, where], ends, **style)
            ax.plot(ends, [where, where], **style)
        offset += lmi.size
    ax.set_xlim(-0.5, size - 0.5)
    ax.set_ylim(size - 0.5, -0.5)
    ax.set_aspect("equal")
    ax.set_title(f"order {size}, {sum(aggregate_pattern(lmi).nnz for lmi in lmis)} entries")
    return ax
