"""Terms of neurons without a nonlinearity, phi(v) = v: w - v = 0 and (w - v)^2 = 0.

Those are whole layers, and neurons that carry a value beside others (PReLU with the slope 1 below 0).

With a free multiplier for the first and a large one for the second, a proof says what multiplying the
layer into the next one would say, without a product of matrices that is to be rounded.
"""

from typing import ClassVar

import numpy as np

from ...network import Identity
from ._pieces import slopes_of_pieces
from ._terms import AbstractTerm, Coefficients, Parameters, Site, register_term

__all__ = ["LINEAR_TERMS"]

LINEAR_TERMS = ("linear_line", "linear_square")


class _AbstractLinear(AbstractTerm):
    equality: ClassVar[bool] = True
    regional: ClassVar[bool] = False

    def fault(self, site: Site, parameters: Parameters, used: np.ndarray) -> str:
        if type(site.layer.activation) is Identity:
            return ""
        slopes = slopes_of_pieces(site.layer.activation, site.neurons)
        if slopes is not None and all((s[used] == 1.0).all() for s in slopes):
            return ""
        return (
            f"the term {self.kind} is of neurons without a nonlinearity, not of {site.layer.activation.name}"
        )


class _LinearLine(_AbstractLinear):
    """w - v = 0."""

    kind: ClassVar[str] = "linear_line"

    def coefficients(self, site: Site, parameters: Parameters) -> Coefficients:
        one = np.ones(site.neurons)
        return {"w": ((one,),), "v": ((-one,),)}


class _LinearSquare(_AbstractLinear):
    """(w - v)^2 = 0."""

    kind: ClassVar[str] = "linear_square"

    def coefficients(self, site: Site, parameters: Parameters) -> Coefficients:
        one = np.ones(site.neurons)
        return {"ww": ((one,),), "vw": ((-2.0 * one,),), "vv": ((one,),)}


for _term in (_LinearLine(), _LinearSquare()):
    register_term(_term)
