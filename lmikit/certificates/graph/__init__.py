"""Certificates of graphs: any norms of input and output, any nonlinearity with a quadratic constraint."""

from . import _check as _check  # registers its checker
from ._certificate import GraphCertificate, verify_graph

__all__ = ["GraphCertificate", "verify_graph"]
