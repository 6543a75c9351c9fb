"""Terms of activations with two linear pieces that meet at 0: ReLU, LeakyReLU, PReLU, Abs.

phi(v) = left v for v <= 0 and right v for v >= 0. Then for w = phi(v), with sigma = sign(right - left),

    (w - left v)(right v - w) = 0,     sigma (w - left v) >= 0,     sigma (w - right v) >= 0:

one factor of the product vanishes on each side, and sigma (w - left v) = |right - left| max(v, 0),
sigma (w - right v) = |right - left| max(-v, 0). For ReLU: w n = 0, w >= 0, n >= 0 with n = w - v.
"""

from typing import ClassVar

import numpy as np

from ...network import Abs, Activation, LeakyReLU, PReLU, ReLU
from ._terms import AbstractTerm, Coefficients, Parameters, Site, register_term

__all__ = ["PIECES", "PieceProduct", "slopes_of_pieces"]

PIECES = ("piece_product", "piece_left", "piece_right")


def slopes_of_pieces(activation: Activation, neurons: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(left, right), each (neurons,), exact; None for an activation that is not of two such pieces."""
    if type(activation) is ReLU:
        left, right = 0.0, 1.0
    elif type(activation) is Abs:
        left, right = -1.0, 1.0
    elif type(activation) is LeakyReLU:
        left, right = activation.negative_slope, 1.0
    elif type(activation) is PReLU:
        left, right = activation.weight, 1.0
    else:
        return None
    return np.full(neurons, left), np.full(neurons, right)


def _slopes(site: Site) -> tuple[np.ndarray, np.ndarray]:
    slopes = slopes_of_pieces(site.layer.activation, site.neurons)
    assert slopes is not None, "fault() has refused this activation"
    return slopes


class _AbstractPiece(AbstractTerm):
    """What the three share: nothing to prove but that the activation is of two pieces."""

    regional: ClassVar[bool] = False

    def fault(self, site: Site, parameters: Parameters, used: np.ndarray) -> str:
        if slopes_of_pieces(site.layer.activation, site.neurons) is None:
            name = site.layer.activation.name
            return f"the term {self.kind} is of activations with two linear pieces, not of {name}"
        return ""


class PieceProduct(_AbstractPiece):
    """(w - left v)(right v - w) = 0."""

    kind: ClassVar[str] = "piece_product"
    equality: ClassVar[bool] = True

    def coefficients(self, site: Site, parameters: Parameters) -> Coefficients:
        left, right = _slopes(site)
        return {"vv": ((-left, right),), "vw": ((left,), (right,)), "ww": ((-np.ones(site.neurons),),)}


class _PieceLeft(_AbstractPiece):
    """sigma (w - left v) >= 0."""

    kind: ClassVar[str] = "piece_left"
    equality: ClassVar[bool] = False

    def coefficients(self, site: Site, parameters: Parameters) -> Coefficients:
        left, right = _slopes(site)
        sigma = np.where(right >= left, 1.0, -1.0)
        return {"w": ((sigma,),), "v": ((-sigma, left),)}


class _PieceRight(_AbstractPiece):
    """sigma (w - right v) >= 0."""

    kind: ClassVar[str] = "piece_right"
    equality: ClassVar[bool] = False

    def coefficients(self, site: Site, parameters: Parameters) -> Coefficients:
        left, right = _slopes(site)
        sigma = np.where(right >= left, 1.0, -1.0)
        return {"w": ((sigma,),), "v": ((-sigma, right),)}


for _term in (PieceProduct(), _PieceLeft(), _PieceRight()):
    register_term(_term)
