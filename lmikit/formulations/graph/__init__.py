"""LipSDP of graphs: the eliminated form with levels, constraints of every node, l2 or other norms."""

from ._constraints import GroupIdentities
from ._elimination import dense_rows
from ._gain import GraphGain
from ._norms import GraphNorms
from ._output_gain import OutputGain
from ._relaxed_gain import relaxed_gain

__all__ = ["GraphGain", "GraphNorms", "GroupIdentities", "OutputGain", "dense_rows", "relaxed_gain"]
