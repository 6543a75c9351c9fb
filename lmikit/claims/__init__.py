"""What a certificate at a point says: regions of inputs, and the one sentence of the claim."""

from ._point import SEMANTICS, PointClaim
from ._region import AbstractRegion, Ball, BallAndBox, Box, linf_ball

__all__ = ["SEMANTICS", "AbstractRegion", "Ball", "BallAndBox", "Box", "PointClaim", "linf_ball"]
