"""`LowRank`: exact LMIs of few rank-one terms at the price of dense linear algebra."""

from ._solver import LowRank

__all__ = ["LowRank"]
