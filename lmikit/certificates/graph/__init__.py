"""Certificates of graphs and implicit networks: any nonlinearity with a quadratic constraint."""

from . import _check as _check  # registers its checker
from . import _check_implicit as _check_implicit  # registers its checker
from ._certificate import GraphCertificate, verify_graph
from ._format import FORMAT as FORMAT
from ._implicit import ImplicitCertificate, verify_implicit
from ._rows import combinations_proven

__all__ = [
    "GraphCertificate",
    "ImplicitCertificate",
    "combinations_proven",
    "verify_graph",
    "verify_implicit",
]
