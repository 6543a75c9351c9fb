"""Property-based testing of Lipschitz bounds and SDP solvers, for this project and others.

`networks`, `witnesses` and `sdps_with_optimum` are hypothesis strategies, all constructive;
`assert_sound` refutes a bound. Needs hypothesis: pip install 'lmikit[testing]'.
"""

from ._assertions import TRAPS, assert_covers, assert_sound, largest_quotient
from ._collection import NamedSDP, named_sdps, write_collection
from ._exact_sdps import exact_sdps, random_exact
from ._networks import activations, demo_network, networks, slope_classes, weight_matrices
from ._sdps import KnownSDP, degenerate_sdps, infeasible_sdps, sdps_with_optimum, unbounded_sdps
from ._witnesses import witnesses

__all__ = [
    "TRAPS",
    "KnownSDP",
    "NamedSDP",
    "activations",
    "assert_covers",
    "assert_sound",
    "degenerate_sdps",
    "demo_network",
    "exact_sdps",
    "infeasible_sdps",
    "largest_quotient",
    "named_sdps",
    "networks",
    "random_exact",
    "sdps_with_optimum",
    "slope_classes",
    "unbounded_sdps",
    "weight_matrices",
    "witnesses",
    "write_collection",
]
